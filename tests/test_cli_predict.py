"""`subspan predict` and `subspan threshold --diagnose`: what they print, the figure, and errors."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import subspan
from subspan.cli import main
from subspan.cli.predict import from_store

QUICK = "digits-mlp --subset 100 --directions 2"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a few trials of the same problem."""
    path = tmp_path_factory.mktemp("predict") / "runs.db"
    line = f"surface digits-mlp --subset 100 --dims 8,64 --repeats 3 --goals loss<=1 --store {path}"
    with pytest.raises(SystemExit):
        main([*line.split(), "--steps", "60", "--workers", "1"])
    return path


def test_json_and_text_say_the_same(cli: Any, store: Path, tmp_path: Path) -> None:
    stem = tmp_path / "prediction"
    code, out, err = cli(f'predict {QUICK} --goal "loss<=1" --store {store} --json --figure {stem}')
    assert code == 0, err
    answer = json.loads(out)
    assert (answer["goal"], answer["level"], answer["ambient_dim"]) == ("loss<=1", 1.0, 2410)
    assert 0 < answer["low"] <= answer["value"] <= answer["high"] < 2410
    cone = answer["cone"]
    assert 0 <= cone["low"] < cone["value"] < cone["high"] < 2410
    assert len(cone["values"]) == 2
    assert len(cone["by_radius"]) == 2
    assert answer["certified_miss"]["polar"] is None  # each direction has weights of its own
    assert answer["measured"]["trials"] == 6
    assert [Path(p).suffix for p in answer["figures"]] == [".png", ".svg", ".pdf"]
    assert all(Path(p).stat().st_size > 1000 for p in answer["figures"])

    code, out, err = cli(f'predict {QUICK} --goal "loss<=1" --store {store}')
    assert code == 0, err
    for name, found in (("curvature", answer), ("cone", cone)):
        assert found["value"] < found["at_90_percent"]
        line = (
            rf"^  {name} +centre {found['value']:.0f} \[.*\], 90 % at {found['at_90_percent']:.0f} "
        )
        assert re.search(line, out, re.M), out
    assert re.search(r"^  measured .*adam, .*, 6 trials$", out, re.M), out
    assert all(note in out for note in answer["notes"])
    radii = ", ".join(f"{v:.4g}" for v in cone["by_radius"])
    assert f"by starting radius: {radii}" in out


def test_an_accuracy_is_predicted_at_a_loss_and_says_so(cli: Any) -> None:
    code, out, err = cli(f'predict {QUICK} --goal "accuracy>=0.7" --json')
    assert code == 0, err
    answer = json.loads(out)
    assert answer["goal"] == "accuracy>=0.7"
    assert 0 < answer["level"] < answer["initial_loss"]
    assert "full-space training first meets accuracy>=0.7" in answer["notes"][0]
    same = json.loads(cli(f'predict {QUICK} --goal "loss<={answer["level"]!r}" --json')[1])
    assert (same["value"], same["cone"]) == (answer["value"], answer["cone"])


def test_a_threshold_in_the_store_keeps_its_value_and_status(tmp_path: Path, cli: Any) -> None:
    path = tmp_path / "runs.db"
    line = f'threshold quadratic --goal "loss<=0.1" --max-trials 8 --workers 1 --store {path}'
    said = json.loads(cli(f"{line} --json")[1])
    assert said["status"] == "not converged"
    problem, goal = subspan.problems.load("quadratic"), subspan.parse_goal("loss<=0.1")
    found = from_store(path, problem.identity, goal)
    assert found is not None
    seen = found.to_json()
    for name in ("value", "low", "high", "status", "trials", "min_dim", "max_dim"):
        assert seen[name] == said[name]


def test_what_was_measured_is_of_the_random_subspace_at_the_best_learning_rate(
    tmp_path: Path, cli: Any
) -> None:
    """A prediction is not of burn-ins, and the default threshold spreads over learning rates."""
    path, goal = tmp_path / "runs.db", subspan.parse_goal("loss<=2")
    identity = subspan.problems.load("digits-mlp", subset=60).identity
    line = f"--subset 60 --steps 5 --workers 1 --store {path}"
    surface = f"surface digits-mlp --dims 8,32,128 --repeats 3 --goals loss<=2 {line}"
    assert cli(f"{surface} --method burn-in:4")[0] == 0
    assert from_store(str(path), identity, goal) is None
    assert cli(surface)[0] == 0
    grid = from_store(str(path), identity, goal)
    assert grid is not None
    assert grid.experiment is not None
    assert (grid.experiment.method["name"], grid.lr) == ("random", None)
    threshold = f"threshold digits-mlp --goal loss<=2 --max-trials 60 {line} --json"
    found = json.loads(cli(threshold)[1])
    assert None not in (found["value"], found["lr"])
    best = from_store(str(path), identity, goal)
    assert best is not None
    assert (best.value, best.lr) == (found["value"], found["lr"])


