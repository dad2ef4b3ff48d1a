"""d* where no design chose the dims: the ends of its interval are moved outward to tested dims."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from synthetic import grid

from subspan.goals import LossBelow
from subspan.intervals import binomial_interval
from subspan.streams import stream
from subspan.success import Count, Range, ThresholdEstimate, estimate_from_counts, fit_threshold
from subspan.success.posterior import posterior
from subspan.success.verdict import judge
from subspan.testing.success_laws import LAWS

GOAL = LossBelow(0.1)
SMALLEST = ((10, 0, 50), (20, 25, 50), (40, 50, 50))  # d* is above 20 and at most 40


def found(
    counts: tuple[tuple[int, int, int], ...], low: int, high: int, **options: float
) -> ThresholdEstimate:
    table = [Count(*c) for c in counts]
    return estimate_from_counts(table, GOAL, Range(low, high, 0.1), ambient_dim=high, **options)


def ends(estimate: ThresholdEstimate) -> tuple[int | None, int | None]:
    return estimate.low, estimate.high


def test_between_two_tested_dims_the_curve_alone_narrows_nothing() -> None:
    told = found(SMALLEST, 1, 1000)
    assert (told.status, ends(told)) == ("ok", (21, 40))
    alone = found(SMALLEST, 1, 1000, designed=True)
    assert ends(alone) == ends(found(SMALLEST, 1, 1000, ratio=2)) == (21, 32)
    assert told.value == alone.value
    assert 21 < told.value < 32


@pytest.mark.parametrize(
    ("counts", "span", "told", "why"),
    [
        (((20, 43, 50), (40, 50, 50)), (5, 1000), (5, 40), "no tested dim below: min_dim"),
        (((5, 0, 200), (20, 182, 200), (40, 200, 200)), (10, 50), (10, 40), "one below the range"),
        (((8, 0, 200), (16, 100, 200), (32, 184, 200)), (1, 64), (17, 64), "none from it: max_dim"),
        (((10, 0, 50), (20, 40, 50)), (1, 1000), (11, None), "no upper end"),
        (((10, 0, 50), (20, 40, 50)), (1, 20), (11, None), "neither value nor upper end"),
        (((8, 20, 20), (16, 20, 20)), (4, 1000), (1, 8), "d* may lie below the range"),
        (((20, 0, 50), (40, 0, 50)), (20, 40), (40, None), "above the range"),
        (((4, 50, 50), (8, 50, 50)), (4, 8), (1, 4), "below the range"),
    ],
)
def test_ends_that_no_tested_dim_bounds(
    counts: tuple, span: tuple[int, int], told: tuple, why: str
) -> None:
    assert ends(found(counts, *span)) == told, why


def test_fits_of_trials_are_moved_too_unless_a_design_chose_them() -> None:
    trials = grid([2**i for i in range(2, 11)], 10)
    told, alone = fit_threshold(trials, GOAL), fit_threshold(trials, GOAL, designed=True)
    assert (ends(told), told.value) == ((129, 512), alone.value)
    assert alone.ratio < 2.2


def tables(n: int) -> list[tuple[list[Count], Range]]:
    """Grids with any counts, ranges that begin or end within them and beyond."""
    out = []
    for i in range(n):
        draw = stream(5, "grids", i)
        dims = np.unique(np.round(np.exp(draw.uniform(0, 7, draw.integers(2, 9))))).astype(int)
        first, last = (np.round(np.exp(draw.uniform(*e))) for e in ((0, 3), (4, 8)))
        middle, width = draw.uniform(1, 6), draw.uniform(0.05, 2)
        p = 1 / (1 + np.exp(-(np.log(dims) - middle) / width))
        total = int(draw.integers(1, 40))
        wins = draw.binomial(total, p)
        counts = [Count(int(d), int(w), total) for d, w in zip(dims, wins, strict=True)]
        out.append((counts, Range(int(first), int(last), 0.1)))
    return out


def test_ends_lie_at_tested_dims_and_hold_the_interval_of_the_curve() -> None:
    seen = set()
    for counts, span in tables(40):
        belief = posterior(counts, span)
        told, alone = (judge(belief, counts, 0.95, designed=d) for d in (False, True))
        assert (told.seen, told.level, told.confirm) == (alone.seen, alone.level, alone.confirm)
        one, other = told.estimate, alone.estimate
        assert (one.value, one.status) == (other.value, other.status)
        seen.add(one.status)
        tested = [count.dim for count in counts]
        if one.status not in ("ok", "not converged", "edge of the model"):
            assert (one.low, one.high) == (other.low, other.high)
            continue
        assert one.low <= other.low
        assert one.low in {1, span.min_dim, span.max_dim, *(dim + 1 for dim in tested)}
        beyond = other.high is None and other.value is None  # low may stand for above max_dim
        assert beyond or not any(one.low <= dim < other.low for dim in tested)
        assert (one.high is None) == (other.high is None)
        if one.high is not None:
            assert one.high >= other.high
            assert one.high in {span.max_dim, *tested}
            assert not any(other.high <= dim < one.high for dim in tested)
    assert {"ok", "not converged"} < seen


@pytest.fixture(scope="module")
def grids(repo_root: Path) -> ModuleType:
    """`experiments/coverage/grids.py` as a module."""
    path = repo_root / "experiments" / "coverage" / "grids.py"
    spec = importlib.util.spec_from_file_location("coverage_grids", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["coverage_grids"] = module
    spec.loader.exec_module(module)
    return module


def pooled(grids: ModuleType, repeats: int, seed: int) -> np.ndarray:
    """Whether d* was held, as told and by the posterior alone, in all runs that were "ok"."""
    laws = {law.name: law for law in LAWS}
    found = [
        grids.tally(laws[name], size, trials, repeats, seed)
        for size, trials in grids.GRIDS
        for name in grids.NAMES
    ]
    return np.concatenate([one.held for one in found])


def test_a_grid_holds_the_truth_on_six_laws_together(grids: ModuleType) -> None:
    """Of 60 runs, 5 a law and grid.

    At a true 95 % more than 7 miss with a chance of 1.0 %, at the 99.4 % that `grids.py` finds with
    none, and at 92.5 %, as the posterior alone has it, with 7 %: the slow test tells the two apart.
    """
    told, alone = pooled(grids, 5, seed=3).T
    assert len(told) >= 55
    assert (told >= alone).all()
    assert (~told).sum() <= 7


@pytest.mark.slow
def test_coverage_of_grids(grids: ModuleType) -> None:
    """1,200 runs, in which a share of 95 % has a standard error of 0.6 %.

    At a true 95 % at least 93 % of them hold d* with a chance of 99.9 %, at 91 % with 0.7 %. The
    posterior alone has 92.5 %: its interval (95 %, Clopper–Pearson) must lie below 95 %, as it does
    with a chance of 95 %.
    """
    told, alone = pooled(grids, 100, seed=4).T
    for name, held in (("told", told), ("alone", alone)):
        print(f"{name}: {held.sum()} of {len(held)}, {binomial_interval(held.sum(), len(held))}")
    assert told.mean() >= 0.93
    assert binomial_interval(int(alone.sum()), len(alone))[1] < 0.95
