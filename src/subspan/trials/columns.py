"""The best value of a metric in each of many records, column by column where they are packed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from subspan.goals import Goal, best_for, name_of
from subspan.trials.packed import Layout, table
from subspan.trials.trial import TrialRecord

_AT_ONCE = 4096  # curves: some megabytes


def bests_for(goal: Goal, records: Sequence[TrialRecord]) -> list[float]:
    """Return `best_for` of each record's values of the goal's metric; NaN where it has none."""
    found = [math.nan] * len(records)
    alike: dict[tuple[int, int], tuple[Layout, list[int], list[bytes]]] = {}
    for place, record in enumerate(records):
        stored = record.stored
        if stored is None:
            found[place] = best_for(goal, record.values(goal.metric, goal.split))
            continue
        layout, data, first = stored
        group = alike.get((id(layout), first))
        if group is None:
            group = alike[id(layout), first] = layout, [], []
        group[1].append(place)
        group[2].append(data)
    for (_, first), (layout, places, curves) in alike.items():
        for i in range(0, len(curves), _AT_ONCE):
            values = table(layout, curves[i : i + _AT_ONCE], first, name_of(goal))
            for place, best in zip(places[i : i + _AT_ONCE], _bests(values, goal), strict=True):
                found[place] = best
    return found


def _bests(values: np.ndarray, goal: Goal) -> list[float]:
    if not values.shape[1]:
        return [math.nan] * len(values)
    bests = (np.fmax if goal.higher else np.fmin).reduce(values, axis=1)  # of what is not NaN
    return list(bests.tolist())
