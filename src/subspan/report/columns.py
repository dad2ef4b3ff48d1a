"""`Columns`: the trials of one experiment as arrays, so that 100,000 are counted in no time.

It counts what `tally` counts, one draw once; a test holds the two equal.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from subspan.goals import Goal
from subspan.report.stored import StoredExperiment, tells
from subspan.success.estimate import ThresholdEstimate, estimate_from_counts, with_records
from subspan.success.posterior import Count, Range
from subspan.trials.columns import Curves

Known = dict[tuple[object, ...], ThresholdEstimate]


class Cells(NamedTuple):
    """Successes and trials at each dim: dims (n,) ascending, wins (n,), totals (n,)."""

    dims: np.ndarray
    wins: np.ndarray
    totals: np.ndarray


@dataclass(frozen=True, eq=False)
class Columns:
    """Trials as arrays, all of shape (n,), but for `stops`.

    Args:
        stored: the experiment.
        metric: name of the metric, `"split:metric"`.
        dims: training dimensions.
        draw: number of the draw: same dim, seed and repeat.
        best: the best value over the curve; NaN where there is none.
        stop: which of `stops` it was to stop at.
        stops: the goals, as text, or None.
    """

    stored: StoredExperiment
    metric: str
    dims: np.ndarray
    draw: np.ndarray
    best: np.ndarray
    stop: np.ndarray
    stops: tuple[str | None, ...]

    @classmethod
    def of(cls, stored: StoredExperiment, metric: str, *, higher: bool) -> Columns:
        """Read a metric off the trials."""
        draws: dict[tuple[int, int, int], int] = {}
        stops: dict[str | None, int] = {}
        dims, number, stop = [], [], []
        for r in stored.records:
            dims.append(r.dim)
            number.append(draws.setdefault(r.draw, len(draws)))
            stop.append(stops.setdefault(r.shared["spec"].get("stop_at"), len(stops)))
        best = Curves(stored.records).bests(metric, higher=higher)
        return cls(
            stored,
            metric,
            np.array(dims),
            np.array(number),
            best,
            np.array(stop),
            tuple(stops),
        )

    def telling(self, goal: Goal) -> np.ndarray:
        """Return which trials tell whether they met a goal, (n,); see `StoredExperiment`."""
        fit = np.array([tells(text, goal) for text in self.stops])
        return fit[self.stop]

    def cells(self, goal: Goal) -> Cells:
        """Count the draws that met a goal of this metric, at every dim; d = 0 too."""
        mask = self.telling(goal)
        met = _met(self.best, goal)
        draws, first, place = np.unique(self.draw[mask], return_index=True, return_inverse=True)
        won = np.zeros(len(draws), bool)
        np.logical_or.at(won, place, met[mask])
        dims, where = np.unique(self.dims[mask][first], return_inverse=True)
        wins = np.bincount(where, won, len(dims)).astype(int)
        return Cells(dims, wins, np.bincount(where, minlength=len(dims)))

    def estimate(self, goal: Goal, known: Known, *, delta: float = 0.1) -> ThresholdEstimate | None:
        """Return `stored.estimate(goal)`; None where it has no two dims to tell d* between.

        Args:
            goal: of this metric.
            known: estimates by counts, looked up and added to: levels often count the same.
            delta: as for `fit_threshold`.
        """
        cells = self.cells(goal)
        counts = tuple(
            Count(int(d), int(w), int(n)) for d, w, n in zip(*cells, strict=True) if d > 0
        )
        if len(counts) < 2:
            return None
        span = Range(*(self.stored.range(goal) or (counts[0].dim, counts[-1].dim)), delta)
        shared = self.stored.experiment
        designed = self.stored.designed(goal)
        key = (counts, span, designed)
        if key not in known:
            known[key] = estimate_from_counts(
                counts, goal, span, ambient_dim=shared.ambient_dim, designed=designed
            )
        found = dataclasses.replace(known[key], goal=goal, experiment=shared)
        if self._start_may_do(goal, delta):
            return with_records(found, self.stored.telling(goal), shared)
        return found

    def _start_may_do(self, goal: Goal, delta: float) -> bool:
        """Whether `with_records` may find that the offsets alone meet the goal."""
        mask = self.telling(goal)
        untrained = mask & (self.dims == 0)
        values = self.best[untrained] if untrained.any() else self._start[mask]
        return _met(values, goal).sum() >= (1 - delta) * (untrained.sum() or mask.sum())

    @functools.cached_property
    def _start(self) -> np.ndarray:
        """The values before the first step."""
        return Curves(self.stored.records).starts(self.metric)

    def told(self) -> bool:
        """Whether any trial has the metric."""
        return bool(np.isfinite(self.best).any())


def _met(values: np.ndarray, goal: Goal) -> np.ndarray:
    """Return which values meet a goal; NaN meets none."""
    with np.errstate(invalid="ignore"):
        return values >= goal.level if goal.higher else values <= goal.level
