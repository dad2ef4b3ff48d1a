"""Predictions and spectra with a store: noted once, read back whole, not computed again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import subspan as ss
from subspan.errors import InputError
from subspan.problems import Quadratic
from subspan.subspaces.lottery_subspace import LotterySubspace
from subspan.theory import cone, predict
from subspan.theory.cone import ConeEstimate, cone_threshold
from subspan.theory.predict import predict_threshold
from subspan.theory.prediction import Prediction
from subspan.theory.spectra import noted_spectra, spectroscopy


@pytest.fixture(scope="module")
def well() -> Quadratic:
    return Quadratic(np.logspace(-2, 0, 60), np.linspace(0.1, 0.3, 60))


def never(*_: object, **__: object) -> Any:
    raise AssertionError("computed again")


def test_a_noted_prediction_is_not_computed_again(
    well: Quadratic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, asked = tmp_path / "runs.db", {"levels": [0.1], "probes": 2, "lanczos_steps": 12}
    first = predict_threshold(well, "loss<=0.02", **asked, store=store)
    assert first == predict_threshold(well, "loss<=0.02", **asked)  # as without a store
    monkeypatch.setattr(predict, "mean_loss", never)
    assert predict_threshold(well, "loss<=0.02", **asked, store=store) == first
    for other in (
        {"levels": [0.2]},
        {"probes": 3},
        {"start": torch.ones(60)},
        {"center": 0.5},
        {"seed": 1},
    ):
        with pytest.raises(AssertionError, match="computed again"):
            predict_threshold(well, "loss<=0.02", **{**asked, **other}, store=store)


def test_the_spectrum_of_a_prediction_adds_up(well: Quadratic) -> None:
    found = predict_threshold(well, "loss<=0.02", probes=20, lanczos_steps=30).at_goal
    nodes, weights = found.measure
    assert list(nodes) == sorted(nodes, reverse=True)
    assert weights.sum() == pytest.approx(60)
    assert nodes[0] == pytest.approx(1.0)
    assert float(nodes @ weights) == pytest.approx(float(well.eigenvalues.sum()), rel=0.2)


def test_predictions_without_a_value_come_back(well: Quadratic) -> None:
    for goal in ("loss<=1e9", "loss<=1e-9"):
        found = predict_threshold(well, goal)
        assert Prediction.of_json(json.loads(json.dumps(found.to_json()))) == found


def test_a_noted_cone_is_not_searched_again(
    well: Quadratic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "runs.db"
    found = cone_threshold(well, "loss<=0.05", directions=2, steps=300, store=store)
    monkeypatch.setattr(cone, "AngleSearch", never)
    assert cone_threshold(well, "loss<=0.05", directions=2, steps=300, store=store) == found
    for other in ({"directions": 3}, {"steps": 301}, {"at": torch.ones(60)}, {"radii": [2.0]}):
        with pytest.raises(AssertionError, match="computed again"):
            cone_threshold(
                well, "loss<=0.05", **{"directions": 2, "steps": 300, "store": store, **other}
            )


def test_a_cone_that_a_radius_never_reached_comes_back() -> None:
    values = (1.0, 2.0)
    first = ConeEstimate(
        *(1.5, 1.0, 2.0, 0.95, 2, "ok", 0.1, 0.0), values, (1.5, float("nan")), 9, 0.01, True
    )
    again = ConeEstimate.of_json(json.loads(json.dumps(first.to_json(), allow_nan=False)))
    assert again.values == values
    assert np.isnan(again.by_radius[1])
    assert again.to_json() == first.to_json()


def test_only_runs_that_are_not_noted_are_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, method = ss.problems.load("digits-mlp", subset=60), LotterySubspace(4, 2)
    store, trained = tmp_path / "runs.db", []
    paths = LotterySubspace.trajectories

    def spy(self: LotterySubspace, problem: Any, draws: Any) -> Any:
        trained.extend(draw.repeat for draw in draws)
        return paths(self, problem, draws)

    monkeypatch.setattr(LotterySubspace, "trajectories", spy)
    spectroscopy(problem, method, repeats=2, seed=3, store=store)
    found = spectroscopy(problem, method, repeats=3, seed=3, store=store)
    assert trained == [0, 1, 2]
    assert found == spectroscopy(problem, method, repeats=3, seed=3)
    assert (found.repeats, found.search_steps, found.ambient_dim) == ((0, 1, 2), 8, 2410)
    with ss.Store(store) as opened:
        assert noted_spectra(opened) == [found]


def test_what_is_no_lottery_subspace_is_refused() -> None:
    problem = ss.problems.load("digits-mlp", subset=60)
    with pytest.raises(InputError, match="method: expected a LotterySubspace"):
        spectroscopy(problem, ss.BurnIn(steps=3))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="repeats: expected an integer"):
        spectroscopy(problem, repeats=0)
