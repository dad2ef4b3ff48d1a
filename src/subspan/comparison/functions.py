"""Trials of several functions at the same dims, to be compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from subspan.errors import invalid
from subspan.goals import Goal
from subspan.spec import TrainSpec
from subspan.trials.function import FunctionTrainable, LoopSpec
from subspan.trials.pilots import specs_at
from subspan.trials.runner import TrialRunner, check_problem
from subspan.trials.trial import TrialRecord


def trials_of_functions(
    functions: Sequence[FunctionTrainable],
    dims: Sequence[int],
    repeats: int,
    spec: LoopSpec | TrainSpec | None,
    seed: int,
    goal: Goal | None = None,
    **running: Any,
) -> dict[str, list[TrialRecord]]:
    """Return trials of every function at every dim, by its name; `running` is `TrialRunner`'s.

    At `lr="auto"` each has the learning rate that serves the goal best at each dim.
    """
    records: dict[str, list[TrialRecord]] = {}
    for function in functions:
        check_problem(function)
        if function.name in records:
            raise invalid("functions", expected="each name once", got=f"{function.name!r} twice")
        with TrialRunner(function, **running) as runner:
            own: Any = spec or function.default_spec
            at = specs_at(runner, None, dims, own, seed=seed, goal=goal)
            plan = [((dim, repeat), at[dim]) for dim in dims for repeat in range(repeats)]
            records[function.name] = runner.run_each(None, plan, seed=seed)
    return records
