"""The figure of quadratic wells: thresholds measured, by the exact formula and the bound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from subspan.report import figure as base

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class WellsData:
    """Thresholds of one quadratic well along an axis (ε or R).

    Args:
        axis: name of the axis.
        x: its values, shape (n,).
        measured: mean hitting dimension by exact least squares, (n,).
        spread: its standard deviation over draws: the transition's width, (n,).
        exact: the exact formula, (n,).
        paper: the paper's analytic bound, (n,).
        title: what the well is.
    """

    axis: str
    x: np.ndarray
    measured: np.ndarray
    spread: np.ndarray
    exact: np.ndarray
    paper: np.ndarray
    title: str


def wells_data(axis: str, title: str, rows: Sequence[Mapping[str, float]]) -> WellsData:
    """Collect rows with keys x, measured, spread, exact, paper into arrays, by rising x."""
    ordered = sorted(rows, key=lambda row: row["x"])
    columns = {
        key: np.array([row[key] for row in ordered])
        for key in ("x", "measured", "spread", "exact", "paper")
    }
    return WellsData(axis=axis, title=title, **columns)


def draw_wells(
    panels: Sequence[WellsData],
    *,
    ax: Sequence[Axes] | None = None,
    style: base.Style = "screen",
    serif: bool = False,
) -> Figure:
    """Draw d* of quadratic wells, one panel each: measured, exact formula, analytic bound.

    Args:
        panels: what is shown, from left to right.
        ax: axes to draw in, one a panel; None makes a figure.
        style: `"screen"`, or `"column"` or `"page"` of a paper; see `figure.canvas`.
        serif: letters as in a paper set in Times.

    Returns:
        The figure.
    """
    first = None if ax is None else ax[0]
    with base.canvas(first, style, serif, 3.5 * len(panels), 3.6) as drawn:
        figure = drawn.figure
        if ax is None:
            figure.clear()
        own = figure.subplots(1, len(panels), squeeze=False)[0] if ax is None else ax
        for axes, data in zip(own, panels, strict=True):
            axes.set_xscale("log")
            axes.set_xlabel(data.axis)
            axes.set_ylabel("threshold training dimension d*")
            axes.plot(data.x, data.paper, color=base.GREY, linestyle="--", label="analytic bound")
            axes.plot(data.x, data.exact, color=base.BLUE, label="exact formula")
            axes.errorbar(
                data.x, data.measured, data.spread, fmt="o", markersize=4, color=base.INK,
                elinewidth=0.8, label="least squares ± transition width",
            )  # fmt: skip
            axes.set_title(base.label(data.title), fontsize=9)
            axes.grid(color=base.PALE, linewidth=0.6)
        own[0].legend()
    return figure
