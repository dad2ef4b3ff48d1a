"""Figure: singular values of full-space trajectories, the spectroscopy of lottery subspaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from subspan.errors import invalid
from subspan.report import figure as base
from subspan.subspaces.lottery_subspace import Trajectory
from subspan.theory.spectra import Spectra

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class SpectroscopyData:
    """What the spectroscopy figure shows.

    Args:
        relative: σ_i/σ_1 of each trajectory, one array (r,) each.
        energy: share of Σσ² in the first i directions, one array (r,) each.
        dims_for: for each share of the energy, the smallest d that holds it in at least half of
            the trajectories.
        label: what the trajectories are, e.g. the problem's name.
    """

    relative: tuple[np.ndarray, ...]
    energy: tuple[np.ndarray, ...]
    dims_for: dict[float, int]
    label: str


def spectroscopy_data(
    trajectories: Sequence[Trajectory] | Spectra,
    label: str = "",
    shares: Sequence[float] = (0.9, 0.99, 0.999),
) -> SpectroscopyData:
    """Return relative singular values and cumulative energy of trajectories.

    Args:
        trajectories: from `theory.spectroscopy`, or `LotterySubspace.trajectories`.
        label: for the title.
        shares: of the energy, in (0, 1).

    Raises:
        InputError: there are none, or a share is not in (0, 1).
    """
    if isinstance(trajectories, Spectra):
        values = [np.array(run) for run in trajectories.singular_values]
    else:
        values = [t.singular_values.cpu().numpy() for t in trajectories]
    if not values:
        raise invalid("trajectories", expected="at least one", got="none")
    if any(not 0 < share < 1 for share in shares):
        raise invalid("shares", expected="numbers in (0, 1)", got=list(shares))
    relative = tuple(v / v[0] for v in values)
    energy = tuple(np.cumsum(v**2) / np.sum(v**2) for v in values)
    dims_for = {
        share: sorted(1 + int(np.searchsorted(e, share)) for e in energy)[(len(energy) - 1) // 2]
        for share in shares
    }
    return SpectroscopyData(relative, energy, dims_for, label)


def draw_spectroscopy(
    data: SpectroscopyData,
    *,
    ax: Axes | None = None,
    style: base.Style = "screen",
    serif: bool = False,
) -> Figure:
    """Draw σ_i/σ_1 over i on two log axes, and where shares of the energy are reached.

    Args:
        data: what is shown.
        ax: axes to draw in; None makes a figure.
        style: `"screen"`, or `"column"` or `"page"` of a paper; see `figure.canvas`.
        serif: letters as in a paper set in Times.

    Returns:
        The figure.
    """
    with base.canvas(ax, style, serif) as drawn:
        figure, axes = drawn.figure, drawn.axes
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.grid(color=base.PALE, linewidth=0.6)
        axes.set_axisbelow(True)
        runs = len(data.relative)
        label = "one full-space run" if runs == 1 else f"{runs} full-space runs"
        for i, values in enumerate(data.relative):
            axes.plot(
                np.arange(1, len(values) + 1),
                values,
                color=base.BLUE,
                alpha=0.9 if runs == 1 else 0.5,
                linewidth=1.4,
                label=None if i else label,
            )
        bottom = min(float(v[v > 0].min()) for v in data.relative)
        for share, dim in data.dims_for.items():
            axes.axvline(dim, color=base.VERMILION, linewidth=0.9, linestyle=(0, (4, 3)))
            axes.annotate(
                f"{100 * share:g} % of Σσ²\nd = {dim:,}",
                (dim, bottom),
                xytext=(3, 4),
                textcoords="offset points",
                fontsize=7.5,
                color=base.VERMILION,
                rotation=90,
                va="bottom",
            )
        axes.set_xlabel("index i of the singular direction")
        axes.set_ylabel("singular value σᵢ / σ₁")
        title = "Spectroscopy of the training trajectory"
        full = f"{base.label(data.label)}: {title.lower()}" if data.label else title
        drawn.title(full)
        axes.legend(loc="upper right")
        drawn.note(
            f"runs: {runs}  ·  directions: {max(map(len, data.relative))}",
        )
    return figure
