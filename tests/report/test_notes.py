"""Predictions and spectra that a store notes: read again, refused where damaged, on the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import subspan as ss
from subspan.errors import StoreError
from subspan.goals import parse_goal
from subspan.problems.analytic import Quadratic
from subspan.report.notes import PREDICTION, SPECTRUM, noted_predictions, noted_spectra
from subspan.report.page import write_page
from subspan.report.page_notes import predictions_of, spectra_of

GOAL = "loss<=10"

pytest.importorskip("plotly", reason="the page is drawn by plotly: pip install subspan[report]")


@pytest.fixture(scope="module")
def problem() -> Any:
    return Quadratic([1.0] * 40, [1.0] * 40)  # loss 20 at its initial weights


@pytest.fixture(scope="module")
def path(problem: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trials of a quadratic, and both notes."""
    path = tmp_path_factory.mktemp("notes") / "runs.db"
    ss.run(problem, "random", range(8, 33, 4), 6, store=path, workers=1)
    cone = ss.theory.cone_threshold(problem, GOAL, directions=3, steps=300)
    digits = ss.problems.load("digits-mlp", subset=60)
    method = ss.LotterySubspace(6, 2)
    runs = method.trajectories(digits, [ss.subspaces.Draw(1, 5, r) for r in (0, 1)])
    with ss.Store(path) as store:
        for _ in range(2):  # the second takes the place of the first
            predicted = ss.theory.predict_threshold(problem, GOAL)
            ss.report.note_prediction(store, problem, predicted, cone, argv=["predict", "a b"])
            ss.report.note_spectrum(store, digits, method, runs, 5)
    return path


def test_a_prediction_comes_back(path: Path, problem: Any) -> None:
    with ss.Store(path, readonly=True) as store:
        (found,) = noted_predictions(store)
        shown = predictions_of([found], ss.report.experiments(store), ())
    predicted = ss.theory.predict_threshold(problem, GOAL)
    assert found.problem == problem.identity
    assert (found.goal, found.ambient_dim) == (parse_goal(GOAL), 40)
    assert found.found["value"] == predicted.value
    curvature, cone, measured = shown[0]["rows"]
    assert curvature["at"] == predicted.at_delta()
    assert cone["value"] == found.found["cone"]["value"]
    estimate = ss.report.experiments(path)[0].estimate(GOAL)
    assert (measured["at"], measured["measured"]) == (estimate.value, True)
    assert shown[0]["again"] == "subspan predict 'a b'"


def test_a_spectrum_comes_back(path: Path) -> None:
    with ss.Store(path, readonly=True) as store:
        (found,) = noted_spectra(store)
    (shown,) = spectra_of([found])
    assert (found.seed, len(found.singular_values), shown["again"]) == (5, 2, "")
    run = found.singular_values[0]
    assert shown["runs"][0]["i"] == list(range(1, len(run) + 1))
    assert shown["runs"][0]["s"][1] == pytest.approx(run[1] / run[0], rel=1e-3)
    assert shown["runs"][0]["energy"][-1] == 1.0
    assert shown["dims"][0][0] == 90.0
    assert shown["method"] == "snapshots 6, every 2"


@pytest.mark.parametrize(
    ("prefix", "harm"),
    [
        (PREDICTION, lambda data: data["found"].update(value="60")),
        (PREDICTION, lambda data: data["found"].update(goal="nothing")),
        (PREDICTION, lambda data: data["found"].pop("cone")),
        (PREDICTION, lambda data: data.update(argv=[1])),
        (PREDICTION, lambda data: data["found"].update(at_90_percent=-1)),
        (SPECTRUM, lambda data: data.update(singular_values=[])),
        (SPECTRUM, lambda data: data.update(singular_values=[[0.0]])),
        (SPECTRUM, lambda data: data.update(seed=None)),
        (SPECTRUM, lambda data: data.update(problem=[])),
    ],
)
def test_a_damaged_note_is_named(prefix: str, harm: Any, path: Path) -> None:
    with ss.Store(path, readonly=True) as store:
        (claim,) = store.claims(prefix)
    data = json.loads(json.dumps(claim.data))
    harm(data)
    with ss.Store() as store:
        store.claim(claim.key, "me", 0.0, data)
        with pytest.raises(StoreError, match=f"damaged \\({claim.key}\\)"):
            list((noted_predictions if prefix == PREDICTION else noted_spectra)(store))


def test_a_page_of_notes_alone(path: Path, tmp_path: Path) -> None:
    with ss.Store(path, readonly=True) as store, ss.Store(tmp_path / "notes.db") as notes:
        for prefix in (PREDICTION, SPECTRUM):
            for claim in store.claims(prefix):
                notes.claim(claim.key, claim.owner, 0.0, claim.data)
    write_page(tmp_path / "notes.db", tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert '"predictions":[{' in text
    assert '"spectra":[{' in text


def test_the_command_notes_its_spectrum(cli: Any, tmp_path: Path) -> None:
    line = "spectroscopy digits-mlp --subset 60 --method lottery-subspace:snapshots=4,every=1"
    assert cli(f"{line} --store {tmp_path / 'new.db'}")[0] == 0
    with ss.Store(tmp_path / "new.db", readonly=True) as store:
        (found,) = noted_spectra(store)
    assert list(found.argv[:2]) == ["spectroscopy", "digits-mlp"]
    (tmp_path / "folder").mkdir()
    code, _, err = cli(f"{line} --store {tmp_path / 'folder'}")
    assert code == 0
    assert "not noted: store: expected" in err
