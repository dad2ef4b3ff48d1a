"""How many workers, threads and trials at once.

The rule: as many workers as cores that this process may use (`executors/machine.py`), one thread
each, each with an ensemble of as many trials as a core's cache holds the weights of
(`problem_trainable.ensemble_size`); a network that fills a core by itself goes alone. Work is given
out piece by piece to whoever is free, so a worker that has half a core holds no other up. What was
measured of it stands in `docs/performance.md`, "Workers and memory".

Memory may allow fewer: what each worker takes is held against what is free before any is started.
"""

from __future__ import annotations

from typing import NamedTuple

from subspan.errors import invalid
from subspan.trials.executors.base import Executor
from subspan.trials.executors.forked import Workers
from subspan.trials.executors.inline import Inline
from subspan.trials.executors.machine import Memory, available_memory

_MEBI = 2**20
_FORKED = 24 * _MEBI  # of a process of its own: pages that it writes to, Python's and PyTorch's
_SPAWNED = 248 * _MEBI  # the same, and all that it imports


class Room(NamedTuple):
    """What memory allows.

    Args:
        each: bytes that a worker takes.
        memory: what there is.
    """

    each: int
    memory: Memory

    @property
    def workers(self) -> int:
        """How many workers fit what is free; 0 where not even one does."""
        return self.memory.free // max(1, self.each)

    def told(self, wanted: int) -> str:
        """Say what comes of it where so many workers are wanted; nothing where they fit."""
        each, free = _bytes(self.each), _bytes(self.memory.free)
        if self.workers >= wanted:
            return ""
        if self.workers:
            count = f"{self.workers:,} of {wanted:,}"
            return f"workers: {count} start: each needs about {each}, {free} are free."
        return (
            f"memory: a trial needs about {each}, {free} are free: one worker starts, and the "
            "machine may swap or end it. Fewer rows at once need less: batch_size, eval_rows."
        )


def find_room(executor: Executor, training: int) -> Room | None:
    """Return what memory allows of an executor's workers; None where nothing is known of it.

    Args:
        executor: where trials run; of one that is not of this machine nothing is known.
        training: bytes that a worker takes to train, beside its process and what is shared.

    Raises:
        InputError: one worker takes more than there is in all.
    """
    memory = available_memory() if isinstance(executor, Workers | Inline) else None
    if memory is None:
        return None
    process = 0
    if isinstance(executor, Workers):
        process = _FORKED if executor.forks else _SPAWNED
    room = Room(process + training, memory)
    if room.each > memory.total:
        raise invalid(
            "memory",
            expected=f"a training that fits the {_bytes(memory.total)} that there are",
            got=f"one that takes about {_bytes(room.each)}",
            remedy="Fewer rows at once need less: batch_size=, and eval_rows= of the problem.",
        )
    return room


def _bytes(count: int) -> str:
    if count < 1024 * _MEBI:
        return f"{count / _MEBI:,.0f} MiB"
    return f"{count / 1024 / _MEBI:,.1f} GiB"
