"""The figure: test accuracy over trained numbers, a panel a part."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from subspan.comparison.paired import mean_interval

_NULL, _HEAD, _ALL = "subspace", "head", "full"
_LEVELS = (
    ("nothing trained", _NULL, ":"),
    ("all weights", _ALL, "--"),
    ("the head alone", _HEAD, "-"),
)
# How an adapter's point looks, by what is told of it against as many random numbers.
_VERDICTS = {
    "above": {"marker": "^", "color": "C2", "zorder": 4, "s": 26},
    "below": {"marker": "v", "color": "C3", "zorder": 4, "s": 26},
    "not told": {"color": "white", "edgecolor": "grey", "linewidth": 0.8, "zorder": 3, "s": 18},
}
Cells = dict[tuple[str, int], list[float]]  # accuracies by method and numbers


def panels(
    cells: dict[tuple[str, str, int], dict[int, float]],
    titles: dict[str, str],
    verdicts: dict[tuple[str, str, int], str],
) -> Figure:
    """Draw the parts that were run.

    Args:
        cells: accuracies by repeat, by (part, method, numbers).
        titles: of the parts.
        verdicts: of `_VERDICTS`, by (part, method, numbers).
    """
    parts = [part for part in titles if any(key[0] == part for key in cells)]
    figure = Figure(figsize=(4.2 * len(parts), 4.4), layout="constrained")
    axes = figure.subplots(1, len(parts), sharey=False, squeeze=False)[0]
    labels: dict[str, object] = {}
    for one, part in zip(axes, parts, strict=True):
        own = {key[1:]: list(v.values()) for key, v in cells.items() if key[0] == part}
        _plain(one, own)
        _adapters(one, own, {key[1:]: v for key, v in verdicts.items() if key[0] == part})
        one.set(xscale="log", xlabel="numbers trained")
        one.set_title(titles[part], fontsize=9)
        labels |= dict(zip(*reversed(one.get_legend_handles_labels()), strict=True))
    axes[0].set_ylabel("test accuracy")
    places = {"loc": "outside lower center", "ncols": 4, "fontsize": 8, "frameon": False}
    figure.legend(labels.values(), labels, **places)
    return figure


def _plain(axes: Axes, cells: Cells) -> None:
    """What adapters are held against: random numbers, the head alone, nothing, all weights."""
    null = sorted((dim, values) for (name, dim), values in cells.items() if name == _NULL and dim)
    dims = [dim for dim, _ in null]
    means, lows, highs = zip(*(mean_interval(v) for _, v in null), strict=True)
    label = "as many random numbers, 95 %"
    axes.plot(dims, means, color="black", linewidth=2, zorder=2, label=label)
    axes.fill_between(dims, lows, highs, color="black", alpha=0.12, linewidth=0)
    for label, name, style in _LEVELS:
        found = {d: v for (n, d), v in cells.items() if n == name and (d == 0) == (n == _NULL)}
        for dim, values in found.items():
            ends = [dim if name == _HEAD else min(dims), max(dims)]
            level = sum(values) / len(values)
            axes.plot(ends, [level] * 2, style, color="C0", linewidth=1, label=label)


def _adapters(axes: Axes, cells: Cells, verdicts: dict[tuple[str, int], str]) -> None:
    """A point for each method and count, its colour the verdict."""
    for verdict, style in _VERDICTS.items():
        points = [(key[1], cells[key]) for key, told in verdicts.items() if told == verdict]
        if points:
            x, y = zip(*((dim, sum(v) / len(v)) for dim, v in points), strict=True)
            names = {"not told": "an adapter, not told from them"}
            axes.scatter(x, y, **style, label=names.get(verdict, f"an adapter, {verdict} them"))
