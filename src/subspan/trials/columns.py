"""What many records say of a metric, column by column where they are packed.

A record at a time, its curve is unpacked into points: 100,000 records take a minute so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from subspan.goals import Goal, name_of
from subspan.trials.packed import Layout, table
from subspan.trials.trial import TrialRecord

_AT_ONCE = 4096  # curves: some megabytes


def bests_for(goal: Goal, records: Sequence[TrialRecord]) -> list[float]:
    """Return `best_for` of each record's values of the goal's metric; NaN where it has none."""
    return list(bests_of(name_of(goal), records, higher=bool(goal.higher)).tolist())


def bests_of(name: str, records: Sequence[TrialRecord], *, higher: bool) -> np.ndarray:
    """Return the best value of a metric in each record, (n,); NaN where it has none.

    Args:
        name: of the metric, `"split:metric"`.
        records: of trials, n.
        higher: whether more is better.
    """
    best = np.fmax if higher else np.fmin  # of what is not NaN
    return _each(name, records, lambda values, _: best.reduce(values, axis=1))


def starts_of(name: str, records: Sequence[TrialRecord]) -> np.ndarray:
    """Return a metric before the first step in each record, (n,); NaN where it was not evaluated.

    Args:
        name: of the metric, `"split:metric"`.
        records: of trials, n.
    """
    return _each(name, records, lambda values, first: values[:, 0] if first == 0 else math.nan)


def reported(records: Sequence[TrialRecord]) -> set[str]:
    """Return the names of the metrics that any of the records has a finite value of."""
    found: set[str] = set()
    for layout, first, places in _alike(records):
        if layout is None:
            found.update(name for i in places for name in records[i].metrics)
            continue
        for name in layout.columns.keys() - found:
            if any(
                np.isfinite(values).any()
                for values in _tables(layout, first, places, name, records)
            ):
                found.add(name)
    return found


def _each(
    name: str,
    records: Sequence[TrialRecord],
    reduce: Callable[[np.ndarray, int], np.ndarray | float],
) -> np.ndarray:
    """Return `reduce` of a metric's values, (curves, points ≥ 1), and the step of the first."""
    found = np.full(len(records), math.nan)
    for layout, first, places in _alike(records):
        if layout is None:
            for i in places:
                curve = records[i].curve
                if curve:
                    values = np.array([[p.metrics.get(name, math.nan) for p in curve]])
                    found[i] = np.asarray(reduce(values, curve[0].step)).item()
        elif layout.points:
            parts = _tables(layout, first, places, name, records)
            step = layout.strides[0][0]
            for i, values in zip(range(0, len(places), _AT_ONCE), parts, strict=True):
                found[places[i : i + _AT_ONCE]] = reduce(values, step)
    return found


def _tables(
    layout: Layout, first: int, places: Sequence[int], name: str, records: Sequence[TrialRecord]
) -> Iterator[np.ndarray]:
    for i in range(0, len(places), _AT_ONCE):
        some = [records[place].stored for place in places[i : i + _AT_ONCE]]
        yield table(layout, [stored[1] for stored in some if stored is not None], first, name)


def _alike(
    records: Sequence[TrialRecord],
) -> list[tuple[Layout | None, int, list[int]]]:
    """Return the places of records whose curves lie alike in bytes; None for those in none."""
    alike: dict[tuple[int, int], tuple[Layout | None, int, list[int]]] = {}
    for place, record in enumerate(records):
        layout, _, first = record.stored or (None, b"", 0)
        key = id(layout), first
        group = alike.get(key)
        if group is None:
            group = alike[key] = layout, first, []
        group[2].append(place)
    return list(alike.values())
