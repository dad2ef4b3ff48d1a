"""`catalogue`: what can be said of the registered problems without loading their data."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch

from subspan import optimizers
from subspan.problems import data, registry
from subspan.spec import TrainSpec


class Entry(NamedTuple):
    """One registered problem: its name, D, its data, and how its own spec trains it."""

    name: str
    ambient_dim: int
    data: str
    training: str


def catalogue() -> list[Entry]:
    """Return an entry for every registered problem, in their order.

    Problems on images are counted on a network without storage; the others are small and are made.
    """
    entries = []
    for name, make in registry.PROBLEMS.items():
        if isinstance(make, partial) and make.func is registry._images:
            _, source, make_module, spec = make.args
            with torch.device("meta"):
                size = sum(p.numel() for p in make_module().parameters() if p.requires_grad)
            entries.append(Entry(name, size, data.SOURCES[source].hub, summary(spec)))
        else:
            problem = make()
            origin = "embedded" if problem.train_size else "analytic"
            entries.append(Entry(name, problem.ambient_dim, origin, summary(problem.default_spec)))
    return entries


def summary(spec: TrainSpec) -> str:
    """Return a spec in a few words, e.g. `adam, lr 0.05, 5 epochs, batch 128, linear`."""
    if optimizers.find(spec.optimizer).exact:
        return spec.optimizer
    length = f"{spec.steps} steps" if spec.epochs is None else f"{spec.epochs:g} epochs"
    batch = "full batch" if spec.batch_size is None else f"batch {spec.batch_size}"
    return f"{spec.optimizer}, lr {spec.lr:g}, {length}, {batch}, {spec.schedule}"
