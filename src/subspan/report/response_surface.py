"""Figure: how good trials got over (d, lr), the level, and d* at each learning rate."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from subspan.errors import invalid
from subspan.goals import best_for
from subspan.report import figure as base
from subspan.report.success_curve import headline
from subspan.success.estimate import ThresholdEstimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GRID = 120
_BEYOND = 2.0  # octaves of lr shown beyond those that trials were trained at
_COLOURS = "viridis"


@dataclass(frozen=True)
class ResponseSurfaceData:
    """What the figure shows.

    Args:
        dims: of the trials, shape (n,).
        lrs: their learning rates, (n,).
        best: the best of the goal's metric that each reached; NaN where there is none, (n,).
        stopped: whether each ended early, well above the goal, so that `best` is a bound, (n,).
        met: whether each met the goal, (n,).
        grid: dims of the curve, (m,).
        middle: the metric at the best lr, median of the posterior, (m,).
        low: lower end of its credible band, (m,).
        high: upper end, (m,).
        lr_grid: learning rates of the contour, (k,).
        contour: d* at each, median of the posterior; inf where the goal is not reached, (k,).
        contour_low: lower end of its band, (k,).
        contour_high: upper end, (k,).
        estimate: d* at the best of them.
        doubled: d* at each learning rate with twice the steps, where the budget was checked, (k,).
    """

    dims: np.ndarray
    lrs: np.ndarray
    best: np.ndarray
    stopped: np.ndarray
    met: np.ndarray
    grid: np.ndarray
    middle: np.ndarray
    low: np.ndarray
    high: np.ndarray
    lr_grid: np.ndarray
    contour: np.ndarray
    contour_low: np.ndarray
    contour_high: np.ndarray
    estimate: ThresholdEstimate
    doubled: np.ndarray | None = None


def response_surface_data(estimate: ThresholdEstimate) -> ResponseSurfaceData:
    """Return the trials of a joint design, the metric at the best lr, and d* at each lr.

    Raises:
        InputError: the estimate is not one of a joint design.
    """
    response, goal = estimate.response, estimate.goal
    trials = [r for r in estimate.records if r.dim and r.outcome.value != "failed"]
    if response is None or not trials:
        raise invalid(
            "estimate",
            expected="one of a joint design, with its trials",
            got=repr(estimate),
            remedy='Measure with threshold(..., spec=None), or design="joint".',
        )
    best = [best_for(goal, r.values(goal.metric, goal.split)) for r in trials]
    dims = np.array([r.dim for r in trials])
    # A function may take no learning rate; then there is one, and it is called 1.
    lrs = np.array([float(r.trial.spec["lr"] or 1.0) for r in trials])
    grid = np.geomspace(
        max(1, dims.min() / 1.3), min(estimate.ambient_dim, dims.max() * 1.3), _GRID
    )
    bands = response.distance(grid, estimate.confidence)
    ordered = sorted(
        (np.array([response.scale.value_at(z) for z in band]) for band in bands[1:]),
        key=lambda band: float(band[0]),
    )
    middle = np.array([response.scale.value_at(z) for z in bands[0]])
    lr_grid = np.geomspace(lrs.min() / _BEYOND, lrs.max() * _BEYOND, _GRID // 3)
    contour, contour_low, contour_high = response.threshold_at(lr_grid, estimate.confidence)
    longer = None if estimate.doubled is None else estimate.doubled.response
    return ResponseSurfaceData(
        dims,
        lrs,
        np.array(best),
        np.array([r.outcome.value == "stopped" for r in trials]),
        np.array([r.meets(goal) is True for r in trials]),
        grid,
        middle,
        ordered[0],
        ordered[1],
        lr_grid,
        contour,
        contour_low,
        contour_high,
        estimate,
        None if longer is None else longer.threshold_at(lr_grid, estimate.confidence)[0],
    )


def draw_response_surface(
    data: ResponseSurfaceData,
    *,
    ax: Sequence[Axes] | None = None,
    style: base.Style = "screen",
    serif: bool = False,
) -> Figure:
    """Draw the best metric against d, coloured by lr; and beside it d* at each learning rate.

    With `threshold(..., check_budget=True)` also d* at each learning rate with twice the steps:
    what "d* belongs to the recipe" means, seen.

    Args:
        data: what is shown.
        ax: the two axes to draw in; None makes a figure.
        style: `"screen"`, or `"column"` or `"page"` of a paper; see `figure.canvas`. A column has
            the two below each other.
        serif: letters as in a paper set in Times.

    Returns:
        The figure.
    """
    from matplotlib.colors import LogNorm

    estimate = data.estimate
    first = None if ax is None else ax[0]
    with base.canvas(first, style, serif, 10.4, 4.6) as drawn:
        figure = drawn.figure
        if ax is None:
            figure.clear()
            if drawn.narrow:
                figure.set_figheight(2 * figure.get_figheight())
            own = figure.subplots(2, 1) if drawn.narrow else figure.subplots(1, 2)
        else:
            own = ax
        left, right = own
        colours: dict[str, Any] = {
            "cmap": _COLOURS,
            "norm": LogNorm(data.lrs.min() / 1.01, data.lrs.max() * 1.01),
        }
        _draw_metric(left, data, colours)
        _draw_contour(right, data, colours)
        if not drawn.paper:
            left.set_title(headline(estimate), pad=8, fontweight="bold")
            found = estimate.lr
            if found is not None and estimate.at_best_lr:
                said = f"best lr {found:.2g}", estimate.as_good
                right.set_title(", ".join(part for part in said if part), pad=8)
        cost = "" if estimate.trainings is None else f", {estimate.trainings:.1f} full trainings"
        line = base.provenance(
            estimate.experiment, estimate.ambient_dim, f"{estimate.trials} trials{cost}"
        )
        remark = textwrap.fill(estimate.remark, base.LINE)
        drawn.note(f"{remark}\n{line}" if remark else line)
    return figure


def _draw_metric(axes: Axes, data: ResponseSurfaceData, colours: dict[str, Any]) -> None:
    estimate, goal = data.estimate, data.estimate.goal
    base.dims_axis(axes, data.grid[0], data.grid[-1], estimate.ambient_dim)
    assert estimate.response is not None
    seen = np.append(data.best[np.isfinite(data.best)], goal.level)
    if estimate.response.scale.kind == "log" and estimate.response.scale.least == 0:
        axes.set_yscale("log")
        axes.set_ylim(seen.min() / 3, seen.max() * 3)
    else:
        room = 0.12 * (seen.max() - seen.min()) or 0.1
        axes.set_ylim(seen.min() - room, seen.max() + room)
    axes.set_ylabel(f"best {goal.split} {goal.metric}")
    _draw_interval(axes.axvspan, axes.axvline, data)
    axes.axhline(goal.level, color=base.GREY, linewidth=0.9, linestyle=(0, (4, 3)), label="goal")
    axes.fill_between(data.grid, data.low, data.high, color=base.BLUE, alpha=0.14, linewidth=0)
    axes.plot(data.grid, data.middle, color=base.BLUE, linewidth=1.6, label="at the best lr")
    for early, marker, name in (
        (False, "o", "a trial"),
        (True, "^" if goal.higher else "v", "stopped: at least so good"),
    ):
        own = (data.stopped == early) & np.isfinite(data.best)
        if own.any():
            axes.scatter(
                data.dims[own],
                data.best[own],
                c=data.lrs[own],
                marker=marker,
                s=34,
                edgecolor=base.INK,
                linewidth=0.6,
                zorder=4,
                label=name,
                **colours,
            )
    axes.legend(loc="best", frameon=True, framealpha=0.9, edgecolor="none")


def _draw_contour(axes: Axes, data: ResponseSurfaceData, colours: dict[str, Any]) -> None:
    estimate = data.estimate
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(data.lr_grid[0], data.lr_grid[-1])
    axes.set_ylim(data.grid[0], data.grid[-1])
    axes.set_xlabel("learning rate")
    axes.set_ylabel("training dimension d")
    _draw_interval(axes.axhspan, axes.axhline, data)
    top = data.grid[-1] * 10
    axes.fill_between(
        data.lr_grid,
        np.minimum(data.contour_low, top),
        np.minimum(data.contour_high, top),
        color=base.BLUE,
        alpha=0.14,
        linewidth=0,
    )
    axes.plot(
        data.lr_grid,
        np.where(np.isfinite(data.contour), data.contour, np.nan),
        color=base.BLUE,
        linewidth=1.6,
        label="d* at this learning rate",
    )
    if data.doubled is not None:
        axes.plot(
            data.lr_grid,
            np.where(np.isfinite(data.doubled), data.doubled, np.nan),
            color=base.INK,
            linewidth=1.4,
            linestyle=(0, (4, 2)),
            label="with twice the steps",
        )
    for won, marker, name in ((True, "o", "met the goal"), (False, "X", "missed it")):
        own = data.met == won
        if own.any():
            axes.scatter(
                data.lrs[own],
                data.dims[own],
                c=data.lrs[own],
                marker=marker,
                s=34,
                edgecolor=base.INK,
                linewidth=0.6,
                zorder=4,
                label=name,
                **colours,
            )
    if estimate.lr is not None and estimate.value:
        axes.plot(
            estimate.lr, estimate.value, marker="*", markersize=13, color=base.VERMILION,
            markeredgecolor=base.INK, linestyle="none", zorder=5, label="d* at the best",
        )  # fmt: skip
    axes.legend(loc="best", frameon=True, framealpha=0.9, edgecolor="none")


def _draw_interval(span: Any, line: Any, data: ResponseSurfaceData) -> None:
    """Draw the interval of d* across, and its value, where there are any."""
    estimate = data.estimate
    if estimate.value is None or not estimate.low:
        return
    high = data.grid[-1] if estimate.high is None else estimate.high
    span(estimate.low, high, color=base.VERMILION, alpha=0.14, linewidth=0)
    line(estimate.value, color=base.VERMILION, linewidth=1.4)
