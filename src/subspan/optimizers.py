"""The optimisers by name, each with its facts; `TrainSpec` and the trainer read them here.

To add one, write it in a file of `training/` and enter it at the end of this file. Plain data: what
makes a step is named, and loaded when it is first used, so that this file stands below all that
train and loads no PyTorch.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from subspan.errors import unknown


@dataclass(frozen=True)
class OptimizerFacts:
    """What is known of an optimiser.

    Args:
        make: what trains, or where it stands, `"module:name"`; by kind:
            `"steps"`: (θ of all trials as one vector, spec) → a `training.optimizers.Optimizer`;
            `"search"`: (problem, offset, map, steps=, watch=) → a `StrongResult`, one trial;
            `"solve"`: (problem, subspace) → a `TrainResult`, one trial.
        kind: which of the three.
        full_batch: whether each step takes the full training set; `batch_size` is then None.
        ends_early: whether it ends by itself where nothing is left to gain, so that its steps
            cannot be matched with those of others.
        has_lr: whether `lr` means anything to it.
        scales_gradient: whether a step is as long as the gradient says, so that the best lr depends
            on the gradient's share that a subspace holds; else as long as lr says.
        exact: whether it misses nothing that a subspace holds.
        steps: how many it takes where neither `steps` nor `epochs` is given; None: 5 epochs.
    """

    make: str | Callable[..., Any]
    kind: Literal["steps", "search", "solve"] = "steps"
    full_batch: bool = False
    ends_early: bool = False
    has_lr: bool = True
    scales_gradient: bool = False
    exact: bool = False
    steps: int | None = None

    def load(self) -> Callable[..., Any]:
        """Return what trains."""
        if not isinstance(self.make, str):
            return self.make
        module, _, name = self.make.partition(":")
        made: Callable[..., Any] = getattr(importlib.import_module(module), name)
        return made


def find(name: object) -> OptimizerFacts:
    """Return the facts of an optimiser.

    Raises:
        InputError: there is none of that name.
    """
    if not isinstance(name, str) or name not in OPTIMIZERS:
        raise unknown("optimizer", name, list(OPTIMIZERS))
    return OPTIMIZERS[name]


def _search(make: str, steps: int, *, ends_early: bool = True) -> OptimizerFacts:
    return OptimizerFacts(
        make, "search", full_batch=True, ends_early=ends_early, has_lr=False, steps=steps
    )


_SUBSPAN = "subspan.training"

OPTIMIZERS: dict[str, OptimizerFacts] = {
    "adam": OptimizerFacts(f"{_SUBSPAN}.optimizers:Adam"),
    "sgd": OptimizerFacts(f"{_SUBSPAN}.optimizers:Sgd", scales_gradient=True),
    "legacy_adam": OptimizerFacts(f"{_SUBSPAN}.optimizers:LegacyAdam"),
    # The searches, the usual one first, with the steps that they take on digits-mlp until they
    # stall, or nearly.
    "lbfgs": _search(f"{_SUBSPAN}.lbfgs:minimize_by_lbfgs", 1000),
    "levenberg_marquardt": _search(f"{_SUBSPAN}.levenberg_marquardt:minimize_in_subspace", 60),
    # The searches without gradients: they take all their steps.
    "spsa": _search(f"{_SUBSPAN}.black_box:minimize_by_spsa", 1000, ends_early=False),
    "cma": _search(f"{_SUBSPAN}.black_box:minimize_by_cma", 300, ends_early=False),
    "exact": OptimizerFacts(
        f"{_SUBSPAN}.exact:solve_exactly", "solve", ends_early=True, has_lr=False, exact=True
    ),
}