def test_no_estimate_is_said_as_such(cli: Any) -> None:
    """A level just below the initial loss: the well fitted there puts w₀ inside S(ε)."""
    code, out, err = cli(f'predict {QUICK} --goal "loss<=2.2" --steps 50')
    assert code == 0, err
    assert re.search(r"^  curvature +no estimate  gauss-newton well, no well$", out, re.M), out
    assert "puts w₀ inside S(ε), where it is not" in out


def test_what_was_predicted_is_noted_and_read_again(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = f'predict {QUICK} --goal "loss<=2" --steps 200 --store {tmp_path / "new.db"}'
    code, out, err = cli(f"{line} --json")
    assert code == 0, err
    monkeypatch.setattr("subspan.theory.predict.mean_loss", None)
    monkeypatch.setattr("subspan.theory.cone.AngleSearch", None)
    assert cli(f"{line} --json")[:2] == (0, out)
    (found,) = subspan.report.predictions(tmp_path / "new.db")
    assert found.prediction is not None
    assert found.cone is not None
    assert found.prediction.value == json.loads(out)["value"]
    assert found.cone.values == tuple(json.loads(out)["cone"]["values"])
    assert cli(f"resume {tmp_path / 'new.db'}")[1].startswith("Nothing to go on with")


def test_a_store_without_such_trials_is_said(cli: Any, store: Path) -> None:
    code, _, err = cli(
        f'predict digits-mlp --subset 90 --directions 2 --goal "loss<=2" --store {store}'
    )
    assert code == 0
    assert "no trials of this problem that tell d* for loss<=2" in err


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('predict digits-mpl --goal "loss<=1"', "Did you mean 'digits-mlp'?"),
        (f'predict {QUICK} --goal "los<=1"', "Did you mean 'loss'"),
        (f'predict {QUICK} --goal "loss<=0"', "goal: expected a loss above 0"),
        ('predict quadratic --goal "accuracy>=0.9"', "the problem has no train accuracy"),
        (f'predict {QUICK} --goal "loss<=1" --rows 0', "rows"),
        (f'predict {QUICK} --goal "loss<=1" --store {__file__}', "expected an SQLite file"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(cli: Any, line: str, text: str) -> None:
    code, out, err = cli(line)
    assert (code, out) == (2, "")
    assert text in err
    assert len([part for part in err.splitlines() if part.startswith("error: ")]) == 1
    assert "Traceback" not in err


@pytest.mark.parametrize("option", ["--directions 1", "--steps 0"])
def test_the_search_is_refused_before_any_training(cli: Any, option: str) -> None:
    code, out, err = cli(f'predict digits-mlp --subset 100 --goal "loss<=1" {option}')
    assert (code, out) == (2, "")
    assert f"{option.split()[0][2:]}: expected an integer, " in err
    assert "curvature" not in err


def test_diagnose_measures_twice_and_words_the_verdict(cli: Any, tmp_path: Path) -> None:
    line = (
        'threshold quadratic --goal "loss<=0.1" --optimizer adam --lr 0.02 --steps 12 --diagnose '
        f"--workers 1 --store {tmp_path / 'runs.db'}"
    )
    code, out, err = cli(line + " --json")
    assert code == 0, err
    answer = json.loads(out)
    found = answer["diagnosis"]
    assert found["usual"]["value"] == answer["value"]
    assert found["cause"] == "optimiser"
    assert found["stronger"]["high"] < answer["low"]
    code, out, err = cli(line)
    assert code == 0, err
    assert found["verdict"] in out
    assert "the same with exact least squares" in out
    assert len(re.findall(r"^  d\* ", out, re.M)) == 2
    plain = json.loads(cli(line.replace(" --diagnose", "") + " --json")[1])
    assert "diagnosis" not in plain
    assert plain["value"] == answer["value"]


def test_what_is_already_exact_is_measured_once_and_said(cli: Any) -> None:
    line = 'threshold quadratic --goal "loss<=0.1" --diagnose --workers 1 --max-trials 12'
    code, out, err = cli(line)
    assert code == 0, err
    assert "Already exact: loss<=0.1 takes d" in out
    assert "the same with" not in out
    found = json.loads(cli(line + " --json")[1])["diagnosis"]
    assert found["cause"] == "subspaces"
    assert found["usual"] == found["stronger"]


def test_levenberg_marquardt_on_a_quadratic_is_refused(cli: Any) -> None:
    code, out, err = cli('threshold quadratic --goal "loss<=1" --optimizer levenberg_marquardt')
    assert (code, out) == (2, "")
    assert "Use optimizer='exact'" in err
