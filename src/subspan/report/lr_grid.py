"""Figure: a stored grid over d and learning rate, how good training gets in each cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from subspan.errors import invalid
from subspan.goals import Goal, name_of, parse_goal
from subspan.report import figure as base
from subspan.report.columns import Columns
from subspan.report.phase_diagram import cell_edges
from subspan.report.stored import StoredExperiment

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.collections import PathCollection

_GRID_SHARE = 0.7  # of all pairs: with fewer it is no grid but a search


@dataclass(frozen=True)
class LrGridData:
    """What the figure shows; n dims and m learning rates, ascending.

    Args:
        dims: training dimensions, (n,).
        lrs: learning rates, (m,).
        median: of the best values of the goal's metric, (m, n); NaN where there is no trial.
        wins: trials that met the goal, (m, n).
        totals: trials that tell, (m, n).
        goal: what counts as success.
        ambient_dim: D.
    """

    dims: np.ndarray
    lrs: np.ndarray
    median: np.ndarray
    wins: np.ndarray
    totals: np.ndarray
    goal: Goal
    ambient_dim: int


def lr_grid_data(stored: Sequence[StoredExperiment], goal: Goal | str) -> LrGridData:
    """Return medians and counts of experiments that differ in the learning rate alone.

    Args:
        stored: of one `family`.
        goal: what counts as success; its metric is shown.

    Raises:
        InputError: they are not of one family, or have fewer than two learning rates.
    """
    wanted = parse_goal(goal)
    if len({one.family for one in stored}) != 1:
        raise invalid("stored", expected="experiments of one family", got=f"{len(stored)} of more")
    own = sorted((s for s in stored if s.lr is not None), key=lambda s: s.lr or 0.0)
    lrs = [one.lr for one in own if one.lr is not None]
    if len(lrs) < 2:
        raise invalid("stored", expected="two learning rates or more", got=f"{lrs}")
    dims = sorted({r.dim for one in own for r in one.records if r.dim})
    place = {dim: i for i, dim in enumerate(dims)}
    median = np.full((len(own), len(dims)), np.nan)
    wins, totals = np.zeros(median.shape, int), np.zeros(median.shape, int)
    for row, one in enumerate(own):
        columns = Columns.of(one, name_of(wanted), higher=bool(wanted.higher))
        for dim in dims:
            best = columns.best[columns.dims == dim]
            if np.isfinite(best).any():
                median[row, place[dim]] = np.nanmedian(best)
        for dim, won, total in zip(*columns.cells(wanted), strict=True):
            if dim:
                wins[row, place[int(dim)]], totals[row, place[int(dim)]] = won, total
    shared = own[0].experiment
    return LrGridData(
        np.array(dims), np.array(lrs), median, wins, totals, wanted, shared.ambient_dim
    )


def draw_lr_grid(
    data: LrGridData,
    *,
    ax: Axes | None = None,
    style: base.Style = "screen",
    serif: bool = False,
) -> Figure:
    """Draw the medians as colour, and in each cell how many trials met the goal.

    Of a search, which tries few of all pairs, every pair is a point: a cross where fewer than
    half of the trials that tell met the goal.

    Args:
        data: what is shown.
        ax: axes to draw in; None makes a figure.
        style: `"screen"`, or `"column"` or `"page"` of a paper; see `figure.canvas`.
        serif: letters as in a paper set in Times.

    Returns:
        The figure.
    """
    with base.canvas(ax, style, serif, 7.0, 4.4) as drawn:
        axes, goal = drawn.axes, data.goal
        x, y = cell_edges(data.dims, log=True), cell_edges(data.lrs, log=True)
        known = data.median[np.isfinite(data.median)]
        logarithmic = not goal.higher and bool((known > 0).all())
        shade: Normalize = (LogNorm if logarithmic else Normalize)(known.min(), known.max())
        colours: Any = {"cmap": "cividis" if goal.higher else "cividis_r", "norm": shade}
        searched = len(known) < _GRID_SHARE * data.median.size
        if searched:
            mesh: ScalarMappable = _draw_pairs(axes, data, colours)
        else:
            mesh = axes.pcolormesh(x, y, np.ma.masked_invalid(data.median), **colours)
        base.dims_axis(axes, x[0], x[-1], data.ambient_dim)
        axes.set_yscale("log")
        axes.set_ylim(y[0], y[-1])
        axes.set_ylabel("learning rate")
        if not drawn.narrow and not searched:
            for row, lr in enumerate(data.lrs):
                for column, dim in enumerate(data.dims):
                    total = data.totals[row, column]
                    if total:
                        dark = shade(data.median[row, column]) < 0.5
                        bright = dark if goal.higher else not dark
                        axes.annotate(
                            f"{data.wins[row, column]}/{total}",
                            (dim, lr),
                            ha="center",
                            va="center",
                            fontsize=7,
                            color="white" if bright else base.INK,
                        )
        bar = drawn.figure.colorbar(mesh, ax=axes, pad=0.015, aspect=28)
        bar.set_label(base.label(f"median best {name_of(goal)}"))
        drawn.title(base.label(f"Which learning rate? Trials that met {goal}"))
        drawn.note(f"D = {data.ambient_dim:,}  ·  {int(data.totals.sum()):,} trials that tell")
    return drawn.figure


def _draw_pairs(axes: Axes, data: LrGridData, colours: dict[str, Any]) -> PathCollection:
    """Draw the pairs that were tried; return what a colour bar is of."""
    rows, columns = np.nonzero(np.isfinite(data.median))
    won = 2 * data.wins[rows, columns] >= data.totals[rows, columns]
    for marker, mine, edge in (("o", won, base.GREY), ("X", ~won, "white")):
        points = axes.scatter(
            data.dims[columns[mine]],
            data.lrs[rows[mine]],
            c=data.median[rows[mine], columns[mine]],
            marker=marker,
            s=70,
            edgecolors=edge,
            linewidths=0.8,
            zorder=3,
            **colours,
        )
    return points
