"""Is there a transition in the chance that a random subspace reaches a goal, and how wide is it?

Success over d and training accuracy, each d at the learning rate that pilot trials chose for it,
with d* (success in 90 %) of each goal. How wide the rise is follows from the scatter of accuracy at
a d, and from how accuracy grows with d.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from subspan.comparison.paired import mean_interval
from subspan.estimate import Estimate
from subspan.report.figure import SERIES
from subspan.report.phase_diagram import draw_phase_diagram, phase_diagram_data
from subspan.reproduction import Lab, Step, Trials
from subspan.spec import TrainSpec
from subspan.success.estimate import ThresholdEstimate

LEVELS = {  # of training accuracy, by data set
    "mnist": (0.5, 0.6, 0.65, 0.7, 0.74, 0.78, 0.8, 0.82, 0.84, 0.86, 0.88, 0.9, 0.92, 0.94, 0.96),
    "fashion-mnist": (0.5, 0.6, 0.65, 0.7, 0.72, 0.74, 0.76, 0.78, 0.8, 0.82, 0.84, 0.86, 0.9),
    "cifar10": (0.15, 0.2, 0.25, 0.28, 0.3, 0.32, 0.34, 0.36, 0.38, 0.4, 0.42, 0.45, 0.5, 0.6),
    "svhn": (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95),
}
CONFIDENCE = 0.95
SMALL, LARGE = (64, 160, 250, 400, 1000), (64, 250, 1000, 4000)
EVERY = (40, 64, 100, 160, 250, 400, 640, 1000, 1600, 2500, 4000, 6400)
# Of each network the dims, and the epochs.
SCALES: dict[str, dict[str, Any]] = {
    "cpu": {
        "problems": {
            "mnist-conv2": (SMALL, 4),
            "fashion-mnist-conv2": (SMALL, 4),
            "cifar10-conv2": (LARGE, 8),
        },
        "subset": 3000,
        "repeats": 8,
    },
    "full": {
        "problems": {
            **{f"{data}-conv2": (EVERY, 10) for data in LEVELS},
            **{name: (EVERY, 10) for name in ("cifar10-conv3", "cifar10-resnet20")},
        },
        "subset": None,
        "repeats": 10,
    },
}


def steps(lab: Lab) -> Iterator[Step]:
    """A dimension of a network, then the next."""
    for name, (dims, epochs) in lab["problems"].items():
        for dim in dims:
            yield Step(f"{name}, d = {dim}", partial(_trials, lab, name, dim, epochs))


def numbers(trials: Trials) -> dict[str, Estimate]:
    """d* of each goal; accuracy at each d; and the width of the rise between neighbouring dims."""
    found: dict[str, Estimate] = {}
    for name, thresholds in measured(trials).items():
        for level, estimate in thresholds.items():
            found[f"d*, {name}, accuracy ≥ {level:g}"] = estimate.estimate
        by_dim = accuracies(trials, name)
        for dim, values in by_dim.items():
            mean, low, high = mean_interval(values.tolist(), CONFIDENCE)
            found[f"accuracy, {name}, d = {dim}"] = Estimate(
                mean, low, high, CONFIDENCE, values.size
            )
        for small, large in itertools.pairwise(by_dim):
            key = f"rise from 10 to 90 %, factor in d, {name}, between d = {small} and {large}"
            found[key] = rise(small, by_dim[small], large, by_dim[large])
    return found


def draw(trials: Trials) -> Figure:
    """For each network the phase diagram, and success over the goal at each d with normal fits."""
    found = _experiments(trials)
    figure = Figure(figsize=(11, 4.8 * len(found)), layout="constrained")
    panels = figure.subplots(len(found), 2, squeeze=False)
    for (left, right), (name, stored) in zip(panels, found.items(), strict=True):
        goals = [f"accuracy>={level:g}" for level in levels(name)]
        draw_phase_diagram(phase_diagram_data(stored.surface(goals)), ax=left)
        for i, (dim, values) in enumerate(accuracies(trials, name).items()):
            colour = SERIES[i % len(SERIES)]
            share = 1 - (np.arange(values.size) + 0.5) / values.size
            right.plot(np.sort(values), share, "o", color=colour, label=f"d = {dim:,}")
            law = stats.norm(values.mean(), values.std(ddof=1))
            at = np.linspace(*law.ppf((1e-4, 1 - 1e-4)), 100)
            right.plot(at, law.sf(at), color=colour)
        right.set(xlabel="goal: training accuracy ≥ a", ylabel="success probability")
        right.set_title(f"{name}: success over the goal at each d")
        right.grid(linewidth=0.4)
        right.legend(fontsize=8)
    return figure


def rise(small: int, below: np.ndarray, large: int, above: np.ndarray) -> Estimate:
    """The factor in d over which success at a goal between two dims rises from 10 to 90 %.

    Accuracy at a d is taken to be normal, with one standard deviation for both dims, and its mean
    to be linear in log d between them. The interval is that of the standard deviation.
    """
    slope = (above.mean() - below.mean()) / math.log(large / small)
    freedom = below.size + above.size - 2
    squares = below.var() * below.size + above.var() * above.size
    tail = (1 - CONFIDENCE) / 2
    variances = (squares / q for q in (stats.chi2.ppf(1 - tail, freedom), freedom))
    low, middle = (_factor(v, slope) for v in variances)
    high = _factor(squares / stats.chi2.ppf(tail, freedom), slope)
    return Estimate(middle, low, high, CONFIDENCE, below.size + above.size)


def _factor(variance: float, slope: float) -> float:
    return float(math.exp(2 * stats.norm.ppf(0.9) * math.sqrt(variance) / slope))


def accuracies(trials: Trials, name: str) -> dict[int, np.ndarray]:
    """Training accuracy at the end, by d."""
    found: dict[int, list[float]] = {}
    for record in _experiments(trials)[name].records:
        found.setdefault(record.dim, []).append(record.final("accuracy", "train"))
    return {dim: np.array(found[dim]) for dim in sorted(found)}


def measured(trials: Trials) -> dict[str, dict[float, ThresholdEstimate]]:
    """d* of each network and level of training accuracy, sought in the dims that were tried."""
    return {
        name: {level: stored.estimate(f"accuracy>={level:g}") for level in levels(name)}
        for name, stored in _experiments(trials).items()
    }


def _experiments(trials: Trials) -> dict[str, Any]:
    return {stored.problem: stored for stored in trials.experiments}


def levels(name: str) -> tuple[float, ...]:
    """The accuracies asked of a problem: those of its data set."""
    return LEVELS[name.rpartition("-")[0]]


def _trials(lab: Lab, name: str, dim: int, epochs: int) -> None:
    spec = TrainSpec(lr="auto", epochs=epochs, batch_size=128, schedule="linear", eval_every=10**6)
    lab.run(
        lab.load(name, subset=lab["subset"]),
        method="random",
        dims=[dim],
        repeats=lab["repeats"],
        spec=spec,
    )
