"""`Inline`: work is done in this process, one piece after another; objects go as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Any

from subspan.trials.executors.base import Executor, Shared, WorkerDied


class Inline(Executor):
    """Does each piece of work when `completed` comes to it, so that none is done unasked."""

    workers = 1
    room = 1

    def __init__(self) -> None:
        self._work: dict[Future[Any], Callable[[], Any]] = {}

    def share(self, value: Any) -> Shared:
        """Return a function that returns the value itself."""
        return lambda: value

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        """Note a call for later."""
        future: Future[Any] = Future()
        self._work[future] = partial(function, *arguments)
        return future

    def completed(
        self, futures: Iterable[Future[Any]], seconds: float | None = None
    ) -> Iterator[Future[Any]]:
        """Make the calls in order. An error is raised here as it was, with its own traceback."""
        for future in futures:
            work = self._work.pop(future, None)
            if work is not None:
                future.set_result(work())
            yield future

    def abandon(self, future: Future[Any]) -> None:
        """Drop a call that was not made; one that is being made cannot be left."""
        if self._work.pop(future, None) is not None:
            future.set_exception(WorkerDied("workers: the work was given up."))

    def close(self) -> None:
        """Drop the calls that were not made."""
        self._work.clear()
