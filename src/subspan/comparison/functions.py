"""Trials of several functions at the same dims, to be compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from subspan.errors import invalid
from subspan.spec import TrainSpec
from subspan.trials.function import FunctionTrainable, LoopSpec
from subspan.trials.runner import TrialRunner, check_problem
from subspan.trials.trial import TrialRecord


def trials_of_functions(
    functions: Sequence[FunctionTrainable],
    dims: Sequence[int],
    repeats: int,
    spec: LoopSpec | TrainSpec | None,
    seed: int,
    **running: Any,
) -> dict[str, list[TrialRecord]]:
    """Return trials of every function at every dim, by its name; `running` is `TrialRunner`'s."""
    records: dict[str, list[TrialRecord]] = {}
    plan = [(dim, repeat) for dim in dims for repeat in range(repeats)]
    for function in functions:
        check_problem(function)
        if function.name in records:
            raise invalid("functions", expected="each name once", got=f"{function.name!r} twice")
        with TrialRunner(function, **running) as runner:
            own = spec or function.default_spec
            records[function.name] = runner.run(None, plan, spec=own, seed=seed)
    return records
