"""Figure: learning curves, every evaluation of some trials."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from subspan import metrics
from subspan.errors import invalid
from subspan.report import figure as base
from subspan.trials.trial import TrialRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)))


@dataclass(frozen=True)
class LearningCurve:
    """One metric of one trial: steps (n,) and values (n,), where it was evaluated."""

    label: str
    trial: int
    metric: int
    steps: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class LearningCurvesData:
    """What the figure shows: curves of one or several metrics, `"split:metric"`."""

    curves: tuple[LearningCurve, ...]
    metrics: tuple[str, ...]


def learning_curves_data(
    records: Sequence[TrialRecord], names: Iterable[str] | str | None = None
) -> LearningCurvesData:
    """Return what trials reported of some metrics.

    Args:
        records: the trials.
        names: metrics, `"[split:]metric"`; None: the first that they have.

    Raises:
        InputError: there are no trials, or none has one of the metrics.
    """
    if not records:
        raise invalid("records", expected="at least one trial", got="none")
    if names is None:
        names = records[0].metrics[:1]
    wanted = [
        metrics.qualified(*metrics.parse(n)) for n in ([names] if isinstance(names, str) else names)
    ]
    curves = []
    for t, record in enumerate(records):
        for m, name in enumerate(wanted):
            points = [(p.step, p.metrics[name]) for p in record.curve if name in p.metrics]
            if points:
                steps, values = map(np.array, zip(*points, strict=True))
                label = f"{name}, d = {record.dim:,}, repeat {record.trial.repeat}"
                curves.append(LearningCurve(label, t, m, steps, values))
    if not curves:
        raise invalid("names", expected="a metric that the trials have", got=", ".join(wanted))
    return LearningCurvesData(tuple(curves), tuple(wanted))


def draw_learning_curves(
    data: LearningCurvesData,
    *,
    ax: Axes | None = None,
    style: base.Style = "screen",
    serif: bool = False,
) -> Figure:
    """Draw the curves: a colour for each trial, or metric of a single one; a dash a metric.

    Args:
        data: what is shown.
        ax: axes to draw in; None makes a figure.
        style: `"screen"`, or `"column"` or `"page"` of a paper; see `figure.canvas`.
        serif: letters as in a paper set in Times.

    Returns:
        The figure.
    """
    with base.canvas(ax, style, serif) as drawn:
        axes = drawn.axes
        alone = len({curve.trial for curve in data.curves}) == 1
        for curve in data.curves:
            shade = curve.metric if alone else curve.trial
            axes.plot(
                curve.steps,
                curve.values,
                color=base.SERIES[shade % len(base.SERIES)],
                linestyle=_DASHES[curve.metric % len(_DASHES)],
                linewidth=1.5,
                marker="o",
                markersize=2.5,
                label=base.label(curve.label),
            )
        losses = all(name.endswith(":loss") for name in data.metrics)
        if losses and all((curve.values > 0).all() for curve in data.curves):
            axes.set_yscale("log")
        axes.set_xlabel("step")
        axes.set_ylabel(base.label(", ".join(data.metrics)))
        axes.grid(color=base.PALE, linewidth=0.6)
        if len(data.curves) <= 8:
            axes.legend(**drawn.legend_below())
        drawn.title("Learning curves")
        drawn.note("1 trial" if alone else f"{len({c.trial for c in data.curves})} trials")
    return drawn.figure
