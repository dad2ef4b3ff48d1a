"""What the page says of noted predictions and spectra, beside what was measured."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import page_store

import subspan as ss
from subspan.errors import StoreError
from subspan.report.noted import StoredPrediction, predictions, spectra
from subspan.report.page_noted import POINTS, RUNS, predictions_json, spectra_json
from subspan.theory.cone import CONE
from subspan.trials.stores.notes import keep, notes


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page_store.make(tmp_path_factory.mktemp("noted") / "runs.db")


@pytest.fixture(scope="module")
def found(store: Path) -> tuple[StoredPrediction, ...]:
    return predictions(store)


def of(found: tuple[StoredPrediction, ...], name: str, goal: str) -> StoredPrediction:
    return next(one for one in found if (one.name, str(one.goal)) == (name, goal))


def test_a_prediction_stands_with_its_cone_and_with_what_was_measured(
    found: tuple[StoredPrediction, ...],
) -> None:
    assert len(found) == 3
    both = of(found, "digits", "loss<=0.1")
    assert both.prediction is not None
    assert both.prediction.value == 96.0
    assert both.cone is not None
    assert both.cone.value == 60.0
    stored = [s for s in ss.report.experiments(page_store.records()) if "random" in s.method]
    lrs = {e.experiment.spec["lr"] for e in both.measured if e.experiment}
    tried = [s for s in stored if s.problem == "digits"]
    assert lrs == {s.lr for s in tried if s.estimate("loss<=0.1").value}
    assert 1 < len(lrs) < len(tried)
    alone = of(found, page_store.EVIL, "loss<=0.5")
    assert (alone.cone, alone.measured) == (None, ())
    assert of(found, "digits", "loss<=0.4").prediction is None


def test_of_two_cones_the_one_searched_longest_counts(store: Path, tmp_path: Path) -> None:
    with ss.Store(tmp_path / "two.db") as two, ss.Store(store, readonly=True) as opened:
        page_store.note_theory(two)
        (note,) = [n for n in notes(opened, CONE) if n.asked["goal"] == "loss<=0.1"]
        for steps, value in ((5, 55.0), (90, 65.0), (40, 61.0)):
            cone = dataclasses.replace(note.found, value=value)
            keep(two, CONE, {**note.asked, "steps": steps}, cone)
        elsewhere = {**note.asked, "steps": 900, "at": "other weights"}
        keep(two, CONE, elsewhere, dataclasses.replace(note.found, value=72.0))
    both = of(predictions(tmp_path / "two.db"), "digits", "loss<=0.1")
    assert both.cone is not None
    assert both.cone.value == 65.0


def test_rows_words_and_commands(found: tuple[StoredPrediction, ...]) -> None:
    argv = ["predict", "digits", "--goal=loss<=0.1"]
    others = [["predict", "digits", "--goal", "loss<=0.1", "--seed", "7"], ["surface", "digits"]]
    made = predictions_json(found, "runs.db", [*others, argv])
    both = next(m for m in made if (m["problem"], m["goal"]) == ("digits", "loss<=0.1"))
    first, second, third, *_ = both["rows"]
    assert (first["name"], first["value"], first["status"]) == (
        *("curvature (gauss-newton well)", 96.0),
        "doubtful",
    )
    assert first["low"] < first["value"] < first["high"] < first["at90"]
    assert (second["name"], second["samples"]) == ("cone", 3)
    assert third["measured"]
    assert third["at90"] == found_value(found)
    assert "curvature predicts 114 (doubtful), the cone 74; " in both["told"]
    assert f"measured {found_value(found)} [" in both["told"]
    assert any("no miss is certified" in note for note in both["notes"])
    assert both["again"].startswith("# subspan predict digits '--goal=loss<=0.1'\n\nimport")
    evil = next(m for m in made if m["problem"] == page_store.EVIL)
    assert evil["rows"][0]["value"] is None
    assert "curvature predicts nothing" in evil["told"]
    assert "not measured in this store" in evil["told"]


def found_value(found: tuple[StoredPrediction, ...]) -> int | None:
    return of(found, "digits", "loss<=0.1").measured[0].value


def test_spectra_are_thinned_and_their_marks_exact(
    store: Path, found: tuple[StoredPrediction, ...]
) -> None:
    paths, wells = spectra_json(spectra(store), found, "runs.db", [])
    values = 9.0 / np.arange(1, 301) ** 1.5
    energy = np.cumsum(values**2) / np.sum(values**2)
    assert [line["name"] for line in paths["lines"]] == ["repeat 0", "repeat 1"]
    line = paths["lines"][0]
    assert len(line["i"]) <= POINTS
    assert (line["i"][0], line["i"][-1], line["value"][0]) == (1, 300, 1.0)
    shares = {mark["share"]: mark["d"] for mark in paths["marks"]}
    assert shares[0.99] == 1 + int(np.argmax(energy >= 0.99))
    assert "2 full-space runs of 600 steps" in paths["told"]
    eigenvalues = wells["lines"][0]
    assert eigenvalues["value"][:3] == [4.0, 2.0, 1.333]
    assert eigenvalues["i"][:3] == [1, 2, 3]
    assert wells["marks"][0]["share"] == 0.9
    (one,) = spectra(store)
    many = dataclasses.replace(
        one, repeats=tuple(range(50)), singular_values=one.singular_values[:1] * 50
    )
    assert len(spectra_json([many], (), "runs.db")[0]["lines"]) == RUNS


def test_a_note_that_does_not_say_what_was_asked_is_one_clear_error(
    tmp_path: Path, found: tuple[StoredPrediction, ...]
) -> None:
    cone = of(found, "digits", "loss<=0.1").cone
    assert cone is not None
    keep(tmp_path / "runs.db", CONE, {"problem": {"name": "digits"}}, cone)
    with pytest.raises(StoreError, match="does not say what was asked"):
        predictions(tmp_path / "runs.db")
