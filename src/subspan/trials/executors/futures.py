"""`Futures`: work goes to any executor of Python's kind, `submit(function, *arguments) → Future`.

So Dask (`client.get_executor()`), MPI (`mpi4py.futures`), loky, submitit, and
`concurrent.futures` itself. What is shared is pickled once. The first pieces of work carry it;
later ones carry its name, and a worker that has not got it says so and is sent it.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Future,
    ThreadPoolExecutor,
    wait,
)
from typing import Any, NamedTuple

from subspan.errors import invalid
from subspan.trials.executors import shipping
from subspan.trials.executors.base import Executor, Shared, WorkerDied, WorkerError, one_thread
from subspan.trials.executors.machine import available_cores

_SECONDS_BETWEEN_LOOKS = 0.05  # at futures that are not Python's own
_ROOM = 1024  # pieces of work: how many workers there are may not be known, and may change
_KILLERS = {  # what says that a worker died on one piece: Dask's, after some tries, submitit's
    "KilledWorker",
    "UncompletedJobError",
}
_ALONE = threading.Lock()  # one trial at a time, where threads were not seen and refused


class _Missing(NamedTuple):
    tokens: list[str]


class Futures(Executor):
    """Does work through somebody's executor, which stays theirs: `close` leaves it open.

    A trial takes a process for itself, since it seeds generators and sets the number of threads:
    give an executor of processes, not of threads.

    Args:
        executor: anything with `submit(function, *arguments) -> Future`.
        workers: how many pieces it does at once; None asks it, and takes one per core where it
            does not say.

    Raises:
        InputError: it has no `submit`, or its workers are threads.
    """

    def __init__(self, executor: Any, workers: int | None = None) -> None:
        if not callable(getattr(executor, "submit", None)):
            raise invalid(
                "executor",
                expected="a name, or anything with submit(function, *arguments) -> Future",
                got=repr(executor),
            )
        if isinstance(executor, ThreadPoolExecutor):
            raise invalid(
                "executor",
                expected="one of processes: a trial seeds generators and sets threads",
                got=type(executor).__name__,
                remedy="Choose 'inline', or a ProcessPoolExecutor.",
            )
        _check_threads(executor)
        self._executor = executor
        self.workers = workers or getattr(executor, "_max_workers", None) or available_cores()
        self._payloads: dict[str, bytes] = {}
        self._sent: dict[str, int] = {}
        self._inner: dict[Future[Any], tuple[Any, tuple[Any, ...]]] = {}

    def share(self, value: Any) -> Shared:
        """Pickle a value, to be sent with the first pieces of work."""
        token = uuid.uuid4().hex
        self._payloads[token] = shipping.pack(value)
        return shipping.Shipped(token)

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        """Hand a call on."""
        future: Future[Any] = Future()
        tokens = [a.token for a in arguments if isinstance(a, shipping.Shipped)]
        early = [t for t in tokens if self._sent.get(t, 0) < self.workers]
        self._hand(future, (function, arguments), tokens, early)
        return future

    @property
    def room(self) -> int:
        """How many pieces it takes before the first is done: its queue is its own."""
        return max(_ROOM, 2 * self.workers)

    def completed(
        self, futures: Iterable[Future[Any]], seconds: float | None = None
    ) -> Iterator[Future[Any]]:
        """Yield these futures as they are done."""
        pending, began = list(futures), time.monotonic()
        while pending:
            for future in pending:
                self._look(future)
            done = [future for future in pending if future.done()]
            for future in done:
                pending.remove(future)
                self._inner.pop(future, None)
                yield future
                began = time.monotonic()
            if pending and not done:
                left = None if seconds is None else began + seconds - time.monotonic()
                if left is not None and left <= 0:
                    return
                inner = [self._inner[future][0] for future in pending]
                if all(isinstance(one, Future) for one in inner):
                    wait(inner, left, return_when=FIRST_COMPLETED)
                else:
                    time.sleep(_SECONDS_BETWEEN_LOOKS)

    def abandon(self, future: Future[Any]) -> None:
        """Give up work. It is cancelled where its executor can; a worker stuck there stays so."""
        with contextlib.suppress(Exception):
            self._inner.pop(future)[0].cancel()
        if not future.done():
            future.set_exception(WorkerDied("workers: the work was given up."))

    def close(self) -> None:
        """Cancel what has not begun; drop what was shared."""
        for inner, _ in self._inner.values():
            with contextlib.suppress(Exception):
                inner.cancel()
        self._inner.clear()
        self._payloads.clear()

    def _hand(
        self, future: Future[Any], call: tuple[Any, ...], tokens: list[str], with_it: list[str]
    ) -> None:
        for token in with_it:
            self._sent[token] = self._sent.get(token, 0) + 1
        parcels = {t: self._payloads[t] if t in with_it else None for t in tokens}
        try:
            self._inner[future] = (self._executor.submit(_call, parcels, *call), call)
        except BrokenExecutor as error:
            raise _broken(error) from error

    def _look(self, future: Future[Any]) -> None:
        """See whether work has begun or ended."""
        if future.done():
            return
        inner, _ = self._inner[future]
        if not future.running() and (inner.done() or getattr(inner, "running", bool)()):
            future.set_running_or_notify_cancel()
        if inner.done():
            self._settle(future)

    def _settle(self, future: Future[Any]) -> None:
        inner, call = self._inner[future]
        try:
            result = inner.result()
        except BrokenExecutor as error:
            future.set_exception(_broken(error))
        except SystemExit as error:  # raised here it would end this process
            future.set_exception(WorkerError(f"workers: a trial ended its process ({error!r})."))
        except Exception as error:
            died = type(error).__name__ in _KILLERS
            future.set_exception(WorkerDied(f"workers: {error}") if died else error)
        else:
            if isinstance(result, _Missing):
                self._hand(future, call, result.tokens, result.tokens)
            else:
                future.set_result(result)


def _check_threads(executor: Any) -> None:
    """Refuse Dask's workers of several threads, which is what a Dask cluster has by default."""
    threads_of = getattr(getattr(executor, "_client", None), "nthreads", None)
    most = max(threads_of().values(), default=1) if callable(threads_of) else 1
    if most > 1:
        raise invalid(
            "executor",
            expected="Dask workers of one thread each: a trial seeds generators and sets threads",
            got=f"some of {most}",
            remedy="dask worker --nthreads 1, or LocalCluster(threads_per_worker=1).",
        )


def _broken(error: BrokenExecutor) -> WorkerError:
    return WorkerError(
        f"workers: the executor broke ({error}). What was done is kept; make a new executor and "
        "give the same call."
    )


def _call(
    parcels: dict[str, bytes | None], function: Callable[..., Any], arguments: tuple[Any, ...]
) -> Any:
    """Unpack what is new here and make the call. Runs in the worker."""
    missing = [t for t, parcel in parcels.items() if parcel is None and not shipping.has(t)]
    if missing:
        return _Missing(list(parcels))
    for token, parcel in parcels.items():
        if parcel is not None and not shipping.has(token):
            shipping.receive(token, parcel)
    with _ALONE, one_thread():
        return function(*arguments)
