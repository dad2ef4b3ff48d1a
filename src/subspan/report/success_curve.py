"""Figure: the success curve of one goal, with the fit and the threshold training dimension."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from subspan.intervals import binomial_interval
from subspan.report import figure as base
from subspan.report.words import d_star
from subspan.success.estimate import ThresholdEstimate
from subspan.success.posterior import Count

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_POOL_RATIO, _POOL_TRIALS = 1.08, 12
_GRID = 240
_ZOOM = 8.0
# Statuses that have an interval of d*.
IN_RANGE = ("ok", "edge of the model", "not converged", "the budget decides")
_FEW = 4  # pools of fewer trials have intervals that say little, and are drawn faintly


@dataclass(frozen=True)
class SuccessCurveData:
    """What the success-curve figure shows.

    Args:
        counts: successes and trials per dim, as measured.
        dims: middle (geometric) of each pool of neighbouring dims, shape (n,).
        totals: trials in each pool, (n,).
        probability: successes / trials of each pool, (n,).
        low: lower Clopper–Pearson ends, (n,).
        high: upper Clopper–Pearson ends, (n,).
        grid: dims at which the fit is drawn, (m,).
        fit: posterior mean of P_s, (m,).
        fit_low: lower credible ends, (m,).
        fit_high: upper credible ends, (m,).
        estimate: the threshold.
    """

    counts: tuple[Count, ...]
    dims: np.ndarray
    totals: np.ndarray
    probability: np.ndarray
    low: np.ndarray
    high: np.ndarray
    grid: np.ndarray
    fit: np.ndarray
    fit_low: np.ndarray
    fit_high: np.ndarray
    estimate: ThresholdEstimate


def pool(counts: Iterable[Count]) -> list[list[Count]]:
    """Group neighbouring dims that have few trials each, for display only.

    A pool spans at most a factor of 1.08 in d and is closed once it has 12 trials, so a fixed
    grid of dims stays as it is.
    """
    pools: list[list[Count]] = []
    for count in sorted(counts):
        last = pools[-1] if pools else None
        if (
            last is not None
            and count.dim <= _POOL_RATIO * last[0].dim
            and sum(c.total for c in last) < _POOL_TRIALS
        ):
            last.append(count)
        else:
            pools.append([count])
    return pools


def success_curve_data(estimate: ThresholdEstimate) -> SuccessCurveData:
    """Return pooled success rates with their intervals, the fit with its band, and d*."""
    pools = pool(estimate.counts)
    totals = np.array([sum(c.total for c in group) for group in pools])
    wins = np.array([sum(c.successes for c in group) for group in pools])
    middle = [
        float(np.exp(np.average(np.log([c.dim for c in g]), weights=[c.total for c in g])))
        for g in pools
    ]
    low, high = binomial_interval(wins, totals, estimate.confidence)
    left, right = _view(estimate)
    grid = np.geomspace(left, right, _GRID)
    fit, fit_low, fit_high = estimate.curve(grid)
    return SuccessCurveData(
        estimate.counts,
        np.array(middle),
        totals,
        wins / totals,
        low,
        high,
        grid,
        fit,
        fit_low,
        fit_high,
        estimate,
    )


def _view(estimate: ThresholdEstimate) -> tuple[float, float]:
    """Return the dims to show: those tried, but no further than `_ZOOM` from the interval."""
    left, right = estimate.counts[0].dim / 1.3, estimate.counts[-1].dim * 1.3
    if estimate.status in IN_RANGE:
        left = max(left, (estimate.low or 1) / _ZOOM)
        right = min(right, right if estimate.high is None else estimate.high * _ZOOM)
    return max(left, 0.9), min(right, estimate.ambient_dim * 1.1)


def headline(estimate: ThresholdEstimate) -> str:
    """Return the title: d* with its interval, or why there is none."""
    percent = f"{100 * estimate.confidence:g} %"
    if estimate.value == 0:
        return f"d* = {d_star(estimate)}"
    if estimate.status == "below range":
        return f"d* ≤ {estimate.high:,}"
    if estimate.status == "above range":
        return f"d* > {estimate.low:,}"
    if estimate.status == "not monotone":
        return "no d*: success falls with d"
    if estimate.status == "never reaches":
        return f"d* > {estimate.low:,}: never reaches {100 * (1 - estimate.delta):g} %"
    high = "∞" if estimate.high is None else f"{estimate.high:,}"
    value = "?" if estimate.value is None else f"{estimate.value:,}"
    note = "" if estimate.status == "ok" else f", {estimate.status}"
    return f"d* = {value}  ({percent} interval {estimate.low:,}–{high}{note})"


def draw_success_curve(
    data: SuccessCurveData,
    *,
    ax: Axes | None = None,
    style: base.Style = "screen",
    serif: bool = False,
) -> Figure:
    """Draw the success curve: measured rates, fit with band, and d* with its interval.

    Args:
        data: what is shown.
        ax: axes to draw in; None makes a figure.
        style: `"screen"`, or `"column"` or `"page"` of a paper; see `figure.canvas`.
        serif: letters as in a paper set in Times.

    Returns:
        The figure.
    """
    estimate = data.estimate
    with base.canvas(ax, style, serif) as drawn:
        figure, axes = drawn.figure, drawn.axes
        base.dims_axis(axes, data.grid[0], data.grid[-1], estimate.ambient_dim)
        axes.set_ylim(-0.07, 1.07)
        axes.set_ylabel(f"success probability  P({base.pretty(estimate.goal)})")
        axes.set_yticks(np.linspace(0, 1, 6))
        axes.grid(axis="y", color=base.PALE, linewidth=0.6)
        axes.set_axisbelow(True)
        level = 1 - estimate.delta
        axes.axhline(level, color=base.GREY, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.annotate(
            f"1 − δ = {level:g}",
            (0.012, level),
            xycoords=("axes fraction", "data"),
            xytext=(0, -3),
            textcoords="offset points",
            va="top",
            fontsize=8,
            color=base.GREY,
        )
        low = data.grid[0] if not estimate.low else estimate.low
        high = data.grid[-1] if estimate.high is None else estimate.high
        if estimate.status in IN_RANGE:
            axes.axvspan(low, high, color=base.VERMILION, alpha=0.14, linewidth=0)
        if estimate.value and estimate.status != "below range":
            axes.axvline(
                estimate.value, color=base.VERMILION, linewidth=1.6, label="d* and its interval"
            )
        axes.fill_between(
            data.grid, data.fit_low, data.fit_high, color=base.BLUE, alpha=0.16, linewidth=0
        )
        axes.plot(
            data.grid, data.fit, color=base.BLUE, linewidth=1.8, label="fit and its credible band"
        )
        seen = [c for c in data.counts if data.grid[0] <= c.dim <= data.grid[-1]]
        for count in seen:
            for outcome, number in ((1, count.successes), (0, count.total - count.successes)):
                if number:
                    axes.plot(
                        count.dim,
                        1.04 if outcome else -0.04,
                        marker="|",
                        color=base.GREEN if outcome else base.GREY,
                        markersize=6,
                        markeredgewidth=0.9,
                    )
        if estimate.level is not None:
            axes.axhspan(
                estimate.level.low or 0.0,
                estimate.level.high or 1.0,
                color=base.ORANGE,
                alpha=0.2,
                linewidth=0,
                label="the level that is reached",
            )
        draw_rates(axes, data)
        drawn.title(headline(estimate))
        middle = estimate.value or data.grid[len(data.grid) // 2]
        right = data.grid[-1] / middle > middle / data.grid[0]
        legend = axes.legend(  # beside the rise: low on the right of d*, or high on the left
            loc="lower right" if right else "upper left",
            bbox_to_anchor=(0.995, 0.08) if right else (0.0, 0.80),
            frameon=True,
            framealpha=0.92,
            edgecolor="none",
        )
        legend.set_zorder(5)
        pooled = len(data.dims) < len(data.counts)
        note = f"{estimate.trials} trials" + (
            f" at {len(data.counts)} dims, neighbours pooled" if pooled else ""
        )
        hidden = estimate.trials - sum(count.total for count in seen)
        note += f", {hidden} beyond the axis" if hidden else ""
        line = base.provenance(estimate.experiment, estimate.ambient_dim, note)
        remark = textwrap.fill(estimate.remark, base.LINE)
        drawn.note(f"{remark}\n{line}" if remark else line)
    return figure


def draw_rates(axes: Axes, data: SuccessCurveData) -> None:
    """Draw the success rates with their intervals; large dots are many trials."""
    axes.vlines(
        data.dims,
        data.low,
        data.high,
        color=base.INK,
        linewidth=0.8,
        alpha=np.where(data.totals < _FEW, 0.15, 0.6),
        zorder=3,
    )
    axes.scatter(
        data.dims,
        data.probability,
        s=10 + 7 * np.minimum(data.totals, 20),
        facecolor="white",
        edgecolor=base.INK,
        linewidth=1.0,
        zorder=4,
        label=f"success rate, {100 * data.estimate.confidence:g} % interval",
    )
