"""Experiments: trained by a command, resumed, checked without training, and refused where wrong."""

from __future__ import annotations

import json
import sqlite3
import textwrap
from pathlib import Path
from typing import Any

import pytest

from subspan.errors import InputError, StoreError
from subspan.estimate import Estimate
from subspan.problems import Quadratic
from subspan.reproduction import Lab, bands, deviations, find, names

EXPERIMENT = textwrap.dedent('''
    """How often does a random subspace hit a well?

    More.
    """
    from matplotlib.figure import Figure

    from subspan import TrainSpec
    from subspan.estimate import Estimate
    from subspan.intervals import binomial_interval
    from subspan.reproduction import Step

    SCALES = {"cpu": {"repeats": 4}, "full": {"repeats": 8}}
    CALLS = []


    def steps(lab):
        well = lab.load("quadratic")
        spec = TrainSpec(optimizer="exact", stop_at="loss<=0.01")
        yield Step("trials", lambda: lab.run(
            well, method="random", dims=[120, 240], repeats=lab["repeats"], spec=spec))
        yield Step("a sum", lambda: lab.once("sum", lambda: CALLS.append(1) or 3.5))


    def numbers(trials):
        found = {"sum": Estimate(trials.result("sum"), None, None, 0.95, 1)}
        for cell in trials.experiments[0].surface(["loss<=0.01"]).cells:
            low, high = binomial_interval(cell.successes, cell.trials, 0.95)
            rate = cell.successes / cell.trials
            found[f"hits at {cell.dim}"] = Estimate(
                rate, float(low), float(high), 0.95, cell.trials)
        return found


    def draw(trials):
        figure = Figure()
        figure.subplots().plot([1, 2], [trials.result("sum"), 0])
        return figure
''')


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "experiments" / "well_hits"
    place.mkdir(parents=True)
    (place / "experiment.py").write_text(EXPERIMENT)
    return place.parent


@pytest.fixture
def made(cli: Any, folder: Path) -> Path:
    code, out, err = cli(f"experiment well-hits --folder {folder} --accept --workers 1")
    assert code == 0, err
    assert "hits at 240" in out
    assert "1 of 2: trials" in err
    return folder


def test_they_are_listed_with_their_questions(cli: Any, folder: Path) -> None:
    code, out, _ = cli(f"experiment --folder {folder} --json")
    assert code == 0
    assert json.loads(out) == [
        {
            "name": "well_hits",
            "question": "How often does a random subspace hit a well?",
            "run": False,
        }
    ]
    assert names(folder) == ["well_hits"]


def test_what_was_trained_is_exported_and_checked_without_training(cli: Any, made: Path) -> None:
    place = made / "well_hits"
    expected = json.loads((place / "expected.json").read_text())
    assert expected["numbers"]["hits at 120"]["value"] == 0  # d* is 182.7 by the exact formula
    assert expected["numbers"]["hits at 240"]["value"] == 1
    assert expected["numbers"]["sum"]["band"] == [3.5, 3.5]
    assert expected["peak_memory_gib"] > 0
    assert {p.suffix for p in place.glob("figure.*")} == {".png", ".svg", ".pdf"}
    (place / "cpu.db").unlink()
    code, out, err = cli(f"experiment --check --folder {made}")
    assert (code, err) == (0, "")
    assert out == "well_hits: 3 numbers, all as expected\n"
    code, out, _ = cli(f"trials {place / 'trials.db'} --json")
    assert len(json.loads(out)) == 8


def test_a_folder_of_data_is_for_the_problems_that_have_data(cli: Any, folder: Path) -> None:
    code, _, err = cli(f"experiment well_hits --folder {folder} --data-dir {folder} --workers 1")
    assert code == 0, err


def test_an_export_has_no_note_of_who_asked(made: Path) -> None:
    with sqlite3.connect(made / "well_hits" / "trials.db") as opened:
        text = "\n".join(opened.iterdump())
    assert "result:sum" in text
    assert str(made) not in text
    assert "command:" not in text


def test_a_number_out_of_its_band_is_named(cli: Any, made: Path) -> None:
    file = made / "well_hits" / "expected.json"
    expected = json.loads(file.read_text())
    expected["numbers"]["hits at 120"]["band"] = [0.5, 0.9]
    del expected["numbers"]["sum"]
    expected["numbers"]["gone"] = {"value": 1, "band": [0, 2], "status": "ok"}
    file.write_text(json.dumps(expected))
    code, out, err = cli(f"experiment well_hits --check --folder {made}")
    assert code == 2
    assert "hits at 120: expected 0.5 to 0.9, got 0" in out
    assert "sum: found, and not expected" in out
    assert "gone: expected, and not found" in out
    assert "3 numbers are not what is expected" in err


def test_an_edited_record_is_found(cli: Any, made: Path) -> None:
    file = made / "well_hits" / "trials.db"
    with sqlite3.connect(file) as opened:
        opened.execute("update trials set dim = dim + 1")
    code, out, err = cli(f"experiment well_hits --check --folder {made}")
    assert code == 2, out
    assert "not what" in err


