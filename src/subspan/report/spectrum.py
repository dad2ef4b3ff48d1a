"""The figure of a Hessian's spectral density."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from subspan.report import figure as base
from subspan.theory.lanczos import smoothed_density

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GRID = 300
_SHOWN_MASS = 0.005  # negative curvature below this share of Σ|λ| is not drawn


@dataclass(frozen=True)
class SpectrumData:
    """Spectral density over log₁₀ |λ| of one or more spectra.

    Args:
        grid: log₁₀ |λ|, shape (m,).
        positive: eigenvalues λ > 0 per decade, by name, each (m,).
        negative: eigenvalues λ < 0 per decade of |λ|, by name, each (m,).
        negative_mass: Σ|negative λ| / Σ|λ|, by name.
        ambient_dim: D.
    """

    grid: np.ndarray
    positive: dict[str, np.ndarray]
    negative: dict[str, np.ndarray]
    negative_mass: dict[str, float]
    ambient_dim: int


def spectrum_data(
    measures: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]],
    *,
    decades: float = 3.0,
    width: float = 0.15,
) -> SpectrumData:
    """Smooth Lanczos measures (`lanczos.density_measures`) on a logarithmic axis.

    Args:
        measures: by name, one (nodes, weights) per probe.
        decades: how far below the largest eigenvalue to look. Smaller ones are left out: Lanczos
            resolves the ends of a spectrum, not what is next to zero.
        width: standard deviation of the smoothing, in decades.
    """
    top = math.log10(max(float(nodes.max()) for runs in measures.values() for nodes, _ in runs))
    grid = np.linspace(top - decades, top + 0.5, _GRID)
    positive, negative, mass, dim = {}, {}, {}, 0.0
    for name, runs in measures.items():
        positive[name], negative[name] = (
            smoothed_density([_logs(sign * n, w, grid[0] - 1) for n, w in runs], grid, width)
            for sign in (1, -1)
        )
        total = sum(float(np.abs(n) @ w) for n, w in runs)
        mass[name] = max(0.0, -sum(float(np.minimum(n, 0) @ w) for n, w in runs) / total)
        dim = float(runs[0][1].sum())
    return SpectrumData(grid, positive, negative, mass, round(dim))


def _logs(nodes: np.ndarray, weights: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    kept = nodes > 10**least
    return np.log10(nodes[kept]), weights[kept]


def draw_spectrum(
    data: SpectrumData,
    title: str,
    note: str = "",
    *,
    ax: Axes | None = None,
    style: base.Style = "screen",
    serif: bool = False,
) -> Figure:
    """Draw eigenvalues per decade, a line per spectrum, dashed where eigenvalues are negative.

    Args:
        data: what is shown.
        title: of the figure.
        note: after D in the line below.
        ax: axes to draw in; None makes a figure.
        style: `"screen"`, or `"column"` or `"page"` of a paper; see `figure.canvas`.
        serif: letters as in a paper set in Times.

    Returns:
        The figure.
    """
    colors = [base.BLUE, base.VERMILION, base.GREEN, base.ORANGE]
    with base.canvas(ax, style, serif, height=5.0) as drawn:
        figure, axes = drawn.figure, drawn.axes
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.grid(color=base.PALE, linewidth=0.6)
        axes.set_axisbelow(True)
        for i, (name, density) in enumerate(data.positive.items()):
            color, share = colors[i % len(colors)], data.negative_mass[name]
            axes.plot(10**data.grid, density, color=color, linewidth=1.6, label=name)
            if share >= _SHOWN_MASS:
                axes.plot(
                    10**data.grid, data.negative[name], color=color, linestyle=(0, (4, 2)),
                    linewidth=1.2, label=f"its −λ ({share:.0%} of Σ|λ|)",
                )  # fmt: skip
        axes.set_ylim(0.3, 2 * max(float(d.max()) for d in data.positive.values()))
        axes.set_xlim(10 ** data.grid[0], 10 ** data.grid[-1])
        axes.set_xlabel("size of the eigenvalue |λ|")
        axes.set_ylabel("eigenvalues per decade")
        axes.legend(**drawn.legend_below())
        drawn.title(base.label(title))
        drawn.note(f"D = {data.ambient_dim:,}" + (f"  ·  {note}" if note else ""))
    return figure
