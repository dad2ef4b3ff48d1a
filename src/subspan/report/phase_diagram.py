"""Figure: the phase diagram, success probability over training dimension and goal.

The picture of the paper's phase transitions: below the threshold curve training hardly ever
reaches the goal, above it nearly always.
"""

from __future__ import annotations

import dataclasses
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from subspan.errors import invalid
from subspan.goals import Goal
from subspan.report import figure as base
from subspan.report.success_curve import IN_RANGE
from subspan.success.estimate import ThresholdEstimate, estimate_from_counts
from subspan.success.posterior import Range
from subspan.success.surface import SuccessSurface
from subspan.trials.pilots import said_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class PhaseDiagramData:
    """What the phase diagram shows.

    Args:
        dims: training dimensions, ascending, shape (n,).
        goals: goals of one metric and split, from the lowest level up, (m).
        levels: their levels, ascending, (m,).
        probability: success probability, (m, n); NaN where unknown.
        trials: draws behind each, (m, n).
        thresholds: d* of each goal; None where some draws cannot tell.
        surface: what it was made from.
    """

    dims: np.ndarray
    goals: tuple[Goal, ...]
    levels: np.ndarray
    probability: np.ndarray
    trials: np.ndarray
    thresholds: tuple[ThresholdEstimate | None, ...]
    surface: SuccessSurface

    @property
    def metric(self) -> str:
        """Name of the goals' metric, e.g. `"loss"`."""
        return self.goals[0].metric


def phase_diagram_data(surface: SuccessSurface, *, delta: float = 0.1) -> PhaseDiagramData:
    """Return the surface as a matrix over (goal, dim), and the threshold d* of every goal.

    Args:
        surface: goals of one metric and split, at least one.
        delta: d* is where the success probability reaches 1 − δ.

    Raises:
        InputError: the goals mix metrics or splits.
    """
    cells = tuple(cell for cell in surface.cells if cell.dim)  # d = 0 has no place on a log axis
    if not cells:
        raise invalid("surface", expected="at least one dim above 0", got="none")
    surface = dataclasses.replace(surface, cells=cells)
    kinds = sorted({f"{g.split} {g.metric}" for g in surface.goals})
    if len(kinds) > 1:
        raise invalid("surface", expected="goals of one metric and split", got=", ".join(kinds))
    goals = tuple(sorted(surface.goals, key=lambda g: g.level))
    dims = np.array(surface.dims)
    column = {dim: i for i, dim in enumerate(surface.dims)}
    probability = np.full((len(goals), len(dims)), np.nan)
    trials = np.zeros((len(goals), len(dims)), int)
    thresholds: list[ThresholdEstimate | None] = []
    span = Range(surface.dims[0], surface.dims[-1], delta)
    for row, goal in enumerate(goals):
        cells = surface.at(goal)
        for cell in cells:
            if cell.probability is not None:
                probability[row, column[cell.dim]] = cell.probability
            trials[row, column[cell.dim]] = cell.trials
        told = all(cell.undetermined == 0 for cell in cells)
        thresholds.append(
            estimate_from_counts(
                surface.counts(goal),
                goal,
                span,
                ambient_dim=surface.ambient_dim,
                confidence=surface.confidence,
            )
            if told
            else None
        )
    levels = np.array([g.level for g in goals])
    return PhaseDiagramData(dims, goals, levels, probability, trials, tuple(thresholds), surface)


def cell_edges(centers: np.ndarray, *, log: bool) -> np.ndarray:
    """Return the n+1 edges halfway between n ascending centers, on a log or a plain scale."""
    x = np.log(centers) if log else np.asarray(centers, float)
    if len(x) == 1:
        half = np.log(1.5) if log else 0.02 * max(1.0, abs(float(x[0])))
        edges = np.array([x[0] - half, x[0] + half])
    else:
        middle = (x[1:] + x[:-1]) / 2
        edges = np.concatenate([[2 * x[0] - middle[0]], middle, [2 * x[-1] - middle[-1]]])
    return np.exp(edges) if log else edges


def goal_axis(goal: Goal) -> str:
    """Return the label of an axis of levels of a goal: metric, split and sign."""
    split = "training" if goal.split == "train" else goal.split
    known = {"loss": "loss ≤ ε (mean per example)", "accuracy": "accuracy ≥ a (fraction)"}
    other = f"{goal.metric} {'≥' if goal.higher else '≤'} level"
    return f"goal: {split} {known.get(goal.metric, other)}"


