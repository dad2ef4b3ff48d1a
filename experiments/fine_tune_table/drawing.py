"""The figure: test accuracy over trained numbers, a panel a part."""

from __future__ import annotations

import math

from matplotlib.figure import Figure

from subspan.comparison.paired import mean_interval

_NULL = "subspace"
_MARKS = "osv^D<>PX*hpd8H"


def panels(
    cells: dict, titles: dict[str, str], order: list[str], further: tuple[str, ...]
) -> Figure:
    """Draw the parts that were run.

    Args:
        cells: accuracies by repeat, by (part, method, numbers).
        titles: of the parts.
        order: of the methods, each with a colour and mark of its own.
        further: those that have one mark together.
    """
    parts = [part for part in titles if any(key[0] == part for key in cells)]
    figure = Figure(figsize=(3.6 * len(parts) + 1.6, 4.2), layout="constrained")
    axes = figure.subplots(1, len(parts), sharey=False, squeeze=False)[0]
    for one, part in zip(axes, parts, strict=True):
        own = {key[1:]: list(v.values()) for key, v in cells.items() if key[0] == part}
        _panel(one, own, [name for name in order if name not in further])
        _together(one, {key: v for key, v in own.items() if key[0] in further})
        one.set_title(titles[part], fontsize=9)
    axes[0].set_ylabel("test accuracy")
    labels = {}
    for one in axes:
        labels |= dict(zip(*reversed(one.get_legend_handles_labels()), strict=True))
    figure.legend(labels.values(), labels, loc="outside right center", fontsize=7, frameon=False)
    return figure


def _together(axes, cells: dict) -> None:
    """Methods that have one mark together."""
    if cells:
        x, y = zip(*((dim, sum(v) / len(v)) for (_, dim), v in cells.items()), strict=True)
        label = f"{len({name for name, _ in cells})} further methods"
        axes.scatter(x, y, marker="x", s=16, color="grey", label=label)


def _panel(axes, cells: dict, order: list[str]) -> None:
    """One part; an adapter's line is broken where the head joins what it trains."""
    head = next((dim for name, dim in cells if name == "head"), None)
    if head:
        axes.axvline(head, color="grey", linewidth=0.7, label="from here on with the head")
    ceiling = next((values for (name, _), values in cells.items() if name == "full"), None)
    if ceiling:
        axes.axhline(
            sum(ceiling) / len(ceiling),
            color="grey",
            linestyle="--",
            linewidth=1,
            label="all weights trained",
        )
    for index, name in enumerate(n for n in order if n != "full"):
        points = sorted((dim, values) for (n, dim), values in cells.items() if n == name and dim)
        if not points:
            continue
        dims = [dim for dim, _ in points]
        means, lows, highs = zip(*(mean_interval(v) for _, v in points), strict=True)
        null = name == _NULL
        x, y = list(dims), list(means)
        first = sum(dim < head for dim in dims) if head and not null else 0
        if 0 < first < len(dims):
            x.insert(first, head)
            y.insert(first, math.nan)
        axes.plot(
            x,
            y,
            marker=_MARKS[index % len(_MARKS)],
            markersize=4,
            color="black" if null else f"C{(index - 1) % 10}",
            linewidth=2 if null else 1,
            linestyle="-" if index <= 10 else "--",
            label="random subspace (the null)" if null else name,
        )
        if null:
            axes.fill_between(dims, lows, highs, color="black", alpha=0.12, linewidth=0)
    start = cells.get((_NULL, 0))
    if start:
        axes.axhline(sum(start) / len(start), color="grey", linestyle=":", label="nothing trained")
    axes.set(xscale="log", xlabel="numbers trained")
