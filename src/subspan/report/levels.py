"""The levels of a metric that a page has a slider over: where trials differ, in round numbers."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from subspan import metrics
from subspan.goals import Goal, parse_goal

_APART = 0.04  # of the range of levels: no nearer comes one to one that was asked for

Kind = str  # "gap": distance from the best there is, on a log scale; "log"; "linear"


def kind_of(metric: str, best: np.ndarray) -> Kind:
    """Return the scale on which values of a metric are spread."""
    known = metrics.find(metrics.parse(metric)[0])
    if known is not None and known.higher and np.isfinite(known.most):
        return "gap"
    positive = best[np.isfinite(best)]
    return "log" if len(positive) and (positive > 0).all() else "linear"


def levels_of(
    metric: str, best: np.ndarray, most: int, *, asked: Iterable[float] = ()
) -> list[float]:
    """Return ascending levels between the worst and the best that trials reach, and those asked.

    Args:
        metric: `"split:metric"`.
        best: each trial's best value, (n,); NaN where it has none.
        most: about how many.
        asked: levels that must be among them.
    """
    values = best[np.isfinite(best)]
    wanted = {float(level) for level in asked}
    if not len(values):
        return sorted(wanted)
    kind, top = kind_of(metric, best), top_of(metric)
    if kind == "log":  # at 0 and below nothing stops: such a goal is no place on the axis
        wanted = {level for level in wanted if level > 0}
    if kind == "gap":
        gaps = top - values
        nearest = max(gaps[gaps > 0].min(initial=1.0), 1e-4) / 2
    else:
        nearest = 0.0

    def place(x: np.ndarray) -> np.ndarray:
        if kind == "gap":
            return np.asarray(np.log10(np.maximum(top - x, nearest)))
        return np.asarray(np.log10(x) if kind == "log" else x)

    low, high = np.quantile(place(values), (0.03, 0.97))
    taken = place(np.array(sorted(wanted)))
    apart = _APART * (high - low)
    for x in np.linspace(low, high, max(most, 2)):
        if len(taken) and np.abs(taken - x).min() < apart:
            continue  # a level that was asked for stands there
        if kind == "linear":
            wanted.add(float(f"{x:.3g}"))
        else:
            rounded = float(f"{10**x:.2g}")
            wanted.add(float(f"{top - rounded:.6g}") if kind == "gap" else rounded)
    known = metrics.find(metrics.parse(metric)[0])
    if known is not None:
        wanted = {v for v in wanted if known.least <= v <= known.most}
    return sorted(wanted)


def goal_of(metric: str, level: float, *, higher: bool) -> Goal:
    """Return the goal of a level."""
    return parse_goal(f"{metric}{'>=' if higher else '<='}{float(level)!r}")


def top_of(metric: str) -> float:
    """Return the most that a metric can be, where that is known and finite; else 0."""
    known = metrics.find(metrics.parse(metric)[0])
    return known.most if known is not None and np.isfinite(known.most) else 0.0
