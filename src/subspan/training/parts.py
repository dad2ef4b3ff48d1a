"""`Parts`: the rows on which a trial that ends far from its goal is evaluated, for a tenth.

At `eval_every="tenth"` the end of a trial sees some rows of a split where all of them would take
too much: the same rows in every trial, drawn once. The goal's split is seen whole in their place
where they do not show that the trial is far: that e times as much is left as the goal allows, since
`threshold` stops trials at a goal of its own, at which 1/e is left of what the user's goal allows.
So both goals are met on whole splits alone. A point of a curve has `"split:rows"` where its values
are of so many rows of that split; where it has none, they are of all.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch

from subspan.goals import Goal, left
from subspan.problems.base import AbstractProblem
from subspan.streams import words

ROWS = "rows"
_FEWEST = 1000  # rows of a part; a split of no more is seen whole
_GOALS = 0.75  # of what the end may cost, for the goal's split
_FAR = math.e  # times what the goal allows
_ERRORS = 5.0  # standard errors of an accuracy on some rows, by which more is left than that
_FACTOR = 2.0  # the same of a loss


def some_rows(problem: AbstractProblem, split: str, count: int) -> torch.Tensor:
    """Return so many rows of a split, (count,), int64, ascending: the same in every trial."""
    keys = words(0, "glance", split, start=0, count=problem.split_size(split))
    order = np.argsort(keys, kind="stable")
    return torch.from_numpy(np.sort(order[:count])).to(problem.device)


class Parts:
    """Which rows of each split the end of a trial is evaluated on.

    Args:
        problem: what is trained.
        goal: that of the spec.
        most: rows that the end may see, of all splits together. It sees more where the goal may be
            met, and where splits are small.

    Attributes:
        sizes: rows of each split that it sees.
    """

    def __init__(self, problem: AbstractProblem, goal: Goal, most: float) -> None:
        self._goal = goal
        self.sizes = {split: problem.split_size(split) for split in problem.splits}
        self._rows: dict[str, torch.Tensor] = {}
        usual = set(AbstractProblem.metrics)
        if sum(self.sizes.values()) <= most or {*problem.metrics, goal.metric} > usual:
            return  # others are of whole splits, or sums over them
        others = [size for split, size in self.sizes.items() if split != goal.split]
        least, rest = sum(min(size, _FEWEST) for size in others), sum(others)
        most_own = min(max(_GOALS * most, most - rest), most - least)
        own = _part(self.sizes.get(goal.split, 0), most_own)
        for split, size in self.sizes.items():
            count = own if split == goal.split else _part(size, (most - own) * size / rest)
            if count < size:
                self._rows[split] = some_rows(problem, split, count)
        self.sizes |= {split: len(rows) for split, rows in self._rows.items()}

    def near(self, values: Sequence[float]) -> set[int]:
        """Return the places of values of the goal's metric that, as they are, are not far."""
        goal = self._goal
        allowed = _FAR * left(goal, goal.level)
        return {k for k, value in enumerate(values) if left(goal, value) <= allowed}

    def measured(
        self,
        problem: AbstractProblem,
        weights: torch.Tensor,
        split: str,
        metrics: Sequence[str],
        near: Collection[int] = (),
    ) -> list[dict[str, float]]:
        """Return metrics by name for each row of weights (K, D), on a part of a split or all.

        Args:
            problem: what is trained.
            weights: as said.
            split: of the data.
            metrics: names.
            near: rows of weights that are looked at on the goal's whole split at once.
        """
        goals, rows = split == self._goal.split, self._rows.get(split)
        count = 0 if rows is None else len(rows)
        some = [k for k in range(len(weights)) if not (goals and k in near)]
        parts = None
        if rows is not None and some:
            parts = problem.evaluate_rows(weights[some], split, rows)
        if parts is None:
            return problem.measure_many(weights, split, metrics)
        found: dict[int, dict[str, float]] = {}
        for k, one in zip(some, parts, strict=True):
            values = {m: v for m, v in one._asdict().items() if m == "loss" or v == v}
            if not goals or _far(self._goal, values, count, problem.split_size(split)):
                found[k] = values | {ROWS: float(count)}
        rest = [k for k in range(len(weights)) if k not in found]
        if rest:
            whole = problem.measure_many(weights[rest], split, metrics)
            found |= dict(zip(rest, whole, strict=True))
        return [found[k] for k in range(len(weights))]


def _part(size: int, most: float) -> int:
    return min(size, max(_FEWEST, int(most)))


def _far(goal: Goal, values: Mapping[str, float], count: int, size: int) -> bool:
    """Whether values on some rows of a split show that all of them are far from the goal."""
    value, allowed = values.get(goal.metric, math.nan), left(goal, goal.level)
    if math.isnan(value) or allowed < 0:  # a loss of one's own
        return False
    if goal.metric == "accuracy":
        error = math.sqrt(value * (1 - value) / count * (1 - count / size))
        return left(goal, value) > _FAR * allowed + _ERRORS * error
    return left(goal, value) > _FACTOR * _FAR * allowed
