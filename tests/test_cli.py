"""The command line: what it prints, where, and how it ends."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import subspan
from subspan.cli import app, demo
from subspan.cli.console import cell, print_json, print_table, watch
from subspan.cli.trials import learning_rate
from subspan.trials import progress as heard

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = [sys.executable, "-c", "from subspan.cli import main; main()"]


# --- answers ------------------------------------------------------------------------------------


def test_threshold_prints_one_json_document(cli: Any) -> None:
    code, out, _ = cli('threshold quadratic --goal "loss<=0.1" --json')
    assert code == 0
    answer = json.loads(out)
    assert {"value", "low", "high", "status", "trials"} <= set(answer)
    assert answer["status"] == "ok"
    assert 1 <= answer["low"] <= answer["value"] <= answer["high"] <= answer["ambient_dim"] == 300
    assert answer["goal"] == "loss<=0.1"


def test_threshold_prints_the_same_for_people(cli: Any) -> None:
    answer = json.loads(cli('threshold quadratic --goal "loss<=0.1" --json')[1])
    code, out, _ = cli('threshold quadratic --goal "loss<=0.1"')
    assert code == 0
    assert re.search(rf"d\* +{answer['value']} .*\[{answer['low']}, {answer['high']}\]", out)
    assert re.search(rf"D/d\* +{cell(answer['compression'])}", out)


def test_threshold_takes_the_ends_of_the_range(cli: Any) -> None:
    line = 'threshold quadratic --goal "loss<=0.1" --min-dim 40 --max-dim 60 --max-trials 8 --json'
    code, out, _ = cli(line)
    answer = json.loads(out)
    assert code == 0
    assert (answer["min_dim"], answer["max_dim"]) == (40, 60)
    assert all(40 <= count["dim"] <= 60 for count in answer["counts"])
    code, _, err = cli('threshold quadratic --goal "loss<=0.1" --max-dim 301')
    assert code == 2
    assert "max_dim: expected at most D = 300" in err


def test_training_options_reach_the_spec(cli: Any, tmp_path: Path) -> None:
    store = tmp_path / "runs.db"
    code, _, err = cli(
        f'surface digits-mlp --dims 8 --repeats 1 --goals "loss<=2" --store {store} --steps 3 '
        "--batch-size full --lr 0.01 --optimizer sgd --schedule cosine --eval-every 2 "
        "--subset 50 --map partition --seed 7 --workers 1 --dtype bfloat16 --compile"
    )
    assert code == 0, err
    (trial,) = json.loads(cli(f"trials {store} --json")[1])
    spec = trial["spec"]
    assert (spec["steps"], spec["epochs"], spec["batch_size"]) == (3, None, None)
    assert (spec["lr"], spec["optimizer"], spec["schedule"]) == (0.01, "sgd", "cosine")
    assert (spec["dtype"], spec["compile"]) == ("bfloat16", True)
    assert trial["provenance"]["compile"]["taken"] is False  # there is next to nothing to train
    assert (spec["eval_every"], trial["seed"], trial["dim"]) == (2, 7, 8)
    assert trial["method"]["map"] == "partition"


def test_surface_counts_every_goal_on_the_same_trials(cli: Any, tmp_path: Path) -> None:
    line = (
        'surface quadratic --dims 20,280 --repeats 2 --goals "loss<=1e-6,loss<=0.1" '
        f"--store {tmp_path / 'runs.db'}"
    )
    code, out, _ = cli(line + " --json")
    cells = json.loads(out)["cells"]
    assert code == 0
    assert [(c["goal"], c["dim"]) for c in cells] == [
        ("loss<=1e-06", 20),
        ("loss<=1e-06", 280),
        ("loss<=0.1", 20),
        ("loss<=0.1", 280),
    ]
    assert all(c["trials"] == 2 for c in cells)
    assert cells[-1]["successes"] == 2
    code, out, _ = cli(line)
    assert code == 0
    assert len(re.findall(r"^loss<=", out, re.M)) == 4


def test_trials_lists_objects_with_keys_and_null_for_what_is_missing(
    cli: Any, tmp_path: Path
) -> None:
    store = tmp_path / "runs.db"
    cli(f'surface quadratic --dims 10,20 --repeats 2 --goals "loss<=0.1" --store {store}')
    code, out, err = cli(f"trials {store} --json")
    records = json.loads(out, parse_constant=pytest.fail)  # called on NaN and Infinity
    assert (code, err) == (0, "")
    assert len({r["key"] for r in records}) == 4
    assert all(r["best_train_accuracy"] is None and "curve" not in r for r in records)
    with_curves = json.loads(cli(f"trials {store} --json --curves")[1])
    assert all(r["curve"][-1]["train_loss"] == r["final_train_loss"] for r in with_curves)
    table = cli(f"trials {store}")[1]
    assert all(r["key"][:12] in table for r in records)


def test_trials_tells_pilots_from_what_is_measured(cli: Any, tmp_path: Path) -> None:
    store = tmp_path / "runs.db"
    train = "--subset 60 --steps 3 --workers 1 --executor inline --lr auto"
    line = f'surface digits-mlp --dims 8 --repeats 2 --goals "loss<=1" --store {store} {train}'
    code, _, err = cli(line)
    assert code == 0, err
    records = json.loads(cli(f"trials {store} --json")[1])
    pilots = [r for r in records if r["pilot"]]
    measured = [r for r in records if not r["pilot"]]
    assert len(measured) == 2
    assert len(pilots) == measured[0]["spec"]["lr_choice"]["pilots"] > 4
    table = cli(f"trials {store}")[1].splitlines()
    assert "lr" in table[0].split()
    assert sum("(pilot)" in row for row in table) == len(pilots)
    for record in measured:
        (row,) = (row for row in table if row.startswith(record["key"][:12]))
        assert f" {record['spec']['lr']:.3g} " in row


@pytest.mark.parametrize(
    ("optimizer", "shown"), [("adam", "0.05"), ("lbfgs", None), ("of another installation", "0.05")]
)
def test_a_learning_rate_is_shown_where_the_optimizer_has_one(
    optimizer: str, shown: str | None
) -> None:
    trial = SimpleNamespace(spec={"lr": 0.05, "optimizer": optimizer})
    assert learning_rate(SimpleNamespace(trial=trial, is_pilot=False)) == shown


def test_the_same_command_runs_nothing_twice(cli: Any, tmp_path: Path) -> None:
    store = tmp_path / "runs.db"
    line = f'surface quadratic --dims 10,20 --repeats 2 --goals "loss<=0.1" --store {store} --json'
    first = json.loads(cli(line)[1])
    keys = [r["key"] for r in json.loads(cli(f"trials {store} --json")[1])]
    assert json.loads(cli(line)[1]) == first
    assert [r["key"] for r in json.loads(cli(f"trials {store} --json")[1])] == keys


def test_problems_lists_every_name(cli: Any) -> None:
    code, out, _ = cli("problems --json")
    entries = {entry["name"]: entry for entry in json.loads(out)}
    assert code == 0
    assert list(entries) == subspan.problems.names()
    assert entries["digits-mlp"]["ambient_dim"] == 2410
    assert entries["mnist-conv2"]["ambient_dim"] == 20490
    assert "digits-mlp" in cli("problems")[1]


def test_figures_are_drawn_in_three_formats(cli: Any, tmp_path: Path) -> None:
    for line in (
        'threshold quadratic --goal "loss<=0.1"',
        'surface quadratic --dims 50,150,250 --repeats 2 --goals "loss<=1,loss<=0.1"',
    ):
        stem = tmp_path / line.split()[0]
        code, out, err = cli(f"{line} --figure {stem}")
        assert code == 0, err
        for ending in ("png", "svg", "pdf"):
            assert stem.with_suffix(f".{ending}").stat().st_size > 1000
        assert f"{stem}.png" in out


def test_a_figure_that_cannot_be_written_is_refused_before_training(
    cli: Any, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    line = f'threshold quadratic --goal "loss<=0.1" --figure {tmp_path}/file/stem'
    code, out, err = cli(line)
    assert (code, out) == (2, "")
    assert "--figure: expected a folder that can be written" in err
    assert "trials" not in err


def test_demo_says_what_was_found_and_where(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "PROBLEM", "quadratic")  # the real one is a slow test below
    monkeypatch.setattr(demo, "SURFACE_DIMS", (50, 150, 250))
    monkeypatch.setattr(demo, "SURFACE_GOALS", ("loss<=1", "loss<=0.1"))
    out_dir = tmp_path / "demo"
    code, out, err = cli(f"demo --out {out_dir}")
    assert code == 0, err
    for wanted in (r"d\*", r"D +300", r"D/d\*", rf"{out_dir}/runs\.db", r"quadratic-phase\.png"):
        assert re.search(wanted, out), wanted
    assert len(list(out_dir.glob("*.png"))) == 2


@pytest.mark.slow
def test_the_demo_runs_within_a_minute(cli: Any, tmp_path: Path) -> None:
    start = time.monotonic()
    code, out, _ = cli(f"demo --out {tmp_path} --json")
    seconds = time.monotonic() - start
    assert code == 0
    assert json.loads(out)["threshold"]["status"] == "ok"
    assert seconds < 60, f"{seconds:.0f} s"


# --- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('threshold digits-mpl --goal "loss<=1"', "Did you mean 'digits-mlp'?"),
        ('threshold quadratic --goal "los<=1"', "Did you mean 'loss'"),
        ('threshold quadratic --goal "accuracy>=95"', "goal level: expected a number in [0, 1]"),
        ('threshold quadratic --goal "loss<=1" --method randon', "Did you mean 'random'?"),
        ('threshold quadratic --goal "loss<=1" --method burn-in:x', "burn-in"),
        ('threshold quadratic --goal "loss<=1" --map gausian', "Did you mean 'gaussian'?"),
        ('threshold quadratic --goal "loss<=1" --delta 2', "delta"),
        ('threshold quadratic --goal "loss<=1" --confidence 95', "confidence"),
        ('threshold quadratic --goal "loss<=1" --ratio 0.5', "ratio"),
        ('threshold digits-mlp --goal "loss<=1" --subset 0', "subset"),
        ('threshold digits-mlp --goal "loss<=1" --optimizer adma', "Did you mean 'adam'?"),
        ('threshold digits-mlp --goal "loss<=1" --steps 5 --epochs 5', "--epochs, --steps"),
        ('threshold digits-mlp --goal "loss<=1" --batch-size all', "--batch-size"),
        ('threshold mnist-conv2 --goal "loss<=1" --data-dir nowhere', "data_dir"),
        ('surface quadratic --dims -1 --goals "loss<=1"', "dim"),
        ('surface quadratic --dims 301 --goals "loss<=1"', "dim: expected"),
        ('surface quadratic --dims 8,x --goals "loss<=1"', "--dims: expected an integer"),
        ('surface quadratic --dims 8 --goals "loss<=1" --repeats 0', "repeats"),
        ("trials nowhere.db", "store: expected a file at nowhere.db, got none"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(cli: Any, line: str, text: str) -> None:
    code, out, err = cli(line)
    assert (code, out) == (2, "")
    assert text in err
    said = [part for part in err.splitlines() if part.startswith("error: ")]
    assert len(said) == 1, err
    assert "Traceback" not in err


def test_a_file_that_is_no_store_is_one_line(cli: Any, tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    path.write_text("not a database, but long enough to be looked at" * 50)
    before = path.read_bytes()
    for line in (f"trials {path}", f'threshold quadratic --goal "loss<=1" --store {path}'):
        code, out, err = cli(line)
        assert (code, out) == (2, "")
        assert err.splitlines()[-1].startswith("error: ")
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("treshold digits-mlp", "Did you mean 'threshold'?"),
        ('threshold quadratic --gaol "loss<=1"', "--goal"),
        ("threshold quadratic", "--goal"),
        ("threshold quadratic --goal 'loss<=1' --seed one", "--seed"),
    ],
)
def test_a_typo_gets_the_nearest_name(cli: Any, line: str, text: str) -> None:
    code, out, err = cli(line)
    assert (code, out) == (2, "")
    assert text in err


# --- interruption -------------------------------------------------------------------------------


def interrupt(*_: Any, progress: Any, **__: Any) -> None:
    progress(3, 8, "round")
    progress(8, 8, "round")
    progress(8, 8, "found in the store")  # the next round, counted anew
    progress(2, 8, "round")
    raise KeyboardInterrupt


def test_ctrl_c_says_what_was_done_and_how_to_go_on(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subspan, "threshold", interrupt)
    store = tmp_path / "my runs.db"
    line = f"threshold quadratic --goal 'loss<=0.1' --store '{store}'"
    code, out, err = cli(line)
    assert (code, out) == (130, "")
    last = err.splitlines()[-1]
    assert "Interrupted after 18 trials" in last
    assert last.endswith(f"To go on: subspan {line}")


def test_ctrl_c_without_a_store_says_that_nothing_was_kept(
    cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subspan, "threshold", interrupt)
    code, _, err = cli("threshold quadratic --goal 'loss<=0.1'")
    assert code == 130
    assert "kept in memory alone. With --store FILE" in err


def test_a_real_ctrl_c_loses_nothing(cli: Any, tmp_path: Path) -> None:
    store = tmp_path / "runs.db"
    line = [
        *("surface", "digits-mlp", "--dims", "8,16,32,64", "--repeats", "500"),
        *("--goals", "loss<=0.1", "--store", str(store), "--workers", "2", "--epochs", "8"),
    ]
    process = subprocess.Popen(
        [*PROGRAM, *line],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # In the background of a script Ctrl-C is ignored, and what is started there inherits that.
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    deadline, seen = time.monotonic() + 120, 0
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(sqlite3.Error), sqlite3.connect(store, timeout=0) as reading:
            count = reading.execute("SELECT count(*) FROM trials").fetchone()[0]
            if 0 < seen < count:  # so the first were reported too: stored comes before that
                break
            seen = seen or count
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, (process.returncode, out, err)
    assert out == ""
    assert "Traceback" not in err
    assert shlex.join(["subspan", *line]) in err
    kept = json.loads(cli(f"trials {store} --json")[1])
    said = re.search(r"Interrupted after (\d+) trials", err)
    assert said is not None
    assert 0 < int(said[1]) <= len(kept) < 2000


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path, cli: Any) -> None:
    store = tmp_path / "runs.db"
    cli(f'surface quadratic --dims 10 --repeats 3 --goals "loss<=0.1" --store {store}')
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*PROGRAM, "trials", str(store), "--json"],
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(writing)
    assert done.returncode == 141
    assert done.stderr == ""


# --- printing -----------------------------------------------------------------------------------


def test_json_has_null_where_a_number_is_not_finite(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": math.nan, "b": [math.inf, 1.5, 2, True, None], "c": Path("x")})
    text = capsys.readouterr().out
    assert json.loads(text) == {"a": None, "b": [None, 1.5, 2, True, None], "c": "x"}


def test_a_table_aligns_numbers_to_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name", "n"), [("a", 5), ("long name", 1234)])
    assert capsys.readouterr().out == "name           n\na              5\nlong name  1,234\n"
    print_table(("name", "n"), [])
    assert capsys.readouterr().out == "name  n\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (math.nan, "–"), (1234, "1,234"), (0.12345, "0.1235"), ("x", "x")],
)
def test_cells(value: object, text: str) -> None:
    assert cell(value) == text


def test_progress_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with watch(None) as progress:
        progress(1, None, "looking")
        progress(2, 4, "[not markup]")
    assert capsys.readouterr().out == ""


def test_a_log_file_gets_lines_of_progress(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heard, "SECONDS_BETWEEN_LINES", -1.0)
    with watch(None) as progress:
        progress(1, 4, "d=8 finished")
        progress(2, 4, "d=16 finished")
    done = capsys.readouterr()
    assert done.out == ""
    assert done.err == "1/4 trials, d=8 finished\n2/4 trials, d=16 finished\n"


# --- documentation ------------------------------------------------------------------------------


def documented_commands() -> list[str]:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return sorted(
        {
            line.strip().split("  #")[0].removeprefix("subspan ")
            for page in pages
            for block in re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
            for line in block.splitlines()
            if line.strip().startswith("subspan ")
        }
    )


@pytest.mark.parametrize("line", documented_commands())
def test_documented_commands_parse(line: str, cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(command: Any) -> Any:
        import functools

        return functools.wraps(command)(lambda *args, **kwargs: None)

    monkeypatch.setattr(app, "guarded", nothing)
    code, _, err = cli(line)
    assert code == 0, err


def test_every_command_is_documented() -> None:
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert [name for name in app.COMMANDS if f"## `subspan {name}`" not in text] == []
