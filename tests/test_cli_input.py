"""The command line on bad input: one clear line, before the work; a JSON document with `--json`."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import subspan
from subspan.cli import app
from subspan.errors import InputError, StoreError
from subspan.problems import data
from subspan.report import save_figure
from subspan.report.figure import new_figure
from subspan.trials.executors.base import WorkerError
from subspan.trials.stores.sql import Store

THRESHOLD = 'threshold digits-mlp --goal "loss<=0.1" --max-trials 2 --steps 4 --workers 1'
LONG = "x" * 300


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be trained: what is refused is refused before."""

    def never(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("it came to the training")

    for name in ("threshold", "run"):
        monkeypatch.setattr(subspan, name, never, raising=False)


def one_line(answer: tuple[int, str, str]) -> str:
    code, out, err = answer
    assert (code, out) == (2, ""), err
    assert len(err.splitlines()) == 1, err
    assert err.startswith("error: ")
    return err


# --- figures -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize("stem", ["''", ".", "/", "..", "taken", LONG, "pipe"])
def test_a_figure_without_a_place_is_refused_before_training(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stem: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    assert "--figure: expected a path" in one_line(cli(f"{THRESHOLD} --figure {stem}"))


def test_a_folder_beside_a_figure_of_its_name_is_no_harm(tmp_path: Path) -> None:
    (tmp_path / "plot").mkdir()
    figure, _ = new_figure()
    assert save_figure(figure, tmp_path / "plot.png", ("png",)) == [tmp_path / "plot.png"]
    for stem in (tmp_path / "plot", "", "/", tmp_path / LONG):
        with pytest.raises(InputError, match="stem"):
            save_figure(figure, stem, ("png",))


@pytest.mark.usefixtures("untrained")
def test_a_bad_backend_is_refused_before_training(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [n for n in sys.modules if n.startswith(("matplotlib", "subspan.report"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setenv("MPLBACKEND", "nonsense")
    err = one_line(cli(f"{THRESHOLD} --figure {tmp_path / 'a'}"))
    assert "MPLBACKEND: expected" in err
    assert "'nonsense'" in err


def test_names_in_figures_are_no_mathematics(tmp_path: Path) -> None:
    from subspan.report.spectroscopy import draw_spectroscopy, spectroscopy_data

    problem = subspan.problems.load("digits-mlp", subset=20)
    found = subspan.LotterySubspace(snapshots=3).trajectories(
        problem, [subspan.subspaces.base.Draw(1, 0, 0)]
    )
    figure = draw_spectroscopy(spectroscopy_data(found, "a $\\frac{ \x1b name"))
    save_figure(figure, tmp_path / "f", ("png",))  # matplotlib cannot parse the formula
    assert "\x1b" not in figure.axes[0].get_title(loc="left")


# --- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("goal", [" " * 40_000, "loss<=" + " " * 10_000_000, "a:" * 5_000_000])
def test_a_goal_of_any_length_is_refused_at_once(goal: str) -> None:
    before = time.process_time()
    with pytest.raises(InputError, match="goal: expected") as refused:
        subspan.parse_goal(goal)
    with pytest.raises(InputError, match="metric: expected"):
        subspan.metrics.parse(goal)
    assert len(str(refused.value)) < 1000
    assert time.process_time() - before < 60  # minutes and for ever, before


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize(
    ("option", "name"),
    [("--lr 1e308", "lr"), ("--lr 1e-400", "lr"), ("--epochs 1e300", "epochs")],
)
def test_numbers_that_no_training_can_hold_are_refused(cli: Any, option: str, name: str) -> None:
    line = THRESHOLD.replace("--steps 4", "") + f" {option}"
    assert f"{name}: expected a positive number up to" in one_line(cli(line))


def test_fields_of_a_spec_beyond_every_float_are_refused() -> None:
    for field in ("lr", "eps", "epochs", "steps", "batch_size", "momentum"):
        with pytest.raises(InputError, match=field):
            subspan.TrainSpec(**{field: 10**5000})


@pytest.mark.parametrize(
    "line",
    [
        'surface quadratic --dims 4 --goals "loss<=1" --repeats 1000000000',
        "compare quadratic --methods random,random-mask --dims 4 --repeats 1000000000",
        "spectroscopy digits-mlp --repeats 1000000000",
    ],
)
def test_a_grid_that_fills_the_memory_is_refused(cli: Any, line: str) -> None:
    assert "repeats: expected" in one_line(cli(line))


def test_more_workers_than_trials_are_not_started(cli: Any, monkeypatch: Any) -> None:
    from subspan.trials.executors import forked

    started = []
    first = forked._Worker.__init__
    monkeypatch.setattr(
        forked._Worker, "__init__", lambda self, *a: (started.append(1), first(self, *a))[1]
    )
    line = 'surface digits-mlp --dims 4 --goals "loss<=1" --repeats 4 --steps 1 --workers 40'
    code, _, err = cli(line)
    assert code == 0
    assert "40 workers for 4 trials: at most 4 are started." in err
    assert 1 <= len(started) <= 4


# --- stores --------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [":memory:", "file:x?mode=memory", "pipe", "folder", LONG])
def test_a_store_that_is_no_file_is_refused(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for line in (f"{THRESHOLD} --store '{place}'", f"trials '{place}'", f"resume '{place}'"):
        assert "store: expected" in one_line(cli(line))
    for readonly in (False, True):
        with pytest.raises(StoreError, match="store: expected"):
            Store(place, readonly=readonly)


def test_names_in_a_store_are_escaped(cli: Any, tmp_path: Path) -> None:
    from subspan.problems.analytic import Quadratic

    store = tmp_path / "runs\x1b[31m.db"
    problem = Quadratic([1.0, 2.0], [1.0, 1.0])
    records = subspan.run(problem, "random", dims=[1], repeats=1)
    trial = records[0].trial
    evil = dataclasses.replace(
        trial, problem={**trial.problem, "name": "q\x1b]0;title\x07\nforged"}
    )
    with Store(store) as opened:
        opened.add(dataclasses.replace(records[0], trial=evil))
    code, out, err = cli(f"trials '{store}'")
    assert (code, err) == (0, "")
    assert r"q\x1b]0;title\x07\nforged" in out
    assert len(out.splitlines()) == 2
    (row,) = json.loads(cli(f"trials '{store}' --json")[1])
    assert row["problem"]["name"] == evil.problem["name"]
    missing = one_line(cli(f"trials '{tmp_path}/none\x1b[2J.db'"))
    assert r"none\x1b[2J.db" in missing


def test_names_of_files_are_escaped_by_every_command(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    evil = "e\x1b[31m\x07x"
    with Store(f"{evil}.db") as store:
        for record in subspan.run(
            subspan.problems.load("quadratic"), "random", dims=[1], repeats=1, workers=1
        ):
            store.add(record)
    lines = [
        *(
            f"{command} '{evil}.db'"
            for command in ("trials", "verify", "compact", "retry", "resume")
        ),
        *(f"export '{evil}.db' '{evil}{kind}'" for kind in (".csv", ".jsonl", "/no.csv", "")),
        f"merge '{evil}2.db' '{evil}.db'",
        f"merge '{evil}2.db' '{evil}3.db'",
        f"report '{evil}.db' --out '{evil}.html'",
        f"threshold quadratic --goal 'loss<=0.1' --max-trials 1 --store '{evil}.db' "
        f"--figure '{evil}'",
        f"threshold '{evil}.py:f' --goal 'loss<=1'",
    ]
    for line in lines:
        _, out, err = cli(line)
        assert (out + err).replace("\n", "").isprintable(), line


def test_names_that_another_process_left_in_a_store_are_escaped(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from subspan.cli.console import watch
    from subspan.trials.progress import Notice, shown

    evil = Notice("shares the trials with process 1 on h\x1b[31m\x07ost")
    with watch(None) as progress:
        progress(0, 2, evil)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    with shown(True) as progress:
        progress(0, 2, evil)
        progress(1, 2, "failed: \x1b[2J\x07")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count(r"h\x1b[31m\x07ost") == 2
    assert r"failed: \x1b[2J\x07" in err


# --- the standard streams ------------------------------------------------------------------------


def program(*arguments: str, closed: str = "", **environment: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "subspan", *arguments]
    if closed:  # the shell closes it, as the user's did
        command = ["sh", "-c", f'exec "$@" {closed}>&-', "sh", *command]
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=300,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_an_encoding_that_lacks_a_dash_does_not_end_a_command_after_training() -> None:
    arguments = ["threshold", "quadratic", "--goal", "loss<=0.1", "--max-trials", "2"]
    code, out, err = program(*arguments, PYTHONIOENCODING="ascii")
    assert (code, err) == (0, "")
    assert re.search(r"95 % interval \[\d+, -\]", out)


def test_a_closed_output_is_said_before_the_work() -> None:
    code, out, err = program("problems", closed="1")
    assert (code, out) == (2, "")
    assert err == "error: standard output: expected it open, got it closed.\n"
    code, out, _ = program("problems", "--json", closed="2")
    assert code == 0
    assert json.loads(out)


@pytest.mark.parametrize("root", ["", "relative"])
def test_a_cache_folder_that_is_none_is_not_made_here(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SUBSPAN_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", root)
    assert data.cache_dir() == Path.home() / ".cache" / "subspan"
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/me")
    assert data.cache_dir() == Path("/var/cache/me/subspan")


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("threshold quadratic --goal nonsense --json", "InputError"),
        ("trials nowhere.db --json", "StoreError"),
        ("problems --jsn --json", "UsageError"),
        ("threshold --json", "UsageError"),
        ("nonsense --json", "UsageError"),
    ],
)
def test_json_is_a_document_on_errors_too(cli: Any, line: str, kind: str) -> None:
    code, out, err = cli(line)
    assert code == 2
    error = json.loads(out)["error"]
    assert error["kind"] == kind
    assert len(err.splitlines()) == 1
    assert error["message"].split()[0] in err


def test_json_is_a_document_where_a_users_own_code_raises(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("raise KeyError('mine')\n")
    code, out, err = cli(f'threshold {tmp_path}/own.py:f --goal "loss<=1" --json')
    assert code == 1
    assert json.loads(out)["error"] == {"kind": "KeyError", "message": "'mine'"}
    assert "own.py" in err


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("threshold digits-mlp --gaol x", "--gaol"),
        ("trials", "Missing argument 'store'. Try 'subspan trials --help'."),
        ("$'\x1b[31m'", r"'$\x1b[31m'. Try 'subspan --help'."),
    ],
)
def test_a_line_that_cannot_be_parsed_is_one_line(cli: Any, line: str, told: str) -> None:
    assert told in one_line(cli(line))


def test_the_traceback_of_a_users_file_holds_no_escapes(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "e\x1b[31mvil.py").write_text("raise ValueError('a\\x1b[2Jred\\n\\tb')\n")
    code, _, err = cli(f"threshold '{tmp_path}/e\x1b[31mvil.py:f' --goal 'loss<=1'")
    assert code == 1
    assert r"e\x1b[31mvil.py" in err
    assert err.endswith("ValueError: a\\x1b[2Jred\n\tb\n")


def test_errors_of_workers_are_printed_as_python_prints_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def command() -> None:
        raise WorkerError('workers: a trial failed.\nTraceback:\n  File "x\x1b[0m.py", line 1')

    with pytest.raises(app.typer.Exit):
        app.guarded(command)()
    err = capsys.readouterr().err
    assert err.splitlines()[:2] == ["error: workers: a trial failed.", "Traceback:"]
    assert err.splitlines()[2] == r'  File "x\x1b[0m.py", line 1'


def test_how_often_to_evaluate_is_a_number_or_a_word():
    from subspan.cli.options import Study

    for text, wanted in (("tenth", "tenth"), ("auto", "auto"), ("epoch", None), ("7", 7)):
        assert Study(eval_every=text).load("digits-mlp")[1].eval_every == wanted
    with pytest.raises(
        InputError, match="--eval-every: expected a number of steps, epoch, tenth, or auto"
    ):
        Study(eval_every="often").load("digits-mlp")
