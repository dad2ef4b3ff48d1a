"""Figure: accuracy (or loss) against compression ratio, a band for each method, the null in ink."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from subspan.comparison.table import BETTER, NULL, UNTESTED, WORSE, ComparisonTable
from subspan.errors import invalid
from subspan.report import figure as base
from subspan.trials.pilots import said_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Ink is the null's; beyond eight methods the line style changes too.
_COLOURS = (*base.SERIES[:-1], "#8C6D31")
_STYLES = ("-", (0, (5, 2)), (0, (1, 1.5)))
_MARKERS = "sD^vPX*h"  # the null has "o"; one more than colours, so that pairs differ
_MARKER_AREA = 22.0  # square points


@dataclass(frozen=True)
class CompareSeries:
    """One method's line: compression (n,), mean (n,), and each repeat's values (n, repeats).

    `better` and `worse` (n,) mark the dims where it differs from the null.
    """

    method: str
    is_null: bool
    dims: np.ndarray
    compression: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    better: np.ndarray
    worse: np.ndarray


@dataclass(frozen=True)
class CompareFigureData:
    """What the comparison figure shows; the null's series is the last, so it is drawn on top."""

    series: tuple[CompareSeries, ...]
    metric: str
    problem: str
    ambient_dim: int
    matched: bool
    repeats: tuple[int, int]  # the fewest and the most of a cell
    train_rows: int
    tested: bool = True  # whether any cell has repeats enough for a verdict
    learning_rates: tuple[str, ...] = ()  # what was chosen, a sentence for each method


def compare_figure_data(table: ComparisonTable) -> CompareFigureData:
    """Return each method's mean and range of repeats, by falling compression.

    The band runs from the worst to the best repeat: nothing is assumed about their distribution.
    d = 0 has no place on a log axis, and is left out.

    Raises:
        InputError: there is no other dim.
    """
    if not any(row.dim for row in table.rows):
        raise invalid("table", expected="at least one dim above 0", got="none")
    series = []
    names = [m for m in table.methods if m != table.null] + [table.null]
    for method in names:
        rows = [row for row in table.of(method) if row.dim]
        if not rows:
            continue
        finite = [[v for v in row.values if np.isfinite(v)] or [np.nan] for row in rows]
        series.append(
            CompareSeries(
                method,
                method == table.null,
                np.array([row.dim for row in rows]),
                np.array([row.compression for row in rows]),
                np.array([row.value for row in rows]),
                np.array([min(v) for v in finite]),
                np.array([max(v) for v in finite]),
                np.array([row.verdict == BETTER for row in rows]),
                np.array([row.verdict == WORSE for row in rows]),
            )
        )
    counts = [row.repeats for row in table.rows if row.dim]
    repeats = (min(counts), max(counts))
    return CompareFigureData(
        tuple(series), table.metric, table.problem, table.ambient_dim, table.matched, repeats,
        table.train_rows, any(row.verdict not in (NULL, UNTESTED) for row in table.rows),
        tuple(f"{m}: {said_of(own)}" for m, own in table.learning_rates.items()),
    )  # fmt: skip


def draw_compare_figure(
    data: CompareFigureData,
    *,
    ax: Axes | None = None,
    style: base.Style = "screen",
    serif: bool = False,
) -> Figure:
    """Draw the comparison: filled markers differ from the null, hollow ones do not.

    Args:
        data: what is shown.
        ax: axes to draw in; None makes a figure.
        style: `"screen"`, or `"column"` or `"page"` of a paper; see `figure.canvas`.
        serif: letters as in a paper set in Times.

    Returns:
        The figure.
    """
    split, _, kind = data.metric.partition(":")
    with base.canvas(ax, style, serif, 8.2, 4.6) as drawn:
        figure, axes = drawn.figure, drawn.axes
        axes.set_xscale("log")
        lowest = min(float(s.dims.min()) for s in data.series)
        highest = max(float(s.dims.max()) for s in data.series)
        base.dims_axis(axes, lowest / 1.25, highest * 1.25, data.ambient_dim)
        dims = apart(np.concatenate([s.dims for s in data.series]))
        axes.xaxis.set_major_locator(FixedLocator(dims))
        ratios = [data.ambient_dim / dim for dim in dims]
        axes.child_axes[0].xaxis.set_major_locator(FixedLocator(ratios))
        axes.set_xlabel("degrees of freedom d (dimensions or kept weights)")
        if kind == "loss":
            axes.set_yscale("log")
        axes.set_ylabel(f"best {base.label(split)} {base.label(kind)}, mean and range of repeats")
        axes.grid(axis="y", color=base.PALE, linewidth=0.6)
        axes.set_axisbelow(True)
        for i, s in enumerate(data.series):
            colour = base.INK if s.is_null else _COLOURS[i % len(_COLOURS)]
            dash = "-" if s.is_null else _STYLES[i // len(_COLOURS) % len(_STYLES)]
            marker = "o" if s.is_null else _MARKERS[i % len(_MARKERS)]
            axes.fill_between(
                s.dims, s.low, s.high, color=colour, alpha=0.22 if s.is_null else 0.12, linewidth=0
            )
            axes.plot(
                s.dims,
                s.mean,
                color=colour,
                linewidth=2.6 if s.is_null else 1.5,
                linestyle=dash,
                marker=marker,
                markersize=np.sqrt(_MARKER_AREA),
                label=base.label(f"{s.method} (null)" if s.is_null else s.method),
                zorder=4 if s.is_null else 3,
            )
            differs = s.better | s.worse | s.is_null
            for where, face in ((differs, colour), (~differs, "white")):
                axes.scatter(
                    s.dims[where],
                    s.mean[where],
                    s=_MARKER_AREA,
                    marker=marker,
                    facecolor=face,
                    edgecolor=colour,
                    linewidth=1.1,
                    zorder=5,
                )
        handles, labels = axes.get_legend_handles_labels()
        beside: Any = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "borderaxespad": 0.0}
        axes.legend(
            [handles[-1], *handles[:-1]],
            [labels[-1], *labels[:-1]],
            handlelength=3.2,  # shows the line styles
            **(drawn.legend_below() if drawn.narrow else beside),
        )
        null = next((s.method for s in data.series if s.is_null), data.problem)
        title = f"{base.label(data.problem)}: against the random subspace"
        if null == data.problem:  # functions, of which the first is the null
            title = f"Against {base.label(null)}"
        drawn.title(title)
        cost = "equal total steps, search included" if data.matched else "search cost not matched"
        told = "filled: differs from the null (sign flips, Holm)"
        told = told if data.tested else "too few for verdicts on so many cells"
        repeats = "–".join(map(str, sorted(set(data.repeats))))
        trained = f"{data.train_rows:,} training rows  ·  " if data.train_rows else ""
        line = f"D = {data.ambient_dim:,}  ·  {trained}{repeats} repeats  ·  {told}  ·  {cost}"
        chosen = [textwrap.fill(base.label(text), base.LINE) for text in data.learning_rates]
        drawn.note("\n".join([*chosen, line]))
    return figure


def apart(dims: np.ndarray, most: int = 12) -> list[int]:
    """Return the dims, rising, without those too near the one before to have a tick of their own.

    Args:
        dims: any, shape (n,).
        most: ticks that the axis has room for.
    """
    rising = np.unique(dims)
    gap = np.log(rising[-1] / rising[0]) / most
    kept = [int(rising[0])]
    for dim in rising[1:].tolist():
        if np.log(dim / kept[-1]) >= gap:
            kept.append(dim)
    return kept
