"""How far do Li et al.'s dimensions (2018) get, by their recipe and by a larger rate?

MNIST and CIFAR-10. Theirs: Adam at 1e-3, constant, batches of 128, with `beta2` and `eps` of their
parser, here without their ℓ2 term. Ours: Adam with a linear schedule, at ρ = lr·√d/‖w₀‖ = 0.4 at
the scale of a CPU ("smaller": at 0.1), at the best rate at full scale.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from matplotlib.figure import Figure

import subspan as ss
from subspan.comparison.paired import mean_interval
from subspan.estimate import Estimate
from subspan.reproduction import Lab, Step, Trials

# The published accuracies by (network, d): raw data of their figures.
PUBLISHED: dict[tuple[str, int], tuple[float, ...]] = {
    ("mnist-mlp", 100): (0.612, 0.583, 0.583),
    ("mnist-mlp", 500): (0.869, 0.862, 0.863),
    ("mnist-mlp", 1000): (0.916, 0.902, 0.902),
    ("mnist-lenet", 290): (0.9017, 0.9009, 0.9011),
    ("cifar10-lenet", 1000): (0.4642, 0.4607, 0.4633),
    ("cifar10-lenet", 2900): (0.533, 0.5317, 0.5375),
    ("cifar10-mlp", 7000): (0.4486, 0.4513, 0.4495, 0.449, 0.4533, 0.4532),
    ("cifar10-mlp", 8000): (0.4617, 0.4607, 0.462, 0.4601, 0.4595, 0.4597),
}


class Net(NamedTuple):
    """A network of theirs: ‖w₀‖, and its training rows."""

    norm: float
    rows: int


NETS = {
    "mnist-mlp": Net(20.2, 60_000),
    "mnist-lenet": Net(21.7, 60_000),
    "cifar10-lenet": Net(21.7, 50_000),
    "cifar10-mlp": Net(28.6, 50_000),
}
RHOS = {"ours": 0.4, "smaller": 0.1}  # by recipe
SCALES: dict[str, dict[str, Any]] = {
    "cpu": {
        "epochs": {
            "mnist": {"ours": 3, "theirs": 4},
            "cifar10": {"ours": 5, "smaller": 5, "theirs": 5},
        },
        "repeats": {
            "mnist-mlp": {"ours": 3, "theirs": 3},
            "mnist-lenet": {"ours": 1, "theirs": 1},
            "cifar10-lenet": {"ours": 1, "smaller": 1, "theirs": 1},
            "cifar10-mlp": {"ours": 1, "theirs": 1},
        },
        "search": False,
    },
    "full": {
        "epochs": {source: {"ours": 30, "theirs": 100} for source in ("mnist", "cifar10")},
        "repeats": {net: {"ours": 5, "theirs": 5} for net in NETS},
        "search": True,
    },
}
RECIPES = {"ours": "ours", "smaller": "ours at ρ = 0.1", "theirs": "theirs"}
_MARKS = {"ours": ("o", "C1"), "smaller": ("^", "C2"), "theirs": ("s", "C0")}
CONFIDENCE = 0.95


def steps(lab: Lab) -> Iterator[Step]:
    """A repeat of every cell, then the next."""
    wanted = lab["repeats"]
    for repeats in range(1, max(n for each in wanted.values() for n in each.values()) + 1):
        for recipe in RECIPES:
            for name, dim in PUBLISHED:
                if repeats <= wanted[name].get(recipe, 0):
                    yield Step(
                        f"{name}, d = {dim}, {recipe}, repeat {repeats}",
                        lambda cell=(name, dim, recipe, repeats): _cell(lab, *cell),
                    )


def numbers(trials: Trials) -> dict[str, Estimate]:
    """Mean test accuracy at the last step."""
    return {
        f"{name}, d = {dim}, {RECIPES[recipe]}, {epochs:g} epochs": _mean(values)
        for (name, dim, recipe, epochs), values in _cells(trials).items()
    }


def draw(trials: Trials) -> Figure:
    """Accuracy over d: published, by their recipe, by ours."""
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    panels = figure.subplots(1, len(NETS), sharey=True, width_ratios=(3, 1.6, 2, 2))
    for axes, net in zip(panels, NETS, strict=True):
        for (name, dim), values in PUBLISHED.items():
            if name == net:
                axes.plot([dim] * len(values), values, "_", color="black", label="published")
        for (name, dim, recipe, epochs), values in _cells(trials).items():
            if name == net:
                marker, colour = _MARKS[recipe]
                label = f"{RECIPES[recipe]}, {epochs:g} epochs"
                axes.plot(
                    [dim] * len(values), values, marker, color=colour, ms=4, ls="", label=label
                )
        axes.set(title=net, xlabel="d", xscale="log")
    panels[0].set_ylabel("test accuracy")
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        shown = dict(zip(labels, handles, strict=True))
        axes.legend(shown.values(), shown.keys(), fontsize=7, frameon=False)
    return figure


def _cell(lab: Lab, name: str, dim: int, recipe: str, repeats: int) -> None:
    problem, net = lab.load(name), NETS[name]
    epochs = lab["epochs"][name.partition("-")[0]][recipe]
    if recipe == "theirs":
        spec = ss.TrainSpec(epochs=epochs, lr=1e-3, betas=(0.9, 0.99), eps=1e-8)
    else:
        fixed = _rate(name, dim, recipe)
        lr = "auto" if lab["search"] else fixed
        spec = ss.TrainSpec(epochs=epochs, lr=lr, schedule="linear")
    # Evaluated at the end: the whole sets once an epoch cost as much as training there.
    spec = spec.replace(eval_every=math.ceil(spec.epochs * net.rows / 128) + spec.epochs)
    lab.run(problem, method="random", dims=[dim], repeats=repeats, spec=spec)


def _rate(name: str, dim: int, recipe: str) -> float:
    """The learning rate at the recipe's ρ."""
    return float(f"{RHOS[recipe] * NETS[name].norm / math.sqrt(dim):.2g}")


def _cells(trials: Trials) -> dict[tuple[str, int, str, float], list[float]]:
    """Test accuracies of the measured trials by (network, d, recipe, epochs), in its order."""
    found: dict[tuple[str, int, str, float], dict[int, float]] = {}
    for experiment in trials.experiments:
        for record in experiment.records:
            spec = record.trial.spec
            if (spec.get("lr_choice") or {}).get("pilots") == 0:
                continue  # a pilot
            recipe = "ours" if spec["schedule"] == "linear" else "theirs"
            if recipe == "ours" and spec["lr"] == _rate(experiment.problem, record.dim, "smaller"):
                recipe = "smaller"
            key = (experiment.problem, record.dim, recipe, float(spec["epochs"]))
            value = record.final("accuracy", "test")
            found.setdefault(key, {})[record.trial.repeat] = value
    order = list(PUBLISHED)
    keys = sorted(found, key=lambda key: (order.index(key[:2]), key[2]))
    return {key: [found[key][repeat] for repeat in sorted(found[key])] for key in keys}


def _mean(values: list[float]) -> Estimate:
    """The mean, with Student's interval over subspaces where there are two."""
    if len(values) < 2:
        return Estimate(values[0], None, None, CONFIDENCE, 1)
    value, low, high = mean_interval(values, CONFIDENCE)
    return Estimate(value, low, high, CONFIDENCE, len(values))