def test_again_trains_nothing_and_a_larger_scale_has_a_store_of_its_own(
    cli: Any, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_training(*args: object, **kwargs: object) -> None:
        raise AssertionError("a trial was trained")

    monkeypatch.setattr("subspan.trials.problem_trainable.ProblemTrainable.train", no_training)
    code, _, err = cli(f"experiment well_hits --folder {made} --workers 1")
    assert code == 0, err
    monkeypatch.undo()
    code, out, err = cli(f"experiment well_hits --folder {made} --workers 1 --scale full --json")
    assert code == 0, err
    answer = json.loads(out)
    assert answer["numbers"]["hits at 240"]["samples"] == 8
    assert answer["deviations"] == []  # the bands are of the other scale
    assert (made / "well_hits" / "full.db").exists()


def test_problems_of_an_experiment_are_on_its_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[Any] = []

    def noted(problem: Quadratic, device: Any = None, dtype: Any = None) -> Quadratic:
        moved.extend([device] if device == "cuda" else [])  # `exact` solves on the CPU
        return problem

    monkeypatch.setattr(Quadratic, "to", noted)
    for device in (None, "cuda"):
        lab = Lab("cpu", {}, tmp_path / f"{device}.db", device=device)
        lab.load("quadratic")
        lab.run(Quadratic(), method="random", dims=[2], repeats=1)
        lab.threshold(Quadratic(), method="random", goal="loss<=100", max_dim=2)
        lab.compare(Quadratic(), methods=["random"], dims=[2], repeats=1)
        assert moved == [device] * (0 if device is None else 4)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("wels", "well_hits"),
        ("well_hits --scale huge", "cpu, full"),
        ("well_hits --scale full --accept", "--accept"),
        ("well_hits --check", "--accept` makes them"),
        ("well_hits --device meta", "device: expected one that is there: "),
    ],
)
def test_what_cannot_be_is_one_clear_line(cli: Any, folder: Path, line: str, said: str) -> None:
    code, _, err = cli(f"experiment {line} --folder {folder}")
    assert code == 2
    assert said in err
    assert err.count("\n") == 1


def test_no_folder_says_where_experiments_are(cli: Any, tmp_path: Path) -> None:
    code, _, err = cli(f"experiment --folder {tmp_path / 'none'}")
    assert code == 2
    assert "checkout" in err


def test_an_experiment_that_lacks_a_part_is_refused(folder: Path) -> None:
    file = folder / "well_hits" / "experiment.py"
    file.write_text(EXPERIMENT.replace("def draw", "def picture"))
    with pytest.raises(InputError, match="none of draw"):
        _ = find("well_hits", folder).module
    file.write_text(EXPERIMENT.replace('"full"', '"huge"'))
    with pytest.raises(InputError, match="SCALES of cpu, full"):
        _ = find("well_hits", folder).module


def test_bands() -> None:
    ok = Estimate(135.4, 116.2, 171.9, 0.95, 12)
    open_end = Estimate(None, 2410.0, None, 0.95, 20, "above range")
    written = bands.to_json({"a": ok, "b": open_end}, bands.Cost(60.0, 2**30))
    assert written["minutes"] == 1
    assert written["peak_memory_gib"] == 1
    assert written["numbers"]["a"]["band"] == [116.2, 171.9]
    assert written["numbers"]["b"]["band"] is None
    expected = written["numbers"]
    assert deviations({"a": ok, "b": open_end}, expected) == []
    moved = Estimate(172.0, 150.0, 190.0, 0.95, 12)
    (wrong,) = deviations({"a": moved, "b": open_end}, expected)
    assert wrong == ("a", "expected 116.2 to 171.9, got 172")
    (wrong,) = deviations({"a": ok, "b": ok}, expected)
    assert wrong == ("b", "expected 'above range', got 'ok'")
    for band in ([1], ["low", "high"], [3, 1]):
        with pytest.raises(StoreError, match="band"):
            deviations({"a": ok}, {"a": {"band": band, "status": "ok"}})


def test_rounding_a_band_never_narrows_it() -> None:
    exact = Estimate(0.1234565, 0.1234561, 0.1234569, 0.95, 3)
    for value in (exact, Estimate(-2.0, -2.00006, -1.99994, 0.95, 3)):
        low, high = bands.to_json({"x": value}, bands.Cost(0, 0))["numbers"]["x"]["band"]
        assert value.low is not None
        assert value.high is not None
        assert low <= value.low < value.high <= high


def test_those_of_this_checkout_hold(cli: Any, repo_root: Path) -> None:
    folder = repo_root / "experiments"
    code, out, err = cli(f"experiment --check --folder {folder}")
    assert code == 0, out + err
    assert out.count("all as expected") == len(names(folder))
    size = sum(f.stat().st_size for f in folder.glob("*/trials.db"))
    assert size < 30 * 2**20
    for name in names(folder):
        place = folder / name
        assert len((place / "README.md").read_text().splitlines()) <= 60
        assert json.loads((place / "expected.json").read_text())["peak_memory_gib"] <= 4
        shown = repo_root / "docs" / "images" / f"experiment-{name.replace('_', '-')}.png"
        assert shown.read_bytes() == (place / "figure.png").read_bytes()