def draw_phase_diagram(
    data: PhaseDiagramData,
    *,
    ax: Axes | None = None,
    style: base.Style = "screen",
    serif: bool = False,
) -> Figure:
    """Draw success probability as colour over d and goal level, with the threshold curve.

    Args:
        data: what is shown.
        ax: axes to draw in; None makes a figure.
        style: `"screen"`, or `"column"` or `"page"` of a paper; see `figure.canvas`.
        serif: letters as in a paper set in Times.

    Returns:
        The figure.
    """
    log_level = bool(not data.goals[0].higher and data.levels[0] > 0)
    with base.canvas(ax, style, serif, 7.0, 4.6) as drawn:
        figure, axes = drawn.figure, drawn.axes
        x, y = cell_edges(data.dims, log=True), cell_edges(data.levels, log=log_level)
        axes.set_facecolor("white")
        mesh = axes.pcolormesh(
            x,
            y,
            np.ma.masked_invalid(data.probability),
            cmap="cividis",
            vmin=0,
            vmax=1,
            edgecolors="face",
            linewidth=0.2,
        )
        base.dims_axis(axes, x[0], x[-1], data.surface.ambient_dim)
        if log_level:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.yaxis.set_minor_formatter(lambda value, _: "")
        axes.set_ylim(y[0], y[-1])
        if not data.goals[0].higher:
            axes.invert_yaxis()  # harder goals at the top, as for accuracy
        axes.set_ylabel(goal_axis(data.goals[0]))
        _draw_thresholds(axes, data)
        bar = figure.colorbar(mesh, ax=axes, pad=0.015, aspect=28)
        bar.set_label("success probability")
        bar.outline.set_visible(False)
        drawn.title("How many degrees of freedom reach the goal?")
        told = data.trials[data.trials > 0]
        doubted = [
            f"{t.goal} {t.status}" for t in data.thresholds if t is not None and not t.estimate.ok
        ]
        counts = "no trials"
        if told.size:
            least, most = int(told.min()), int(told.max())
            counts = f"{least if least == most else f'{least}–{most}'} trials per dim"
        line = base.provenance(data.surface.experiment, data.surface.ambient_dim, counts)
        if data.surface.learning_rates:
            line = f"{textwrap.fill(said_of(data.surface.learning_rates), base.LINE)}\n{line}"
        if doubted:
            note = f"d* hollow or missing where it is not ok: {', '.join(doubted)}"
            line = f"{textwrap.fill(note, base.LINE)}\n{line}"
        drawn.note(line)
    return figure


def _draw_thresholds(axes: Axes, data: PhaseDiagramData) -> None:
    """Draw d* of each goal with its interval, broken where there is none, hollow if not "ok"."""
    values = [
        t.value if t is not None and t.value and t.status in IN_RANGE else np.nan
        for t in data.thresholds
    ]
    if not np.isfinite(values).any():
        return
    settled = next(t for t in data.thresholds if t is not None)
    axes.plot(values, data.levels, color="white", linewidth=4.2, zorder=2.2)
    axes.plot(
        values,
        data.levels,
        color=base.VERMILION,
        linewidth=2.0,
        zorder=2.3,
        marker="o",
        markersize=4.5,
        markeredgecolor="white",
        markeredgewidth=0.8,
        label=f"d*: P = {1 - settled.delta:g}, {100 * settled.confidence:g} % interval",
    )
    last = float(data.dims[-1])
    for threshold, level in zip(data.thresholds, data.levels, strict=True):
        if threshold is None or not threshold.value or threshold.status not in IN_RANGE:
            continue
        if not threshold.estimate.ok:
            axes.plot(
                threshold.value,
                level,
                color="white",
                linewidth=0,
                zorder=2.4,
                marker="o",
                markersize=4.5,
                markeredgecolor=base.VERMILION,
            )
        low = threshold.low or 1
        high = last if threshold.high is None else threshold.high
        axes.plot([low, high], [level, level], color="white", linewidth=2.4, zorder=2.0)
        axes.plot([low, high], [level, level], color=base.VERMILION, linewidth=1.1, zorder=2.1)
    legend = axes.legend(loc="upper left", frameon=True, framealpha=0.92, edgecolor="none")
    legend.set_zorder(5)
