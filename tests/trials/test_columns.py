"""Metrics of many records, read where they are packed, are those of the records one by one."""

from __future__ import annotations

import dataclasses
import math
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "success"))
from synthetic import record

import subspan as ss
from subspan.training.outcome import CurvePoint
from subspan.trials import packed
from subspan.trials.columns import Curves
from subspan.trials.trial import TrialRecord

CURVES = (
    (CurvePoint(0, {"train:loss": 2.5}), CurvePoint(5, {"train:loss": 0.5, "val:f1": 0.25})),
    (CurvePoint(5, {"train:loss": 1.0, "val:f1": 0.75}), CurvePoint(9, {"train:loss": 2.0})),
    (CurvePoint(0, {"val:f1": 0.5}), CurvePoint(5, {"val:f1": 1 / 3})),
    (),
)


@pytest.fixture(params=["plain", "stored"])
def records(request: pytest.FixtureRequest, tmp_path: Path) -> list[TrialRecord]:
    made = [
        dataclasses.replace(record(8, i, (1.0,)), curve=curve) for i, curve in enumerate(CURVES)
    ]
    if request.param == "plain":
        return made
    with ss.Store(tmp_path / "runs.db") as store:
        store.add_all(made)
    with ss.Store(tmp_path / "runs.db") as store:
        found = list(store.records())
    assert all(one.stored for one in found)
    return sorted(found, key=lambda one: one.trial.repeat)


def test_bests_and_starts(records) -> None:
    nan = math.nan
    for name, higher, bests, starts in (
        ("train:loss", False, (0.5, 1.0, nan, nan), (2.5, nan, nan, nan)),
        ("val:f1", True, (0.25, 0.75, 0.5, nan), (nan, nan, 0.5, nan)),
        ("val:reward", True, (nan,) * 4, (nan,) * 4),
    ):
        np.testing.assert_array_equal(Curves(records).bests(name, higher=higher), bests)
        np.testing.assert_array_equal(Curves(records).starts(name), starts)


def test_which_metrics_are_reported(records) -> None:
    assert Curves(records).reported() == {"train:loss", "val:f1"}
    assert Curves(records[2:]).reported() == {"val:f1"}
    assert Curves(records[3:]).reported() == set()


def test_no_curve_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 100,000 records that took most of a minute."""
    with ss.Store(tmp_path / "runs.db") as store:
        store.add_all([record(8, i, (2.0, 1.0 / (i + 1))) for i in range(20)])
    with ss.Store(tmp_path / "runs.db") as store:
        found = list(store.records())
    monkeypatch.setattr(packed.PackedCurve, "points", lambda self: pytest.fail("unpacked"))
    assert min(Curves(found).bests("train:loss", higher=False)) == 0.05
    assert len(Curves(found).starts("train:loss")) == 20
    assert "test:accuracy" in Curves(found).reported()
