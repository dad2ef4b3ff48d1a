"""Whether success falls with d: training may fail at large d alone.

The surface takes success at the best learning rate to rise with d, so that failures at max_dim
speak of every d below. Where they come from something else, as a rate that is too high there, no
number of them says so: somebody has to look (`unseen_below`), and where a trial met the goal, look
again (`best_below`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import binom, fisher_exact

from subspan.success.graded import Observation
from subspan.success.posterior import Count, Range
from subspan.trials.lr_scale import LrScale

_DIMS = (5 / 6, 2 / 3, 1 / 2)  # as shares of the range in log d
_LRS = (1 / 2, 1 / 6, 5 / 6)  # and in log lr: the middle of each third
_NEAR_DIM, _NEAR_LR = 1 / 12, 1 / 6  # of the ranges: half of the way to the next
_ROUNDED = 0.01  # a learning rate has three digits
_ENOUGH = 8  # trials at one place: all successes, beside three failures at max_dim, have p = 0.006
_DOUBT, _SURE = 0.05, 0.01


def unseen_below(
    seen: Sequence[tuple[float, float]], span: Range, lr: LrScale
) -> list[tuple[int, float]]:
    """Return dims below max_dim and log learning rates near which no trial has been.

    Args:
        seen: log d and log lr of each trial, the latter on the scale of `lr`.
        span: the dims that are searched.
        lr: the learning rates that are searched.
    """
    first, last = math.log(span.min_dim), math.log(span.max_dim)
    low, high = math.log(lr.low), math.log(lr.high)
    unseen = []
    for share in _DIMS:
        dim = round(math.exp(first + share * (last - first)))
        for third in _LRS:
            rate = low + third * (high - low)
            near = (
                abs(log_dim - math.log(dim)) <= _NEAR_DIM * (last - first) + 1e-9
                and abs(log_lr - rate) <= _NEAR_LR * (high - low) + _ROUNDED
                for log_dim, log_lr in seen
            )
            if dim < span.max_dim and not any(near):
                unseen.append((dim, rate))
    return list(dict.fromkeys(unseen))


class Place(NamedTuple):
    """Trials at one dim and one learning rate, below max_dim; a log lr is on the scale searched."""

    dim: int
    log_lr: float
    successes: int
    total: int

    def worth_another(self, delta: float) -> bool:
        """Whether 1 − δ may hold here, and trials do not say yet how this compares with max_dim."""
        doubtful = binom.cdf(self.successes, self.total, 1 - delta) > _DOUBT
        return bool(self.total < _ENOUGH and doubtful)

    def beats(self, successes: int, total: int) -> bool:
        """Whether the goal is met more often here than in so many trials elsewhere."""
        table = [[self.successes, self.total - self.successes], [successes, total - successes]]
        return bool(fisher_exact(np.array(table), alternative="greater").pvalue < _SURE)


def best_below(told: Sequence[Observation], span: Range) -> Place | None:
    """Return the place below max_dim where the goal is met most often; None where nowhere."""
    table: dict[tuple[int, float], list[int]] = {}
    for row in told:
        cell = table.setdefault((round(math.exp(row.log_dim)), row.log_lr), [0, 0])
        cell[0] += row.met
        cell[1] += 1
    places = [
        Place(*key, *cell) for key, cell in table.items() if key[0] < span.max_dim and cell[0]
    ]
    return max(places, key=lambda p: ((p.successes + 1) / (p.total + 2), p), default=None)


def first_fall(
    counts: Sequence[Count], dim: float, delta: float
) -> tuple[Sequence[Count], Sequence[Count]] | None:
    """Split counts, from `dim` on, where those farther up fail; None where they do not."""
    above = [count for count in counts if count.dim >= dim]
    for i in range(1, len(above)):
        parts = (above[:i], above[i:])
        won = np.array([sum(c.successes for c in part) for part in parts])
        failed = np.array([sum(c.total for c in part) for part in parts]) - won
        more = fisher_exact(np.array([won, failed]).T, alternative="greater").pvalue < _SURE
        if more and binom.sf(failed[1] - 1, won[1] + failed[1], delta) < _SURE:
            return parts
    return None
