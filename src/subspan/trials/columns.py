"""What many records say of a metric, column by column where they are packed.

A record at a time, its curve is unpacked into points: 100,000 records take a minute so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from subspan.goals import Goal, name_of
from subspan.trials.packed import Layout, table
from subspan.trials.trial import TrialRecord

_AT_ONCE = 4096  # curves: some megabytes


class _Alike(NamedTuple):
    """Records whose curves lie alike in bytes, from `first` on; the places of the records."""

    layout: Layout
    first: int
    places: list[int]
    packed: list[bytes]


class Curves:
    """The curves of many records; those that lie alike are found once, and read together.

    Args:
        records: of trials, n.
    """

    def __init__(self, records: Sequence[TrialRecord]) -> None:
        self._records = records
        self._plain: list[int] = []  # places of those that are in no bytes
        alike: dict[tuple[int, int], _Alike] = {}
        for place, record in enumerate(records):
            stored = record.stored
            if stored is None:
                self._plain.append(place)
                continue
            layout, packed, first = stored
            key = id(layout), first
            group = alike.get(key)
            if group is None:
                group = alike[key] = _Alike(layout, first, [], [])
            group.places.append(place)
            group.packed.append(packed)
        self._packed = list(alike.values())

    def bests_for(self, goal: Goal) -> list[float]:
        """Return `best_for` of each curve's values of the goal's metric; NaN where it has none."""
        return list(self.bests(name_of(goal), higher=bool(goal.higher)).tolist())

    def bests(self, name: str, *, higher: bool) -> np.ndarray:
        """Return the best value of a metric on each curve, (n,); NaN where it has none.

        Args:
            name: of the metric, `"split:metric"`.
            higher: whether more is better.
        """
        best = np.fmax if higher else np.fmin  # of what is not NaN
        return self._each(name, lambda values, _: best.reduce(values, axis=1))

    def starts(self, name: str) -> np.ndarray:
        """Return a metric before the first step, (n,); NaN where it was not evaluated.

        Args:
            name: of the metric, `"split:metric"`.
        """
        return self._each(name, lambda values, first: values[:, 0] if first == 0 else math.nan)

    def reported(self) -> set[str]:
        """Return the names of the metrics that any of the curves has a finite value of."""
        found = {name for place in self._plain for name in self._records[place].metrics}
        for group in self._packed:
            for name in group.layout.columns.keys() - found:
                if any(np.isfinite(values).any() for values in _tables(group, name)):
                    found.add(name)
        return found

    def _each(
        self, name: str, reduce: Callable[[np.ndarray, int], np.ndarray | float]
    ) -> np.ndarray:
        """Return `reduce` of a metric's values, (curves, points ≥ 1), and the step of the first."""
        found = np.full(len(self._records), math.nan)
        for place in self._plain:
            curve = self._records[place].curve
            if curve:
                values = np.array([[p.metrics.get(name, math.nan) for p in curve]])
                found[place] = np.asarray(reduce(values, curve[0].step)).item()
        for group in self._packed:
            if not group.layout.points:
                continue
            step, places = group.layout.strides[0][0], np.array(group.places)
            for i, values in enumerate(_tables(group, name)):
                found[places[_AT_ONCE * i :][: len(values)]] = reduce(values, step)
        return found


def _tables(group: _Alike, name: str) -> Iterator[np.ndarray]:
    """Yield a metric of the curves, (at most `_AT_ONCE`, points)."""
    for i in range(0, len(group.packed), _AT_ONCE):
        yield table(group.layout, group.packed[i : i + _AT_ONCE], group.first, name)
