"""Figures of the theory: predictions beside measured success, wells, spectral density."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from subspan.report import figure as base
from subspan.report.success_curve import SuccessCurveData, success_curve_data
from subspan.success.estimate import ThresholdEstimate
from subspan.theory.cone import ConeEstimate
from subspan.theory.gordon import certified_miss_dim, polar_certified_miss_dim
from subspan.theory.lanczos import smoothed_density
from subspan.theory.predict import Prediction

_GRID = 300


@dataclass(frozen=True)
class PredictionData:
    """What the prediction figure shows, on one axis of d.

    Args:
        ambient_dim: D.
        goal: in words.
        grid: dims, shape (m,).
        cone_curve: success probability that the cone predicts, (m,).
        cone: d*_cone and its interval (value, low, high).
        curvature: predicted d* and its band, or None where the run never reached the goal.
        gordon: largest d that Gordon's theorem certifies to miss (0: none).
        polar: largest d certified by its polar form, which assumes a convex cone.
        measured: the measured success curve, or None.
    """

    ambient_dim: int
    goal: str
    grid: np.ndarray
    cone_curve: np.ndarray
    cone: tuple[float, float, float]
    curvature: tuple[float, float, float] | None
    gordon: int
    polar: int
    measured: SuccessCurveData | None


def prediction_data(
    prediction: Prediction, cone: ConeEstimate, measured: ThresholdEstimate | None = None
) -> PredictionData:
    """Return the step that the cone predicts, the curvature's d*, and the certified misses."""
    dim = prediction.ambient_dim
    curve = None if measured is None else success_curve_data(measured)
    marks = [cone.mean, prediction.value or cone.mean]
    marks += [] if measured is None else [v for v in (measured.low, measured.high) if v]
    grid = np.geomspace(max(1.0, min(marks) / 4), min(1.1 * dim, max(marks) * 4), _GRID)
    curvature = None
    if prediction.at_goal.estimate is not None:
        found = prediction.at_goal.estimate
        curvature = (found.mean, found.low or 0.0, found.high or float(dim))
    return PredictionData(
        dim,
        base.pretty(prediction.goal),
        grid,
        cone.transition.probability(grid),
        (cone.mean, cone.low or 0.0, cone.high or float(dim)),
        curvature,
        certified_miss_dim(cone.width, dim),
        polar_certified_miss_dim(cone.polar_width),
        curve,
    )


def draw_prediction(data: PredictionData) -> Figure:
    """Draw measured success, the cone's step, the curvature's d* and the certified misses."""
    with base.style():
        figure, axes = base.new_figure()
        base.dims_axis(axes, data.grid[0], data.grid[-1], data.ambient_dim)
        axes.set_ylim(-0.05, 1.05)
        axes.set_ylabel(f"success probability  P({data.goal})")
        axes.grid(axis="y", color=base.PALE, linewidth=0.6)
        axes.set_axisbelow(True)
        for miss, name, shade in (
            (data.polar, "certified to miss (convex cone)", 0.16),
            (data.gordon, "certified to miss (Gordon)", 0.35),
        ):
            if miss >= data.grid[0]:
                label = f"{name}: d ≤ {miss}"
                axes.axvspan(
                    data.grid[0], miss, color=base.GREY, alpha=shade, linewidth=0, label=label
                )
        value, low, high = data.cone
        axes.axvspan(low, high, color=base.GREEN, alpha=0.15, linewidth=0)
        axes.plot(
            data.grid,
            data.cone_curve,
            color=base.GREEN,
            linewidth=1.8,
            label=f"cone: d* ≈ {value:.0f}, a lower bound's estimate",
        )
        if data.curvature is not None:
            value, low, high = data.curvature
            axes.axvspan(low, high, color=base.ORANGE, alpha=0.2, linewidth=0)
            axes.axvline(
                value, color=base.ORANGE, linewidth=1.8, label=f"curvature: d* ≈ {value:.0f}"
            )
        if data.measured is not None:
            seen = data.measured
            estimate = seen.estimate
            axes.plot(seen.grid, seen.fit, color=base.BLUE, linewidth=1.8, label="measured: fit")
            axes.fill_between(
                seen.grid, seen.fit_low, seen.fit_high, color=base.BLUE, alpha=0.16, linewidth=0
            )
            axes.scatter(
                seen.dims,
                seen.probability,
                s=16,
                facecolor="white",
                edgecolor=base.INK,
                zorder=4,
                label=f"measured: d* = {estimate.value}, {estimate.trials} trials",
            )
        axes.legend(loc="upper left", frameon=True, framealpha=0.92, edgecolor="none")
        axes.set_title("Predicted and measured thresholds", pad=8, fontweight="bold")
        base.add_provenance(figure, f"D = {data.ambient_dim:,}")
    return figure


