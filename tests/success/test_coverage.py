"""The coverage law, on the synthetic curves of `experiments/coverage`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from subspan.intervals import binomial_interval


@pytest.fixture(scope="module")
def coverage(repo_root: Path) -> ModuleType:
    """`experiments/coverage/run.py` as a module."""
    folder = repo_root / "experiments" / "coverage"
    sys.path.insert(0, str(folder))
    try:
        spec = importlib.util.spec_from_file_location("coverage_run", folder / "run.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules["coverage_run"] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(folder))


def test_synthetic_thresholds_are_what_they_are_said_to_be(coverage: ModuleType) -> None:
    for index, family in enumerate(coverage.FAMILIES):
        curve = coverage.draw_curve(family, 1, index)
        p = curve.probability
        assert p.shape == (curve.ambient_dim,)
        assert ((p >= 0) & (p <= 1)).all()
        assert (np.diff(p) >= -1e-12).all()
        assert p[curve.threshold - 1] >= 0.9
        assert curve.threshold == 1 or p[curve.threshold - 2] < 0.9


def test_intervals_hold_the_truth(coverage: ModuleType) -> None:
    """A smaller version of the law: at a true 95 %, fewer than 35 of 40 has probability 0.3 %."""
    cases = [coverage.case(index, seed=7, width=8, ratio=1.4, widest=1.5) for index in range(40)]
    assert sum(c.covered for c in cases) >= 35
    assert sum(c.status == "ok" for c in cases) >= 30


def test_intervals_of_wide_transitions_hold_the_truth(coverage: ModuleType) -> None:
    """Transitions of up to two decades; at a true 95 %, more than 3 of 20 miss with 1.6 %."""
    cases = [coverage.case(index, seed=7, width=8, ratio=1.5) for index in range(20)]
    assert sum(not c.covered for c in cases) <= 3


def test_a_wrong_interval_is_noticed(coverage: ModuleType) -> None:
    curve = coverage.draw_curve("step", 0, 4)
    shifted = coverage.SyntheticCurve(
        "step", curve.ambient_dim, curve.probability, 2 * curve.threshold
    )
    assert coverage.measure(curve, 0, 4, width=8).covered
    assert not coverage.measure(shifted, 0, 4, width=8).covered


@pytest.mark.slow
@pytest.mark.parametrize("widest", [1.5, 4.6])
@pytest.mark.parametrize("width", [1, 8])
def test_coverage_law(coverage: ModuleType, width: int, widest: float) -> None:
    """At a true 95 % at least 465 of 500 hold d* with 98 %, at 93 % with 54 %, at 91 % with 7 %.

    So what is measured has a standard error of about 1 %; the table's last lines have intervals.
    """
    cases = [
        coverage.case(index, seed=width, width=width, ratio=1.25, widest=widest)
        for index in range(500)
    ]
    print(coverage.table(cases))
    ok = [c for c in cases if c.status == "ok"]
    for what, some in (("all", cases), ("ok", ok)):
        held = sum(c.covered for c in some)
        print(f"{what}: {held} of {len(some)}, {binomial_interval(held, len(some))}")
        assert held >= 0.93 * len(some), what
