"""Figures: d* against the goal, and d* against burn-in."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from subspan.errors import invalid
from subspan.goals import Goal, name_of, parse_goal
from subspan.report import figure as base
from subspan.report.columns import Columns, Known
from subspan.report.stored import StoredExperiment
from subspan.report.success_curve import IN_RANGE
from subspan.success.estimate import ThresholdEstimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LONG = 40  # characters of a label; two such do not stand side by side
_MARKERS = "osD^vPX"


@dataclass(frozen=True)
class ThresholdLine:
    """One experiment's thresholds.

    Args:
        label: method and training.
        training: how it was trained.
        burn_in: steps of burn-in before the random subspace; None for another method.
        goals: those with an interval of d*.
        estimates: of each.
    """

    label: str
    training: str
    burn_in: int | None
    goals: tuple[Goal, ...]
    estimates: tuple[ThresholdEstimate, ...]


def thresholds_data(
    stored: Sequence[StoredExperiment], goals: Iterable[Goal | str]
) -> tuple[ThresholdLine, ...]:
    """Return d* of each experiment at each goal, where it has an interval.

    Args:
        stored: experiments; those without the metric, or without an interval, are left out.
        goals: of one metric and split.

    Raises:
        InputError: the goals mix metrics.
    """
    wanted = [parse_goal(goal) for goal in goals]
    names = {name_of(goal) for goal in wanted}
    if len(names) != 1:
        raise invalid("goals", expected="goals of one metric and split", got=", ".join(names))
    lines: list[ThresholdLine] = []
    known: Known = {}
    for one in stored:
        columns = Columns.of(one, next(iter(names)), higher=bool(wanted[0].higher))
        if not columns.told():
            continue
        found = [(goal, columns.estimate(goal, known)) for goal in wanted]
        held = [(g, e) for g, e in found if e is not None and e.value and e.status in IN_RANGE]
        if held:
            config = one.experiment.method
            burn_in = {"random": 0, "burn-in": config.get("steps")}.get(str(config.get("name")))
            label = f"{one.method}, {one.training}"
            own, estimates = zip(*held, strict=True)
            lines.append(ThresholdLine(label, one.training, burn_in, own, estimates))
    return tuple(lines)


def draw_thresholds(
    data: Sequence[ThresholdLine],
    *,
    ax: Axes | None = None,
    style: base.Style = "screen",
    serif: bool = False,
) -> Figure:
    """Draw d* against the goal's level, a line for each experiment, hollow where not ok.

    Args:
        data: what is shown.
        ax: axes to draw in; None makes a figure.
        style: `"screen"`, or `"column"` or `"page"` of a paper; see `figure.canvas`.
        serif: letters as in a paper set in Times.

    Returns:
        The figure.

    Raises:
        InputError: there are no lines.
    """
    _refuse_nothing(data)
    goal = data[0].goals[0]
    with base.canvas(ax, style, serif) as drawn:
        for i, (line, label) in enumerate(zip(data, _short_labels(data), strict=True)):
            x = [g.level for g in line.goals]
            _draw(drawn.axes, x, line.estimates, i, label)
        levels = [g.level for line in data for g in line.goals]
        if not goal.higher and min(levels) > 0:
            drawn.axes.set_xscale("log")
            drawn.axes.invert_xaxis()  # harder to the right
        sign = "≥" if goal.higher else "≤"
        drawn.axes.set_xlabel(f"goal: {goal.split} {goal.metric} {sign}")
        _finish(drawn, data[0].estimates[0], "d* against the goal")
    return drawn.figure


def draw_burn_in(
    data: Sequence[ThresholdLine],
    *,
    ax: Axes | None = None,
    style: base.Style = "screen",
    serif: bool = False,
) -> Figure:
    """Draw d* against the steps of burn-in, a line for each training and goal.

    Args:
        data: what is shown; methods other than burn-in and the random subspace are left out.
        ax: axes to draw in; None makes a figure.
        style: `"screen"`, or `"column"` or `"page"` of a paper; see `figure.canvas`.
        serif: letters as in a paper set in Times.

    Returns:
        The figure.

    Raises:
        InputError: there is nothing with burn-in.
    """
    points = [
        (line.training, str(goal), line.burn_in, estimate)
        for line in data
        if line.burn_in is not None
        for goal, estimate in zip(line.goals, line.estimates, strict=True)
    ]
    points.sort(key=lambda p: p[:3])
    _refuse_nothing(points)
    with base.canvas(ax, style, serif) as drawn:
        groups = itertools.groupby(points, key=lambda p: p[:2])
        for i, ((training, goal), group) in enumerate(groups):
            own = list(group)
            _draw(drawn.axes, [p[2] for p in own], [p[3] for p in own], i, f"{goal}, {training}")
        drawn.axes.set_xscale("symlog", base=2, linthresh=1)
        drawn.axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        drawn.axes.set_xlabel("steps of burn-in")
        _finish(drawn, points[0][3], "d* against burn-in")
    return drawn.figure


def _draw(
    axes: Axes, x: Sequence[float], estimates: Sequence[ThresholdEstimate], i: int, label: str
) -> None:
    colour, marker = base.SERIES[i % len(base.SERIES)], _MARKERS[i % len(_MARKERS)]
    values = np.array([float(e.value or np.nan) for e in estimates])
    low = np.array([max(e.low or 1, 1) for e in estimates])
    high = np.array([e.ambient_dim if e.high is None else e.high for e in estimates])
    axes.vlines(x, low, high, color=colour, linewidth=0.9, alpha=0.7)
    axes.plot(x, values, color=colour, linewidth=1.4, label=base.label(label))
    for ok, face in ((True, colour), (False, "white")):
        at = [k for k, e in enumerate(estimates) if e.estimate.ok == ok]
        axes.plot(
            np.array(x)[at], values[at], marker, color=colour, markerfacecolor=face, markersize=4.5
        )


def _short_labels(data: Sequence[ThresholdLine]) -> list[str]:
    """Return the labels without what the trainings of all lines share."""
    parts = [line.training.split(", ") for line in data]
    shared = set(parts[0]).intersection(*parts)
    own = [", ".join(word for word in words if word not in shared) for words in parts]
    methods = [line.label.removesuffix(f", {line.training}") for line in data]
    pairs = zip(methods, own, strict=True)
    return [f"{method}, {rest}" if rest else method for method, rest in pairs]


def _finish(drawn: base.Canvas, estimate: ThresholdEstimate, title: str) -> None:
    axes = drawn.axes
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: base.plain_number(value))
    axes.set_ylabel("threshold training dimension d*")
    axes.grid(color=base.PALE, linewidth=0.6)
    axes.set_axisbelow(True)
    long = max(len(text) for text in axes.get_legend_handles_labels()[1]) > _LONG
    axes.legend(**{**drawn.legend_below(), **({"ncols": 1} if long else {})})
    drawn.title(title)
    drawn.note(f"D = {estimate.ambient_dim:,}  ·  {100 * estimate.confidence:g} % intervals")


def _refuse_nothing(data: Sequence[object]) -> None:
    if not data:
        raise invalid("data", expected="a threshold with an interval", got="none")
