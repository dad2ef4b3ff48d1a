"""The executors by name. To add one, write a class of `Executor` and enter it here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from subspan.errors import unknown
from subspan.trials.executors.base import Executor
from subspan.trials.executors.forked import Workers, available_cores
from subspan.trials.executors.futures import Futures
from subspan.trials.executors.inline import Inline

EXECUTORS: dict[str, Callable[[int | None], Executor]] = {
    "inline": lambda workers: Inline(),
    "processes": Workers,
    "forked": partial(Workers, start="fork"),
    "spawned": partial(Workers, start="spawn"),
}


def make_executor(executor: Any, workers: int | None, *, on_cpu: bool) -> Executor:
    """Return an executor of a name, around somebody's own, or the usual one for None.

    The usual one is processes on a CPU, where there is more than one core or worker wanted, and
    this process on a GPU.

    Raises:
        InputError: the name is unknown, or the object has no `submit`.
    """
    if executor is None:
        many = on_cpu and (workers or available_cores()) > 1
        return Workers(workers) if many else Inline()
    if isinstance(executor, Executor):
        return executor
    if isinstance(executor, str):
        if executor not in EXECUTORS:
            raise unknown("executor", executor, list(EXECUTORS))
        return EXECUTORS[executor](workers)
    return Futures(executor, workers)
