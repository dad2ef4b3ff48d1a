"""The executors by name. To add one, write a class of `Executor` and enter it here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from subspan.errors import invalid, unknown
from subspan.trials.executors.base import Executor
from subspan.trials.executors.forked import Workers
from subspan.trials.executors.futures import Futures
from subspan.trials.executors.inline import Inline
from subspan.trials.executors.machine import available_cores, visible_gpus
from subspan.trials.executors.ray import Ray

EXECUTORS: dict[str, Callable[[int | None], Executor]] = {
    "inline": lambda workers: Inline(),
    "processes": Workers,
    "forked": partial(Workers, start="fork"),
    "spawned": partial(Workers, start="spawn"),
    "ray": Ray,
}


def make_executor(
    executor: Any, workers: int | None, *, device: torch.device, ends: bool = False
) -> Executor:
    """Return an executor of a name, around somebody's own, or the usual one for None.

    The usual one is processes on a CPU, where there is more than one core or worker wanted, and
    on `"cuda"` with several GPUs, one process for each; else this process.

    Args:
        executor: what was asked for.
        workers: how many processes, where one is made.
        device: where trials run.
        ends: whether it must be able to end work that is under way.

    Raises:
        InputError: the name is unknown, the object has no `submit`, or it cannot end work.
    """
    everywhere = device.type == "cuda" and device.index is None
    gpus: list[str] = visible_gpus() if everywhere else []
    on_gpus = partial(Workers, start="spawn", devices=gpus)
    if executor is None:
        many = device.type == "cpu" and (ends or (workers or available_cores()) > 1)
        made: Executor = Workers(workers) if many else Inline()
        if len(gpus) > 1 and workers != 1:
            made = on_gpus(workers)
    elif isinstance(executor, Executor):
        made = executor
    elif isinstance(executor, str):
        if executor not in EXECUTORS:
            raise unknown("executor", executor, list(EXECUTORS))
        made = EXECUTORS[executor](workers)
        if isinstance(made, Workers) and len(gpus) > 1:
            made = on_gpus(workers)
    else:
        made = Futures(executor, workers)
    if ends and isinstance(made, Inline):
        raise invalid(
            "trial_timeout",
            expected="none where trials run in this process, which cannot end itself",
            got="one",
            remedy="Use executor='processes' (on a GPU 'spawned', with workers=1).",
        )
    return made
