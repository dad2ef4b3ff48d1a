"""Which share of its weights does a network need, by architecture and accuracy?

d* of random subspaces at the best learning rate, and D/d*, over the training accuracy asked for:
dense networks and convolutional ones on the same rows of MNIST with the same steps, and digits-mlp.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from matplotlib.figure import Figure

from subspan.estimate import Estimate
from subspan.report.figure import SERIES, plain_number
from subspan.reproduction import Lab, Step, Trials
from subspan.spec import TrainSpec
from subspan.success.estimate import ThresholdEstimate

DIGITS = "digits-mlp"
MNIST = ("mnist-mlp", "mnist-lenet", "mnist-conv2", "mnist-conv3")
CIFAR10 = ("cifar10-lenet", "cifar10-conv2", "cifar10-conv3", "cifar10-resnet20")
SCALES: dict[str, dict[str, Any]] = {
    "cpu": {
        "problems": (DIGITS, *MNIST[:3]),
        "levels": (0.9, 0.8),
        "subset": 3000,
        "epochs": 4,
    },
    "full": {
        "problems": (DIGITS, *MNIST, *CIFAR10),
        "levels": (0.95, 0.9, 0.8, 0.7, 0.6, 0.5),
        "subset": None,
        "epochs": 10,
    },
}


def steps(lab: Lab) -> Iterator[Step]:
    """A threshold for each accuracy and network."""
    for level in lab["levels"]:
        for name in lab["problems"]:
            yield Step(
                f"accuracy ≥ {level:g}: {name}",
                lambda name=name, level=level: _threshold(lab, name, level),
            )


def numbers(trials: Trials) -> dict[str, Estimate]:
    """Each d*, and how many times more weights there are."""
    found: dict[str, Estimate] = {}
    for name, line in measured(trials).items():
        for level, estimate in line.items():
            found[f"d*, {name}, accuracy ≥ {level:g}"] = estimate.estimate
            if estimate.value:
                found[f"D/d*, {name}, accuracy ≥ {level:g}"] = compression(estimate)
    return found


def draw(trials: Trials) -> Figure:
    """d* and D/d* over accuracy, a line for each network."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    found = measured(trials)
    for i, (name, line) in enumerate(found.items()):
        told = {level: e for level, e in line.items() if e.value}
        label = f"{name}, D = {next(iter(line.values())).ambient_dim:,}"
        for axes, values in (
            (left, [e.estimate for e in told.values()]),
            (right, [compression(e) for e in told.values()]),
        ):
            x = [level + 0.002 * (i - 1.5) for level in told]
            axes.vlines(x, [e.low or 1 for e in values], [e.high or 1 for e in values], SERIES[i])
            axes.plot(x, [e.value for e in values], "o-", color=SERIES[i], label=label)
    for axes, told in ((left, "d*"), (right, "weights for each trained number, D/d*")):
        axes.set(yscale="log", xlabel="training accuracy asked for", ylabel=told)
        axes.yaxis.set_major_formatter(lambda value, _: plain_number(value))
        axes.yaxis.set_minor_formatter(lambda value, _: plain_number(value))
        axes.set_xticks(sorted({level for line in found.values() for level in line}))
        axes.grid(linewidth=0.4)
    left.legend(fontsize=8)
    return figure


def measured(trials: Trials) -> dict[str, dict[float, ThresholdEstimate]]:
    """d* by network, and by accuracy, rising; networks in the order of their size."""
    found: dict[str, dict[float, ThresholdEstimate]] = {}
    for estimate in sorted(trials.estimates, key=lambda e: (e.ambient_dim, e.goal.level)):
        assert estimate.experiment is not None
        name = str(estimate.experiment.problem["name"])
        found.setdefault(name, {})[estimate.goal.level] = estimate
    return found


def compression(estimate: ThresholdEstimate) -> Estimate:
    """D/d*, with the interval of d*."""
    least, value, most = estimate.low or 1, estimate.value or 1, estimate.high
    size = estimate.ambient_dim
    return Estimate(
        size / value,
        1.0 if most is None else size / most,
        size / least,
        estimate.confidence,
        estimate.estimate.samples,
        estimate.status,
    )


def _threshold(lab: Lab, name: str, level: float) -> ThresholdEstimate:
    spec = None
    cut = {}
    if name != DIGITS:
        cut = {"subset": lab["subset"]}
        spec = TrainSpec(
            **{"lr": "auto", "epochs": lab["epochs"], "batch_size": 128},
            **{"schedule": "linear", "eval_every": "auto"},
        )
    problem = lab.load(name, **cut)
    return lab.threshold(problem, goal=f"accuracy>={level:g}", method="random", spec=spec, seed=0)
