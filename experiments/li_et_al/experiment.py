"""How far do Li et al.'s dimensions (2018) get on MNIST and CIFAR-10, by their recipe and by ours?

Theirs: Adam at 1e-3, constant, batches of 128, with `beta2` and `eps` of their parser, here without
their ℓ2 term. Ours: Adam with a linear schedule, at the scale of a CPU at a fixed ρ = lr·√d/‖w₀‖,
at full scale at the best rate. On CIFAR-10 what they publish is the first d whose mean accuracy
reaches 0.9 of a baseline, 0.5 or the network's own; ours is that of one training of all D weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import subspan as ss
from subspan.comparison.paired import mean_interval
from subspan.estimate import Estimate
from subspan.reproduction import Lab, Step, Trials

# The published accuracies by (network, d): raw data of their figures; on CIFAR-10 the level that d
# is the first to reach, None where it is 0.9 of the network's own.
PUBLISHED: dict[tuple[str, int], tuple[float | None, ...]] = {
    ("mnist-mlp", 100): (0.612, 0.583, 0.583),
    ("mnist-mlp", 500): (0.869, 0.862, 0.863),
    ("mnist-mlp", 1000): (0.916, 0.902, 0.902),
    ("mnist-lenet", 290): (0.9017, 0.9009, 0.9011),
    ("cifar10-lenet", 1000): (0.45,),
    ("cifar10-lenet", 2900): (None,),
    ("cifar10-mlp", 7000): (0.45,),
    ("cifar10-mlp", 8000): (None,),
}
WHOLE = {("cifar10-lenet", 62_006): (), ("cifar10-mlp", 656_810): ()}  # all D weights
# ‖w₀‖, of variance 1 or, of the LeNets, 2 per incoming weight; cifar10-mlp as mnist-mlp
NORM = {"mnist-mlp": 20.2, "mnist-lenet": 21.7, "cifar10-lenet": 21.7, "cifar10-mlp": 28.6}
RHO = {"mnist-mlp": 0.4, "mnist-lenet": 0.4, "cifar10-lenet": 0.2, "cifar10-mlp": 0.2}
RHO_WHOLE = 0.05
_MNIST = {"mnist-mlp": 3, "mnist-lenet": 1}
_EVERY = dict.fromkeys(NORM, 5)
# What is trained, by recipe: epochs, and repeats by network.
SCALES: dict[str, dict[str, Any]] = {
    "cpu": {
        "recipes": [
            ("ours", 3, _MNIST),
            ("theirs", 4, _MNIST),
            ("theirs", 100, {"mnist-mlp": 1}),
            ("ours", 10, {"cifar10-lenet": 3, "cifar10-mlp": 3}),
        ],
        "search": False,
    },
    "full": {"recipes": [("ours", 30, _EVERY), ("theirs", 100, _EVERY)], "search": True},
}
CONFIDENCE = 0.95


def steps(lab: Lab) -> Iterator[Step]:
    """Recipe by recipe, a repeat of every cell, then the next; all D weights once."""
    for recipe, epochs, nets in lab["recipes"]:
        for repeats in range(1, max(nets.values()) + 1):
            for name, dim in (*PUBLISHED, *WHOLE):
                once = (name, dim) in WHOLE and (recipe != "ours" or repeats > 1)
                if repeats <= nets.get(name, 0) and not once:
                    yield Step(
                        f"{name}, d = {dim}, {recipe}, {epochs} epochs, repeat {repeats}",
                        lambda cell=(name, dim, recipe, epochs, repeats): _cell(lab, *cell),
                    )


def numbers(trials: Trials) -> dict[str, Estimate]:
    """Mean test accuracy at the last step."""
    return {
        f"{name}, d = {dim}, {recipe}, {epochs:g} epochs": _mean(values)
        for (name, dim, recipe, epochs), values in _cells(trials).items()
    }


def draw(trials: Trials) -> Figure:
    """Accuracy over d, a panel a network: published, by their recipe, by ours."""
    cells = _cells(trials)
    nets = [net for net in NORM if any(key[0] == net for key in cells)]
    figure = Figure(figsize=(2.4 * len(nets) + 1, 3.2), layout="constrained")
    for axes, net in zip(figure.subplots(1, len(nets), squeeze=False)[0], nets, strict=True):
        for (name, dim), values in PUBLISHED.items():
            if name == net:
                told = [_own_level(cells, net) if v is None else v for v in values]
                axes.plot([dim] * len(told), told, "_", color="black", ms=9, label="published")
        for (name, dim, recipe, epochs), own in cells.items():
            if name == net:
                whole, ours = (name, dim) in WHOLE, recipe == "ours"
                marker, colour = ("o", "C1") if ours else ("s", "C2" if epochs > 10 else "C0")
                label = f"{'our' if ours else 'their'} recipe, {epochs:g} epochs"
                style = {"mfc": "none", "label": "all D weights"} if whole else {"label": label}
                axes.plot([dim] * len(own), own, marker, color=colour, ms=4, ls="", **style)
        axes.set(title=net, xlabel="d", xscale="log")
        axes.legend(*_once(axes), fontsize=6, frameon=False)
    figure.axes[0].set_ylabel("test accuracy")
    return figure


def _once(axes: Axes) -> tuple[list[Artist], list[str]]:
    """Handles and labels of a legend that names each once."""
    handles, labels = axes.get_legend_handles_labels()
    shown = dict(zip(labels, handles, strict=True))
    return list(shown.values()), list(shown)


def _own_level(cells: dict[tuple[str, int, str, float], list[float]], net: str) -> float:
    """0.9 of what all weights of a network reach here; not a number where that was not trained."""
    found = [v for (name, dim, *_), v in cells.items() if (name, dim) in WHOLE and name == net]
    return 0.9 * found[0][0] if found else math.nan


def _cell(lab: Lab, name: str, dim: int, recipe: str, epochs: int, repeats: int) -> None:
    problem = lab.load(name)
    if recipe == "theirs":
        spec = ss.TrainSpec(epochs=epochs, lr=1e-3, betas=(0.9, 0.99), eps=1e-8)
    else:
        rho = RHO_WHOLE if (name, dim) in WHOLE else RHO[name]
        fixed = float(f"{rho * NORM[name] / math.sqrt(dim):.2g}")
        lr = "auto" if lab["search"] else fixed
        spec = ss.TrainSpec(epochs=epochs, lr=lr, schedule="linear")
    # Evaluated at the end: the whole sets once an epoch cost as much as training there.
    spec = spec.replace(eval_every=math.ceil(spec.epochs * 60_000 / 128) + spec.epochs)
    lab.run(problem, method="random", dims=[dim], repeats=repeats, spec=spec)


def _cells(trials: Trials) -> dict[tuple[str, int, str, float], list[float]]:
    """Test accuracies of the measured trials by (network, d, recipe, epochs), in its order."""
    found: dict[tuple[str, int, str, float], dict[int, float]] = {}
    for experiment in trials.experiments:
        for record in experiment.records:
            spec = record.trial.spec
            if (spec.get("lr_choice") or {}).get("pilots") == 0:
                continue  # a pilot
            recipe = "ours" if spec["schedule"] == "linear" else "theirs"
            key = (experiment.problem, record.dim, recipe, float(spec["epochs"]))
            value = record.final("accuracy", "test")
            found.setdefault(key, {})[record.trial.repeat] = value
    order = [*PUBLISHED, *WHOLE]
    keys = sorted(found, key=lambda key: (order.index(key[:2]), key[2]))
    return {key: [found[key][repeat] for repeat in sorted(found[key])] for key in keys}


def _mean(values: list[float]) -> Estimate:
    """The mean, with Student's interval over subspaces where there are two."""
    if len(values) < 2:
        return Estimate(values[0], None, None, CONFIDENCE, 1)
    value, low, high = mean_interval(values, CONFIDENCE)
    return Estimate(value, low, high, CONFIDENCE, len(values))
