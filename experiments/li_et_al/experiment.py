"""How far do Li et al.'s dimensions (2018) get on MNIST, by their recipe and by a larger rate?

Theirs: Adam at 1e-3, constant, batches of 128, with `beta2` and `eps` of their parser, here without
their ℓ2 term. Ours: Adam with a linear schedule, at ρ = lr·√d/‖w₀‖ = 0.4 at the scale of a CPU, at
the best rate at full scale.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from matplotlib.figure import Figure

import subspan as ss
from subspan.comparison.paired import mean_interval
from subspan.estimate import Estimate
from subspan.reproduction import Lab, Step, Trials

# The published accuracies by (network, d): raw data of their figures.
PUBLISHED = {
    ("mnist-mlp", 100): (0.612, 0.583, 0.583),
    ("mnist-mlp", 500): (0.869, 0.862, 0.863),
    ("mnist-mlp", 1000): (0.916, 0.902, 0.902),
    ("mnist-lenet", 290): (0.9017, 0.9009, 0.9011),
}
NORM = {"mnist-mlp": 20.2, "mnist-lenet": 21.7}  # ‖w₀‖, of variance 1 and 2 per incoming weight
RHO = 0.4
SCALES: dict[str, dict[str, Any]] = {
    "cpu": {"theirs": 4, "ours": 3, "mnist-mlp": 3, "mnist-lenet": 1, "search": False},
    "full": {"theirs": 100, "ours": 30, "mnist-mlp": 5, "mnist-lenet": 5, "search": True},
}
RECIPES = ("ours", "theirs")
CONFIDENCE = 0.95


def steps(lab: Lab) -> Iterator[Step]:
    """A repeat of every cell, then the next."""
    for repeats in range(1, max(lab[name] for name in NORM) + 1):
        for recipe in RECIPES:
            for name, dim in PUBLISHED:
                if repeats <= lab[name]:
                    yield Step(
                        f"{name}, d = {dim}, {recipe}, repeat {repeats}",
                        lambda cell=(name, dim, recipe, repeats): _cell(lab, *cell),
                    )


def numbers(trials: Trials) -> dict[str, Estimate]:
    """Mean test accuracy at the last step."""
    return {
        f"{name}, d = {dim}, {recipe}, {epochs:g} epochs": _mean(values)
        for (name, dim, recipe, epochs), values in _cells(trials).items()
    }


def draw(trials: Trials) -> Figure:
    """Accuracy over d: published, by their recipe, by ours."""
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
    for axes, net in zip(panels, NORM, strict=True):
        for (name, dim), values in PUBLISHED.items():
            if name == net:
                axes.plot([dim] * len(values), values, "_", color="black", label="published")
        for (name, dim, recipe, epochs), values in _cells(trials).items():
            if name == net:
                marker, colour = ("o", "C1") if recipe == "ours" else ("s", "C0")
                label = f"{'our' if recipe == 'ours' else 'their'} recipe, {epochs:g} epochs"
                axes.plot(
                    [dim] * len(values), values, marker, color=colour, ms=4, ls="", label=label
                )
        axes.set(title=net, xlabel="d", xscale="log")
    panels[0].set_ylabel("test accuracy")
    handles, labels = panels[0].get_legend_handles_labels()
    shown = dict(zip(labels, handles, strict=True))
    panels[0].legend(shown.values(), shown.keys(), fontsize=7, frameon=False)
    return figure


def _cell(lab: Lab, name: str, dim: int, recipe: str, repeats: int) -> None:
    problem = lab.load(name)
    if recipe == "theirs":
        spec = ss.TrainSpec(epochs=lab["theirs"], lr=1e-3, betas=(0.9, 0.99), eps=1e-8)
    else:
        fixed = float(f"{RHO * NORM[name] / math.sqrt(dim):.2g}")
        lr = "auto" if lab["search"] else fixed
        spec = ss.TrainSpec(epochs=lab["ours"], lr=lr, schedule="linear")
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
    order = list(PUBLISHED)
    keys = sorted(found, key=lambda key: (order.index(key[:2]), key[2]))
    return {key: [found[key][repeat] for repeat in sorted(found[key])] for key in keys}


def _mean(values: list[float]) -> Estimate:
    """The mean, with Student's interval over subspaces where there are two."""
    if len(values) < 2:
        return Estimate(values[0], None, None, CONFIDENCE, 1)
    value, low, high = mean_interval(values, CONFIDENCE)
    return Estimate(value, low, high, CONFIDENCE, len(values))
