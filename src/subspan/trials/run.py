"""`run`: a grid of trials, dimensions × repeats."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from subspan.errors import invalid, whole
from subspan.problems.base import AbstractProblem
from subspan.spec import TrainSpec
from subspan.subspaces.base import Method
from subspan.subspaces.registry import parse_method
from subspan.trials.runner import Progress, TrialRunner
from subspan.trials.stores.sql import Store
from subspan.trials.trial import TrialRecord


def run(
    problem: AbstractProblem,
    method: Method | str,
    dims: Sequence[int],
    repeats: int = 10,
    spec: TrainSpec | None = None,
    seed: int = 0,
    store: Store | str | Path | None = None,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> list[TrialRecord]:
    """Train `repeats` trials at each dimension, and keep their records.

    The same call again continues where it was cut off and repeats nothing. Repeat r has the same
    initial weights and order of batches at every dimension, and for every method.

    Args:
        problem: what to train.
        method: how to choose subspaces, or its text, e.g. `"burn-in:64"`.
        dims: training dimensions, each in 1 … D.
        repeats: trials at each dimension.
        spec: how to train; None takes `problem.default_spec`.
        seed: any integer; all randomness derives from it.
        store: a path, a `Store`, or None for memory.
        workers: processes, one thread each; None takes one per core. On a GPU, none are used.
        progress: called with (done, planned, message).

    Returns:
        Records ordered by dims as given, then repeats.

    Raises:
        InputError: an argument is out of range.
        StoreError: the store cannot be used.
    """
    repeats = whole("repeats", repeats, low=1)
    if not isinstance(dims, Iterable):
        raise invalid("dims", expected="a list of integers", got=repr(dims), remedy="Use [8].")
    wanted = list(dict.fromkeys(whole("dims", d) for d in dims))  # a dim named twice is one dim
    if not wanted:
        raise invalid("dims", expected="at least one training dimension", got="none")
    plan = [(dim, repeat) for dim in wanted for repeat in range(repeats)]
    with TrialRunner(problem, store=store, workers=workers, progress=progress) as runner:
        return runner.run(parse_method(method), plan, spec=spec or problem.default_spec, seed=seed)