@dataclass(frozen=True)
class WellsData:
    """Thresholds of one quadratic well along an axis (ε or R).

    Args:
        axis: name of the axis.
        x: its values, shape (n,).
        measured: mean hitting dimension by exact least squares, (n,).
        spread: its standard deviation over draws: the transition's width, (n,).
        exact: the exact formula, (n,).
        paper: the paper's formula, (n,).
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


def draw_wells(panels: Sequence[WellsData]) -> Figure:
    """Draw d* of quadratic wells, one panel each: measured, exact formula, paper's formula."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with base.style():
        figure = Figure(figsize=(3.5 * len(panels), 3.6), layout="constrained")
        FigureCanvasAgg(figure)
        for axes, data in zip(
            figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
        ):
            axes.set_xscale("log")
            axes.set_xlabel(data.axis)
            axes.set_ylabel("threshold training dimension d*")
            axes.plot(data.x, data.paper, color=base.GREY, linestyle="--", label="paper's formula")
            axes.plot(data.x, data.exact, color=base.BLUE, label="exact formula")
            axes.errorbar(
                data.x, data.measured, data.spread, fmt="o", markersize=4, color=base.INK,
                elinewidth=0.8, label="least squares ± transition width",
            )  # fmt: skip
            axes.set_title(data.title, fontsize=9)
            axes.grid(color=base.PALE, linewidth=0.6)
        figure.axes[0].legend()
    return figure


@dataclass(frozen=True)
class SpectrumData:
    """Spectral density on log₁₀ λ of the positive part of one or more spectra.

    Args:
        grid: log₁₀ λ, shape (m,).
        densities: eigenvalues per decade, by name, each (m,).
        negative: share of curvature that is negative, by name.
    """

    grid: np.ndarray
    densities: dict[str, np.ndarray]
    negative: dict[str, float]


def spectrum_data(
    measures: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]], width: float = 0.15
) -> SpectrumData:
    """Smooth Lanczos measures (`MatrixFreeWell.density_measures`) on a logarithmic axis."""
    tops = [float(nodes.max()) for runs in measures.values() for nodes, _ in runs]
    grid = np.linspace(np.log10(max(tops)) - 7, np.log10(max(tops)) + 0.5, _GRID)
    densities, negative = {}, {}
    for name, runs in measures.items():
        logs = []
        for nodes, weights in runs:
            kept = nodes > 10 ** (grid[0] - 1)
            logs.append((np.log10(nodes[kept]), weights[kept]))
        densities[name] = smoothed_density(logs, grid, width)
        mass = sum(float(np.abs(n) @ w) for n, w in runs)
        negative[name] = -sum(float(np.minimum(n, 0) @ w) for n, w in runs) / mass
    return SpectrumData(grid, densities, negative)


def draw_spectrum(data: SpectrumData) -> Figure:
    """Draw eigenvalues per decade, one line per spectrum."""
    with base.style():
        figure, axes = base.new_figure()
        colors = [base.BLUE, base.VERMILION, base.GREEN, base.ORANGE]
        for i, (name, density) in enumerate(data.densities.items()):
            label = f"{name} ({data.negative[name]:.0%} negative)"
            axes.plot(data.grid, density, color=colors[i % len(colors)], label=label)
        axes.set_yscale("log")
        top = max(float(d.max()) for d in data.densities.values())
        axes.set_ylim(top * 1e-4, top * 2)
        axes.set_xlabel("log₁₀ of the eigenvalue")
        axes.set_ylabel("eigenvalues per decade")
        axes.legend()
    return figure
