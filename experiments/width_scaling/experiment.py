"""How does d* change with the width, the depth and the training rows of a network?

d* of random subspaces at the best learning rate, for dense ReLU networks on the 8 × 8 digits, one
thing varied at a time and the steps held. The exponent a of d* ∝ xᵃ is fitted with its interval.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from subspan.canonical import tensor_digest
from subspan.estimate import Estimate
from subspan.problems import data, models
from subspan.problems.module import Problem
from subspan.report.figure import SERIES
from subspan.reproduction import Lab, Step, Trials
from subspan.spec import TrainSpec
from subspan.success.estimate import ThresholdEstimate

GOALS = ("loss<=0.1", "loss<=0.3")
# Varied from 64 units in one hidden layer and all 1,437 rows.
WIDTHS, DEPTHS, ROWS = (16, 32, 64, 128, 256), (1, 2, 3, 4), (180, 359, 719, 1437)
CONFIDENCE = 0.95
SCALES: dict[str, dict[str, Any]] = {
    "cpu": {"ratio": 1.5, "goals": GOALS[:1]},
    "full": {"ratio": 1.2, "goals": GOALS},
}


class Net(NamedTuple):
    """A network and its rows."""

    width: int = 64
    depth: int = 1
    rows: int = 1437

    @property
    def name(self) -> str:
        """As it stands in the store."""
        return f"digits, {self.depth} × {self.width}, {self.rows} rows"

    @property
    def weights(self) -> int:
        """D."""
        sizes = (64, *[self.width] * self.depth, 10)
        return sum((a + 1) * b for a, b in itertools.pairwise(sizes))

    def problem(self) -> Problem:
        """The network with its data; batches of 128, 550 steps."""
        make = partial(models.mlp, 64, *[self.width] * self.depth, 10)
        train, test = data.digits(self.rows, standardize=False)
        about = {"name": self.name, "kind": "experiment", "data": tensor_digest(*train, *test)}
        return Problem(
            make,
            train,
            test,
            name=self.name,
            identity=about,
            init=models.he_normal(make, last=f"{2 * self.depth + 1}.weight"),
        )


SWEEPS: dict[str, list[tuple[int, Net]]] = {
    "width": [(width, Net(width=width)) for width in WIDTHS],
    "depth": [(depth, Net(depth=depth)) for depth in DEPTHS],
    "rows": [(rows, Net(rows=rows)) for rows in ROWS],
}


def steps(lab: Lab) -> Iterator[Step]:
    """A threshold for each network and goal."""
    spec = TrainSpec(lr="auto", steps=550, batch_size=128, schedule="linear", eval_every="auto")
    for goal in lab["goals"]:
        for net in dict.fromkeys(net for sweep in SWEEPS.values() for _, net in sweep):
            yield Step(
                f"{goal}: {net.name}",
                lambda net=net, goal=goal: lab.threshold(
                    net.problem(), goal=goal, method="random", spec=spec, ratio=lab["ratio"]
                ),
            )


def numbers(trials: Trials) -> dict[str, Estimate]:
    """Each d*, and the exponents."""
    found: dict[str, Estimate] = {}
    for goal in GOALS:
        for swept, line in measured(trials, goal).items():
            for _, net, estimate in line:
                found[f"d*, {goal}, {net.name}"] = estimate.estimate
            if len(line) > 2:
                found[f"exponent of d*, {goal}, over {swept}"] = exponent(line)
    return found


def draw(trials: Trials) -> Figure:
    """d* over width, depth and rows, with the fitted powers."""
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    panels = figure.subplots(1, len(SWEEPS), sharey=True)
    labels = {"width": "units in the hidden layer", "depth": "hidden layers", "rows": "rows"}
    for axes, swept in zip(panels, SWEEPS, strict=True):
        for i, goal in enumerate(GOALS):
            line = measured(trials, goal).get(swept, [])
            if len(line) <= 2:
                continue
            x, y = [x for x, _, _ in line], [e.value for _, _, e in line]
            axes.vlines(x, [e.low for *_, e in line], [e.high for *_, e in line], SERIES[i])
            axes.plot(x, y, "o", color=SERIES[i])
            power, at = exponent(line), np.geomspace(x[0], x[-1], 50)
            middle = np.exp(fit(line)[2])
            label = f"{goal}: exponent {power.value:.2f} [{power.low:.2f}, {power.high:.2f}]"
            centre = np.exp(fit(line)[3])
            axes.plot(at, middle * (at / centre) ** power.value, color=SERIES[i], label=label)
        if swept == "width":
            sizes = [net.weights for _, net in SWEEPS["width"]]
            axes.plot(WIDTHS, sizes, ":", color="black", label="all weights, D")
        axes.set(xscale="log", yscale="log", xlabel=labels[swept])
        ticks = [x for x, _ in SWEEPS[swept]]
        axes.set_xticks(ticks, [f"{x:,}" for x in ticks])
        axes.set_xticks([], minor=True)
        axes.grid(linewidth=0.4)
        axes.legend(fontsize=8)
    panels[0].set_ylabel("d*")
    return figure


Line = list[tuple[int, Net, ThresholdEstimate]]


def measured(trials: Trials, goal: str) -> dict[str, Line]:
    """Each sweep's thresholds that have an interval of two ends."""
    found: dict[str, Line] = {}
    for swept, nets in SWEEPS.items():
        for x, net in nets:
            estimate = trials.threshold(net.name, goal, name="random")
            if estimate is not None and estimate.low and estimate.value and estimate.high:
                found.setdefault(swept, []).append((x, net, estimate))
    return found


def exponent(line: Line) -> Estimate:
    """The slope of log d* over log x, each d* weighted by its interval.

    Where the points scatter about the line by more than their intervals, as a power that is none
    makes them, the interval is widened by as much.
    """
    slope, error, *_ = fit(line)
    half = float(stats.norm.ppf((1 + CONFIDENCE) / 2)) * error
    return Estimate(slope, slope - half, slope + half, CONFIDENCE, len(line))


def fit(line: Line) -> tuple[float, float, float, float]:
    """The slope, its standard error, and the weighted means of log d* and log x."""
    x = np.log([x for x, _, _ in line])
    y = np.log([float(e.value or 1) for _, _, e in line])
    z = float(stats.norm.ppf((1 + CONFIDENCE) / 2))
    error = np.array([math.log((e.high or 1) / (e.low or 1)) / (2 * z) for *_, e in line])
    weight = error**-2.0
    mx, my = float(np.average(x, weights=weight)), float(np.average(y, weights=weight))
    spread = float(weight @ (x - mx) ** 2)
    slope = float(weight @ ((x - mx) * (y - my))) / spread
    left = float(weight @ (y - my - slope * (x - mx)) ** 2) / (len(line) - 2)
    return slope, math.sqrt(max(1.0, left) / spread), my, mx
