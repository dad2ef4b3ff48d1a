"""`Executor`: where work is done, behind Python's own idea of it, `submit → Future`."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, Self

import torch

from subspan.errors import SubspanError

Shared = Callable[[], Any]
"""What `share` gives: it goes where work goes, and called there, returns what was shared."""


class WorkerError(SubspanError, RuntimeError):
    """A worker process failed."""

    several_lines = True


class WorkerDied(WorkerError):
    """A worker process died again and again on the same work."""


class Executor(abc.ABC):
    """Does work somewhere. It knows nothing of what the work is.

    Laws (`subspan.testing.check_executor`): each future gets what the function returns, or the
    `InputError` that it raises as it is, any other error with its traceback; `completed` yields
    each future once, as soon as it is done; what is shared is there as often as it is asked for,
    sent once to each worker; after `close` it may be used again, with nothing shared.

    Attributes:
        workers: how many pieces of work it does at once.
        started: whether there are workers by now; work that is done here needs none.
    """

    workers: int
    started: bool = True

    @abc.abstractmethod
    def share(self, value: Any) -> Shared:
        """Make a value known to the workers, present and future."""

    @abc.abstractmethod
    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        """Have a function called, one of a module's own, so that every process can find it."""

    @abc.abstractmethod
    def completed(self, futures: Iterable[Future[Any]]) -> Iterator[Future[Any]]:
        """Yield the futures as they are done. Work may only go on while this is asked."""

    @abc.abstractmethod
    def close(self) -> None:
        """End what was started here; drop what is not done, and what was shared."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread, as every worker does: so no record depends on where it was made."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
