"""The pictures of docs/concepts.md, one per operation: `python experiments/concepts/draw.py`.

Each is an SVG in `docs/images/concepts`. Ink is `currentColor`: the site puts a drawing into the
page, where it wears the text's colour (docs/hooks/pictures.py); as a file of its own it follows the
reader's preference for dark. Curves of success and of Gordon's bound are computed here, the former
on a quadratic well; the others are schematic. The same versions give the same bytes.

Length: a dozen small drawings, one function each, on one set of marks.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Ellipse, FancyBboxPatch, Rectangle

import subspan as ss

INK = "#010203"  # becomes currentColor
BLUE, ORANGE, GREEN, GREY = "#3b8fd4", "#dd6f22", "#2f9e77", "#8a93a0"
PLACE = Path(__file__).parents[2] / "docs" / "images" / "concepts"
STYLE = (
    "<style>svg{color:#1d2430}@media (prefers-color-scheme:dark){svg{color:#e8ecf1}}"
    "text{font-family:system-ui,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif}</style>"
)
W0, GOOD = (
    np.array([-1.7, -0.55]),
    np.array([1.25, 0.45]),
)  # where training starts, where it is good
TILT = 24.0


def plane(axes: Axes, level: float = 1.0) -> None:
    """The plane of two weights: contours of a loss, S(ε), w₀ and w*."""
    axes.set(xlim=(-2.75, 2.75), ylim=(-1.5, 1.75), aspect="equal")
    axes.axis("off")
    for size in (1.7, 2.5, 3.4, 4.4):
        axes.add_patch(_well(size, edgecolor=GREY, facecolor="none", linewidth=0.7, alpha=0.7))
    axes.add_patch(_well(level, edgecolor=GREEN, facecolor=GREEN, linewidth=1.6, alpha=0.3))
    dot(axes, W0, "w₀", (-0.12, -0.3))
    dot(axes, GOOD, "w*", (0.1, 0.12), mark="+")


def _well(size: float, **look: object) -> Ellipse:
    return Ellipse(GOOD, 1.5 * size, 0.75 * size, angle=TILT, **look)


def dot(axes: Axes, at: np.ndarray, name: str, shift: tuple[float, float], mark: str = "o") -> None:
    axes.plot(*at, mark, color=INK, markersize=6, markeredgewidth=1.6)
    axes.text(at[0] + shift[0], at[1] + shift[1], name, color=INK)


def told(axes: Axes, words: str) -> None:
    axes.set_title(words, loc="left", fontsize=10, color=INK)


def line(axes: Axes, through: np.ndarray, angle: float, colour: str, **look: object) -> None:
    """An affine subspace of one dimension."""
    way = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    ends = through + np.outer([-5, 5], way)
    axes.plot(*ends.T, color=colour, linewidth=1.8, clip_on=True, **look)


def affine_subspace() -> Figure:
    figure, axes = canvas()
    plane(axes)
    line(axes, W0, 22, ORANGE)
    axes.text(-0.75, -0.52, "w(θ) = w₀ + Aθ", color=INK, rotation=22, rotation_mode="anchor")
    way = np.array([np.cos(np.radians(22)), np.sin(np.radians(22))])
    axes.annotate("", W0 + 0.75 * way, W0, arrowprops=arrow(ORANGE, 2.4))
    axes.text(*(W0 + 0.5 * way + np.array([-0.35, 0.14])), "A", color=INK)
    told(axes, "D = 2 weights, d = 1 number θ")
    return figure


def goal() -> Figure:
    figure, axes = canvas()
    w = np.linspace(-3, 3, 400)
    loss = 0.28 * (w - 0.7) ** 2 + 0.35 * np.sin(1.9 * w) + 0.62
    axes.plot(w, loss, color=INK, linewidth=1.8)
    for level, colour, name in ((1.4, BLUE, "an easy goal"), (0.75, GREEN, "a hard one")):
        inside = loss <= level
        axes.axhline(level, color=colour, linewidth=1.2, linestyle="--")
        axes.text(-2.95, level + 0.06, f"ε: {name}", color=INK)
        floor = -0.02 if level > 1 else -0.2
        axes.fill_between(w, floor, floor + 0.12, where=inside, color=colour, linewidth=0)
    axes.text(0.6, -0.35, "S(ε) = {w : L(w) ≤ ε}", color=INK, ha="center", va="top")
    axes.text(-1.95, 3.1, "L(w)", color=INK)
    axes.set(xlim=(-3, 3), ylim=(-0.75, 3.4))
    axes.axis("off")
    return figure


def success_probability() -> Figure:
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(6.6, 2.9), width_ratios=[1.35, 1], layout="constrained"
    )
    plane(left)
    left.set(xlim=(-2.6, 2.6))
    for angle in (-38, -12, 4, 50, 76):
        line(left, W0, angle, GREY, alpha=0.9)
    line(left, W0, 24, ORANGE)
    told(left, "six draws of A: one hits")
    curve(right, _measured())
    return figure


def threshold() -> Figure:
    figure, axes = canvas()
    measured = _measured()
    curve(axes, measured)
    estimate = measured[1]
    axes.axhline(0.9, color=INK, linewidth=1, linestyle="--")
    axes.text(axes.get_xlim()[0] * 1.06, 0.93, "1 − δ", color=INK)
    axes.axvspan(estimate.low, estimate.high, color=ORANGE, alpha=0.25, linewidth=0)
    axes.axvline(estimate.value, color=ORANGE, linewidth=2)
    words = f"d* = {estimate.value} [{estimate.low}, {estimate.high}]"
    axes.text(estimate.low * 0.97, 0.72, words, color=INK, ha="right")
    return figure


def _measured() -> tuple[object, ss.ThresholdEstimate]:
    """Trials on a quadratic well of D = 200, decided by least squares, and their d*."""
    lam = np.arange(1, 201) ** -1.0
    problem = ss.problems.load("quadratic", eigenvalues=lam, displacement=np.full(200, 0.21))
    spec = ss.TrainSpec(optimizer="exact")
    wanted = ss.LossBelow(0.02)
    dims = [48, 64, 80, 91, 102, 113, 120, 128, 136, 144, 160, 181]
    records = ss.run(problem, "random", dims, 10, spec, seed=0, workers=1)
    surface = ss.success_surface(records, [wanted])
    estimate = ss.threshold(problem, "random", wanted, spec=spec, ratio=1.2, seed=0, workers=1)
    return surface, estimate


def curve(axes: Axes, measured: tuple[object, ss.ThresholdEstimate]) -> None:
    """Rates with their intervals, and the fit that d* is read off."""
    surface, estimate = measured
    frame = surface.to_frame()
    rate, low, high = frame["probability"], frame["low"], frame["high"]
    grid = np.geomspace(42, 210, 120)
    axes.plot(grid, estimate.curve(grid)[0], color=BLUE, linewidth=2)
    axes.errorbar(
        frame["dim"],
        rate,
        [rate - low, high - rate],
        fmt="o",
        color=INK,
        markersize=4,
        linewidth=0.9,
    )
    axes.set(xscale="log", xlim=(42, 210), ylim=(-0.06, 1.1), xlabel="training dimension d")
    axes.set_ylabel("Pₛ(d, ε)")
    axes.set_xticks([50, 70, 100, 140, 200], ["50", "70", "100", "140", "200"])
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)


def burn_in() -> Figure:
    figure, axes = canvas()
    plane(axes)
    path, end = trained()
    axes.plot(*path.T, color=INK, linewidth=1.5)
    line(axes, W0, -14, GREY)
    line(axes, end, -14, ORANGE)
    dot(axes, end, "wₜ", (0.1, 0.14))
    told(axes, "t steps of full training, then a random subspace through wₜ")
    axes.text(1.0, -1.3, "through w₀: misses", color=INK)
    axes.text(1.62, -0.72, "through wₜ: hits", color=INK)
    return figure


def trained() -> tuple[np.ndarray, np.ndarray]:
    """A bent path from w₀ towards w*, and where it stops."""
    t = np.linspace(0, 1, 60)[:, None]
    path = (
        (1 - t) ** 2 * W0 + 2 * t * (1 - t) * np.array([-1.2, 0.95]) + t**2 * np.array([0.2, 0.42])
    )
    return path, path[42]


def lottery_subspace() -> Figure:
    figure, axes = canvas()
    plane(axes)
    t = np.linspace(0, 1, 60)[:, None]
    path = (1 - t) ** 2 * W0 + 2 * t * (1 - t) * np.array([-0.7, 0.62]) + t**2 * (GOOD - 0.1)
    axes.plot(*path.T, color=INK, linewidth=1.3, zorder=3)
    axes.plot(*path[::7].T, "o", color=INK, markersize=4, zorder=3)
    steps = np.diff(path[::7], axis=0)
    first = np.linalg.svd(steps.T)[0][:, 0]
    angle = np.degrees(np.arctan2(first[1], first[0])) % 180
    line(axes, W0, angle, ORANGE)
    told(axes, "snapshots of one full training; A = their first singular vectors")
    return figure


def lottery_ticket() -> Figure:
    figure, axes = canvas()
    rng = np.random.default_rng(3)
    size = np.abs(rng.normal(size=(6, 14)))
    kept = size >= np.sort(size.ravel())[-12]
    for (row, column), keep in np.ndenumerate(kept):
        before = min(0.12 + 0.28 * size[row, column], 1)
        for shift, look in (
            (0.0, {"facecolor": GREY, "alpha": before}),
            (17.5, {"facecolor": ORANGE if keep else GREY, "alpha": 1.0 if keep else 0.12}),
        ):
            axes.add_patch(Rectangle((column + shift, row), 0.86, 0.86, linewidth=0, **look))
    axes.annotate("", (17.1, 3), (14.4, 3), arrowprops=arrow(INK, 1.4))
    axes.text(7, 6.6, "D weights after training, by size", color=INK, ha="center")
    axes.text(24.5, 6.6, "the d largest, back at w₀, train on", color=INK, ha="center")
    axes.text(24.5, -1.2, "the others are zero", color=INK, ha="center")
    axes.set(xlim=(-0.5, 32), ylim=(-1.8, 7.6))
    axes.axis("off")
    return figure


def gaussian_width() -> Figure:
    figure, axes = canvas()
    middle = np.array([0.0, -0.05])
    axes.add_patch(Ellipse(middle, 3.2, 1.3, angle=18, facecolor=GREEN, edgecolor=GREEN, alpha=0.3))
    way = np.array([np.cos(np.radians(52)), np.sin(np.radians(52))])
    turn = np.array(
        [
            [np.cos(np.radians(18)), -np.sin(np.radians(18))],
            [np.sin(np.radians(18)), np.cos(np.radians(18))],
        ]
    )
    local = turn.T @ way
    reach = float(np.hypot(1.6 * local[0], 0.65 * local[1]))
    touch = middle + turn @ (np.array([1.6**2, 0.65**2]) * local / reach)
    for side in (1, -1):
        foot = middle + side * reach * way
        across = np.array([-way[1], way[0]])
        axes.plot(*(foot + np.outer([-1.6, 1.6], across)).T, color=BLUE, linewidth=1.6)
        axes.plot(*(middle + side * (touch - middle)), "o", color=INK, markersize=5)
    axes.annotate("", middle + 0.5 * way, middle, arrowprops=arrow(ORANGE, 2.2))
    axes.text(*(middle + 0.5 * way + np.array([-0.28, -0.02])), "g", color=INK)
    axes.text(touch[0] + 0.1, touch[1] - 0.22, "x", color=INK)
    axes.text(-touch[0] + 2 * middle[0] - 0.22, -touch[1] + 2 * middle[1] + 0.14, "y", color=INK)
    axes.text(0.75, 0.0, "S", color=INK)
    axes.text(3.0, -1.25, "w(S) = ½ E sup ⟨g, x − y⟩", color=INK, ha="right")
    axes.text(3.0, -1.6, "over x, y in S; g ~ N(0, I)", color=INK, ha="right")
    axes.set(xlim=(-3.1, 3.1), ylim=(-1.8, 1.9), aspect="equal")
    axes.axis("off")
    return figure


def quadratic_well() -> Figure:
    figure, axes = canvas()
    plane(axes, 1.7)
    axes.annotate(
        "",
        GOOD,
        W0,
        arrowprops={**arrow(INK, 1.2), "arrowstyle": "<->", "shrinkA": 6, "shrinkB": 6},
    )
    axes.text(-0.75, 0.1, "R = ‖w₀ − w*‖", color=INK, ha="center", rotation=18)
    for angle, half, name, shift in (
        (TILT, 1.275, "r₁", (0.05, 0.14)),
        (TILT + 90, 0.6375, "r₂", (0.06, 0.0)),
    ):
        way = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
        axes.annotate("", GOOD + half * way, GOOD, arrowprops=arrow(ORANGE, 2))
        axes.text(*(GOOD + 0.6 * half * way + np.array(shift)), name, color=INK)
    told(axes, "radii of S(ε): rᵢ = √(2ε/λᵢ)")
    return figure


def gordon() -> Figure:
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(6.6, 2.9), width_ratios=[1.35, 1], layout="constrained"
    )
    plane(left)
    left.set(xlim=(-2.9, 2.6), ylim=(-1.75, 1.75))
    left.add_patch(Circle(W0, 0.8, facecolor="none", edgecolor=BLUE, linewidth=1.5))
    sight = [3.0, 34.5]  # where S(ε) is seen from w₀
    for angle in sight:
        far = W0 + 3.4 * np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
        left.plot(*np.array([W0, far]).T, color=GREY, linewidth=0.9, linestyle=":")
    arc = np.radians(np.linspace(*sight, 40))
    left.plot(*(W0[:, None] + 0.8 * np.array([np.cos(arc), np.sin(arc)])), color=GREEN, linewidth=5)
    line(left, W0, 68, ORANGE)
    told(left, "the shadow of S(ε) on a sphere around w₀")
    ambient, width = 2000, np.sqrt(1200.0)
    dims = np.arange(1, 1400)
    bound = [ss.theory.escape_probability(float(width), int(d), ambient) for d in dims]
    right.plot(dims, bound, color=BLUE, linewidth=2)
    right.axvline(ambient - width**2, color=ORANGE, linewidth=2)
    right.text(820, 0.32, "D − d_local", color=INK)
    right.set(
        xlim=(0, 1400), ylim=(-0.04, 1.08), xlabel="d, of D = 2,000", ylabel="P(miss) is at least"
    )
    right.spines[["top", "right"]].set_visible(False)
    return figure


def null_model() -> Figure:
    figure, axes = canvas()
    d = np.geomspace(4, 1024, 100)

    def accuracy(dim: np.ndarray | float, middle: float) -> np.ndarray:
        return 0.1 + 0.85 / (1 + (middle / dim) ** 1.9)

    for middle, colour, name, at in (
        (80, INK, "random: the null", 0.5),
        (22, ORANGE, "your method", 0.68),
    ):
        axes.plot(d, accuracy(d, middle), color=colour, linewidth=2)
        axes.text(
            middle * (1.12 if middle > 50 else 0.62),
            at,
            name,
            color=INK,
            ha="left" if middle > 50 else "right",
        )
    ends = (32, float(accuracy(32, 80))), (32, float(accuracy(32, 22)))
    axes.annotate("", *ends, arrowprops={**arrow(GREEN, 1.8), "arrowstyle": "<->"})
    axes.annotate(
        "better by this at equal d", (32, 0.35), (90, 0.2), color=INK, arrowprops=arrow(INK, 0.8)
    )
    axes.set(xscale="log", ylim=(0, 1.05), xlabel="degrees of freedom d", ylabel="accuracy")
    axes.set_xticks([4, 16, 64, 256, 1024], ["4", "16", "64", "256", "1,024"])
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def adapter() -> Figure:
    figure, axes = canvas()
    rng = np.random.default_rng(0)
    for column, heights in enumerate(rng.normal(size=(3, 18)) * 0.3):
        shift, colour = 7.2 * column, (GREY, ORANGE, GREEN)[column]
        if column == 1:
            heights = heights[:4]
        for i, high in enumerate(heights):
            high = (rng.normal() * 0.18 + high) if column == 2 else high
            axes.add_patch(
                Rectangle((shift + 0.33 * i, 2.1), 0.24, high * 2.4, facecolor=colour, linewidth=0)
            )
    for shift, told, name in (
        (0, "w₀: a module as it is", "D weights"),
        (7.2, "θ: what trains", "d numbers"),
        (14.4, "w = w₀ + Aθ", "D weights"),
    ):
        axes.text(shift, 4.0, told, color=INK)
        axes.text(shift, 3.55, name, color=INK, fontsize=9)
    axes.add_patch(
        FancyBboxPatch(
            (5.5, -0.4), 6.4, 0.9, boxstyle="round,pad=0.15", facecolor="none", edgecolor=INK
        )
    )
    axes.text(8.7, 0.05, "the file: a seed, and θ", color=INK, ha="center", va="center")
    axes.annotate("", (8.4, 0.7), (8.0, 1.35), arrowprops=arrow(INK, 1.2))
    axes.text(11.9, 1.6, "A, from the seed", color=INK, fontsize=9, ha="center")
    axes.annotate("", (14.0, 2.2), (9.2, 2.2), arrowprops=arrow(INK, 1.2))
    axes.set(xlim=(-0.4, 20.8), ylim=(-0.8, 4.6))
    axes.axis("off")
    return figure


def canvas() -> tuple[Figure, Axes]:
    return plt.subplots(figsize=(5.4, 2.9))


def arrow(colour: str, width: float) -> dict[str, object]:
    return {"arrowstyle": "-|>", "color": colour, "linewidth": width, "shrinkA": 0, "shrinkB": 0}


PICTURES: dict[str, Callable[[], Figure]] = {
    "affine-subspace": affine_subspace,
    "goal": goal,
    "success-probability": success_probability,
    "threshold": threshold,
    "burn-in": burn_in,
    "lottery-subspace": lottery_subspace,
    "lottery-ticket": lottery_ticket,
    "gaussian-width": gaussian_width,
    "quadratic-well": quadratic_well,
    "gordon": gordon,
    "null-model": null_model,
    "adapter": adapter,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=list(PICTURES), choices=list(PICTURES))
    look = {
        name: INK
        for name in (
            "text.color",
            "axes.edgecolor",
            "axes.labelcolor",
            "xtick.color",
            "ytick.color",
        )
    }
    plain = {
        "svg.fonttype": "none",
        "svg.hashsalt": "subspan",
        "font.size": 10,
        "axes.facecolor": "none",
    }
    PLACE.mkdir(exist_ok=True)
    with mpl.rc_context({**look, **plain, "font.family": "sans-serif"}):
        for name in parser.parse_args().only:
            figure = PICTURES[name]()
            if figure.get_layout_engine() is None:
                figure.tight_layout(pad=0.3)
            path = PLACE / f"{name}.svg"
            figure.savefig(path, transparent=True, metadata={"Date": None, "Creator": None})
            plt.close(figure)
            path.write_text(worn(path.read_text("utf-8"), name), "utf-8")
            print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB")


def worn(svg: str, name: str) -> str:
    """Return a drawing with its ink as the text's colour, and ids that are its own."""
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style type.*?</style>", "", svg, flags=re.S)
    svg = re.sub(r'(id="|url\(#|href="#)', rf"\1{name}-", svg)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]+", r"font-size: \1px", svg)
    svg = re.sub(
        r'(<svg [^>]*?) width="[^"]*"',
        r"\1",
        re.sub(r'(<svg [^>]*?) height="[^"]*"', r"\1", svg, count=1),
        count=1,
    )
    svg = re.sub(r"[ \t]+\n|\n\s*\n", "\n", svg)
    return svg.replace("<defs>", f"{STYLE}\n<defs>", 1)


if __name__ == "__main__":
    main()
