"""The figure of predicted thresholds, beside measured success where there is some."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from subspan.report import figure as base
from subspan.report.success_curve import (
    SuccessCurveData,
    draw_rates,
    headline,
    success_curve_data,
)
from subspan.report.words import d_star
from subspan.success.estimate import ThresholdEstimate
from subspan.theory.cone import ConeEstimate
from subspan.theory.prediction import Prediction

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GRID = 300


@dataclass(frozen=True)
class PredictionData:
    """What the prediction figure shows, on one axis of d.

    Args:
        ambient_dim: D.
        goal: in words.
        grid: dims, shape (m,).
        cone_curve: success probability that the cone predicts, (m,).
        cone: centre of the cone's transition and its interval (value, low, high).
        curvature: the same from curvature, or None where it gives no estimate.
        curvature_curve: success probability that curvature predicts, (m,), or None likewise.
        at_90: d of 90 % success from cone and curvature: what a measured threshold is.
        gordon: largest d that Gordon's theorem certifies to miss (0: none); None where the cone
            gives no certificate.
        polar: largest d certified by its polar form, which assumes a convex cone.
        measured: the measured success curve, or None.
        uncertified: why there is no certificate, where there is none.
    """

    ambient_dim: int
    goal: str
    grid: np.ndarray
    cone_curve: np.ndarray
    cone: tuple[float, float, float]
    curvature: tuple[float, float, float] | None
    curvature_curve: np.ndarray | None
    at_90: tuple[float, float | None]
    gordon: int | None
    polar: int | None
    measured: SuccessCurveData | None
    uncertified: str = ""


def prediction_data(
    prediction: Prediction, cone: ConeEstimate, measured: ThresholdEstimate | None = None
) -> PredictionData:
    """Return the curves that cone and curvature predict, and the certified misses."""
    dim = prediction.ambient_dim
    curve = None if measured is None else success_curve_data(measured)
    marks = [max(1.0, cone.mean), max(1.0, prediction.value or cone.mean)]
    marks += [] if measured is None else [v for v in (measured.low, measured.high) if v]
    grid = np.geomspace(max(1.0, min(marks) / 4), min(1.1 * dim, max(marks) * 4), _GRID)
    curvature = None
    if prediction.at_goal.estimate is not None:
        found = prediction.at_goal.estimate
        curvature = (found.mean, found.low or 0.0, found.high or float(dim))
    return PredictionData(
        dim,
        base.pretty(prediction.asked),
        grid,
        cone.transition.probability(grid),
        (cone.mean, cone.low or 0.0, cone.high or float(dim)),
        curvature,
        None if prediction.transition is None else prediction.transition.probability(grid),
        (cone.at_delta(), prediction.at_delta()),
        cone.certified_miss_dim("gordon"),
        cone.certified_miss_dim("polar"),
        curve,
        "w₀ is random" if cone.ok else "cone not converged",
    )


def draw_prediction(
    data: PredictionData,
    *,
    ax: Axes | None = None,
    style: base.Style = "screen",
    serif: bool = False,
) -> Figure:
    """Draw measured success, the curves of cone and curvature, and the certified misses.

    Args:
        data: what is shown.
        ax: axes to draw in; None makes a figure.
        style: `"screen"`, or `"column"` or `"page"` of a paper; see `figure.canvas`.
        serif: letters as in a paper set in Times.

    Returns:
        The figure.
    """
    with base.canvas(ax, style, serif, height=5.4) as drawn:
        figure, axes = drawn.figure, drawn.axes
        left, right = data.grid[0], data.grid[-1]
        base.dims_axis(axes, left, right, data.ambient_dim)
        axes.set_ylim(-0.05, 1.05)
        axes.set_yticks(np.linspace(0, 1, 6))
        axes.set_ylabel("success probability")
        axes.grid(axis="y", color=base.PALE, linewidth=0.6)
        axes.set_axisbelow(True)
        for miss, name, shade in (
            (data.gordon, "Gordon", 0.4),
            (data.polar, "polar Gordon, if convex", 0.18),
        ):
            if miss is None:
                label = f"{name}: no certificate, {data.uncertified}"
            else:
                label = f"{name}: " + (f"misses for d ≤ {miss:,}" if miss else "certifies no miss")
            if miss is not None and miss >= left:
                axes.axvspan(left, miss, color=base.GREY, alpha=shade, linewidth=0, label=label)
            else:  # nothing to shade, but it is part of the answer
                axes.plot([], [], " ", label=label)
        _, low, high = data.cone
        axes.axvspan(low, high, color=base.GREEN, alpha=0.15, linewidth=0)
        label = f"cone bound: {_marks(data.cone, data.at_90[0])}"
        axes.plot(data.grid, data.cone_curve, color=base.GREEN, linewidth=1.8, label=label)
        if data.curvature is not None and data.curvature_curve is not None:
            _, low, high = data.curvature
            axes.axvspan(low, high, color=base.ORANGE, alpha=0.2, linewidth=0)
            label = f"curvature: {_marks(data.curvature, data.at_90[1])}"
            axes.plot(
                data.grid, data.curvature_curve, color=base.ORANGE, linewidth=1.8, label=label
            )
        if data.measured is not None:
            _draw_measured(axes, data.measured)
        axes.legend(**drawn.legend_below())  # every corner inside may hold a curve
        known = "Predicted and measured thresholds" if data.measured else "Predicted thresholds"
        drawn.title(base.label(f"{known}: {data.goal}"))
        note = f"D = {data.ambient_dim:,}"
        if data.measured is not None:
            found = data.measured.estimate
            note = base.provenance(found.experiment, data.ambient_dim, f"{found.trials} trials")
        drawn.note(note)
    return figure


def _marks(center: tuple[float, float, float], at_90: float | None) -> str:
    value, low, high = center
    end = "" if at_90 is None else f", 90 % at {at_90:.0f}"
    return f"centre {value:.0f} [{low:.0f}, {high:.0f}]{end}"


def _draw_measured(axes: Axes, seen: SuccessCurveData) -> None:
    """Draw success rates with their intervals and the fit with its band.

    At the best learning rate there is no curve over d alone: d* stands with its interval.
    """
    found = seen.estimate
    if found.design == "joint" and found.value:
        right = found.ambient_dim if found.high is None else found.high
        label = f"measured: d* = {d_star(found)}, best lr"
        ends = [[found.value - (found.low or 1)], [right - found.value]]
        look: Any = {"color": base.BLUE, "markersize": 6, "linewidth": 1.8, "capsize": 4}
        axes.errorbar([found.value], [1 - found.delta], xerr=ends, fmt="o", label=label, **look)
        return
    label = f"measured: {headline(seen.estimate)}"
    axes.plot(seen.grid, seen.fit, color=base.BLUE, linewidth=1.8, label=label)
    axes.fill_between(
        seen.grid, seen.fit_low, seen.fit_high, color=base.BLUE, alpha=0.16, linewidth=0
    )
    draw_rates(axes, seen)
