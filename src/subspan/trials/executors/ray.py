"""`Ray`: work goes to a Ray cluster, of one machine or of many that come and go.

What is shared is put into Ray's object store once, and each worker process reads it once. Work
whose worker or node was lost is given out again. A task says when it begins, so that waiting for a
free place is not taken for work.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
import types
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any

from subspan import tracebacks
from subspan.errors import InputError, invalid, real
from subspan.trials.executors import shipping
from subspan.trials.executors.base import Executor, Shared, WorkerDied, WorkerError, one_thread

_RETRIES = 2  # after the worker or the node was lost
_SECONDS_BETWEEN_COUNTS = 5.0  # of the cluster's places
_SECONDS_TO_CONNECT = 10.0
_SIGNALS = [
    getattr(signal, f"SIG{n}") for n in ("INT", "TERM", "HUP") if hasattr(signal, f"SIG{n}")
]


class Ray(Executor):
    """Does work as tasks of a Ray cluster.

    Args:
        workers: how many tasks at once; None: as many as the cluster has places, now and later.
        address: of the cluster; None takes that of `RAY_ADDRESS`, one that runs on this machine, or
            starts one here, which ends with this process.
        cpus: cores of a task; each computes with one thread.
        gpus: GPUs of a task, fractions too. The problem must be on a GPU here as well.

    Raises:
        InputError: Ray is not installed, a number is out of range, or there is no such cluster.
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        address: str | None = None,
        cpus: float = 1.0,
        gpus: float = 0.0,
    ) -> None:
        self._ray = _imported()
        self._resources = {
            "num_cpus": real("cpus", cpus, low=0.0),
            "num_gpus": real("gpus", gpus, low=0.0),
        }
        if not self._ray.is_initialized():
            _silence(self._ray)
            try:
                _connect(address or os.environ.get("RAY_ADDRESS") or "")
                with _wholly(self._ray):
                    self._ray.init(
                        address=address, logging_level=logging.ERROR, log_to_driver=False
                    )
            except (OSError, RuntimeError, ValueError, self._ray.exceptions.RayError) as error:
                raise invalid(
                    "ray_address",
                    expected="a Ray cluster that runs",
                    got=repr(address),
                    remedy=f"({_first_line(str(error))}) Start one: ray start --head. One that "
                    "asks for a token wants RAY_AUTH_MODE=token here too.",
                ) from error
        self._asked, self._counted, self._places = workers, -_SECONDS_BETWEEN_COUNTS, 1
        self._task = self._ray.remote(_call).options(
            num_returns="streaming", max_retries=_RETRIES, **self._resources
        )
        self._shared: dict[str, Any] = {}
        self._streams: dict[Future[Any], Any] = {}

    @property
    def workers(self) -> int:  # type: ignore[override]
        """How many tasks the cluster has places for at present, or as many as were asked for."""
        if self._asked is not None:
            return self._asked
        if time.monotonic() - self._counted >= _SECONDS_BETWEEN_COUNTS:
            self._counted, there = time.monotonic(), self._ray.cluster_resources()
            kinds = {"CPU": self._resources["num_cpus"], "GPU": self._resources["num_gpus"]}
            places = [int(there.get(kind, 0.0) / each) for kind, each in kinds.items() if each]
            self._places = max(1, min(places, default=1))
        return self._places

    def share(self, value: Any) -> Shared:
        """Put a value into the object store."""
        token = uuid.uuid4().hex
        self._shared[token] = self._ray.put(shipping.pack(value))
        return shipping.Shipped(token)

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        """Make a call a task."""
        future: Future[Any] = Future()
        shared = [a.token for a in arguments if isinstance(a, shipping.Shipped)]
        parcels = {token: [self._shared[token]] for token in shared if token in self._shared}
        self._streams[future] = self._task.remote(parcels, shipping.pack((function, arguments)))
        return future

    def completed(
        self, futures: Iterable[Future[Any]], seconds: float | None = None
    ) -> Iterator[Future[Any]]:
        """Yield these futures as they are done."""
        pending, began = list(futures), time.monotonic()
        while pending:
            for future in [f for f in pending if f.done()]:
                pending.remove(future)
                yield future
                began = time.monotonic()
            if pending:
                left = None if seconds is None else began + seconds - time.monotonic()
                if left is not None and left <= 0:
                    return
                self._look({self._streams[future]: future for future in pending}, left)

    def abandon(self, future: Future[Any]) -> None:
        """Cancel a task; its worker is killed."""
        self._cancel(self._streams.pop(future, None))
        if not future.done():
            future.set_exception(WorkerDied("workers: the work was given up."))

    def close(self) -> None:
        """Cancel all tasks and drop what was shared. The cluster stays."""
        for stream in self._streams.values():
            self._cancel(stream)
        self._streams.clear()
        self._shared.clear()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()

    def _look(self, streams: dict[Any, Future[Any]], seconds: float | None) -> None:
        """Wait for tasks to begin or end, and note those that did."""
        ready, _ = self._ray.wait(list(streams), num_returns=1, timeout=seconds)
        if ready:  # all the others that are, too
            ready, _ = self._ray.wait(list(streams), num_returns=len(streams), timeout=0)
        for stream in ready:
            future = streams[stream]
            try:
                kind, answer = self._ray.get(next(stream))
            except StopIteration:
                kind, answer = "error", "a task ended without an answer"
            except self._ray.exceptions.RayTaskError as error:
                kind, answer = "error", str(error)
            except self._ray.exceptions.LocalRayletDiedError as error:
                kind, answer = "gone", str(error)
            except self._ray.exceptions.RayError as error:
                kind, answer = "died", str(error)
            if not future.running():
                future.set_running_or_notify_cancel()
            if kind == "began":
                continue
            del self._streams[future]
            if kind == "result":
                future.set_result(shipping.unpack(answer))
            elif kind == "refused":
                future.set_exception(InputError(answer))
            elif kind == "gone":
                future.set_exception(
                    WorkerError(
                        f"workers: Ray is gone from this machine ({_first_line(answer)}). What "
                        "was done is kept; start Ray again and give the same call."
                    )
                )
            elif kind == "died":
                why = _first_line(answer)
                future.set_exception(
                    WorkerDied(f"workers: one died {_RETRIES + 1} times on the same trials ({why})")
                )
            else:
                future.set_exception(WorkerError(f"workers: a trial failed.\n{answer}"))

    def _cancel(self, stream: Any) -> None:
        if stream is not None:
            with contextlib.suppress(Exception):
                self._ray.cancel(stream, force=True)


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or ["?"])[0]


def _imported() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise invalid(
            "executor",
            expected="one that is installed",
            got="'ray'",
            remedy="pip install 'subspan[ray]'.",
        ) from error
    return ray


def _connect(address: str) -> None:
    """Raise an `OSError` where nobody listens at `host:port`.

    Ray would try it for minutes, deaf to signals.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdecimal():
        with contextlib.suppress(OverflowError):  # a port that is none, which Ray refuses
            socket.create_connection((host.strip("[]"), int(port)), _SECONDS_TO_CONNECT).close()


@contextlib.contextmanager
def _wholly(ray: Any) -> Iterator[None]:
    """Let Ray start, and end it again if a signal came meanwhile, before that is handled.

    A start that is cut short leaves processes behind, or ends in an abort. A second signal is
    handled at once. SIGTERM that nothing handles ends Python, so that the cluster ends too.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    known: dict[int, Any] = {int(number): signal.getsignal(number) for number in _SIGNALS}
    if known[signal.SIGTERM] is signal.SIG_DFL:
        known[signal.SIGTERM] = lambda number, _: sys.exit(128 + number)
    handled = [number for number, handler in known.items() if callable(handler)]
    came: list[int] = []

    def note(number: int, frame: types.FrameType | None) -> None:
        came.append(number)
        if len(came) > 1:
            known[number](number, frame)

    utils = getattr(ray._private, "utils", None)
    theirs = getattr(utils, "set_sigterm_handler", None)  # another version may not have it
    if utils is not None and theirs is not None:
        utils.set_sigterm_handler = lambda handler: None
    try:
        with _sigterm_held_back():
            for number in handled:
                signal.signal(number, note)
            try:
                yield
            finally:
                for number in handled:  # Ray's C++ has put one of its own for SIGTERM
                    signal.signal(number, note)
    finally:
        if utils is not None and theirs is not None:
            utils.set_sigterm_handler = theirs
        for number, handler in known.items():
            if handler is not None:
                signal.signal(number, handler)
        if len(came) == 1:
            ray.shutdown()
        if came:
            known[came[0]](came[0], None)


_held_back = False


@contextlib.contextmanager
def _sigterm_held_back() -> Iterator[None]:
    """Let SIGTERM wait, in threads begun within too: Ray's C++ would print where each stands."""
    global _held_back
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    _held_back = True
    try:
        yield
    finally:
        _held_back = False
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _hear_in_child() -> None:
    if _held_back:  # else Ray's own processes would not hear it for good
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_hear_in_child)


def _silence(ray: Any) -> None:
    """Keep Ray's word on workers that died off standard output, where JSON may stand.

    It has no option for that. That a worker died is told by the error of its task.
    """
    with contextlib.suppress(Exception):  # a part of Ray that another version may not have
        ray._private.worker.print_to_stdstream = lambda *_, **__: None


def _call(parcels: dict[str, list[Any]], call: bytes) -> Iterator[tuple[str, Any]]:
    """Say that the call begins, make it, and say what came of it. Runs in a worker."""
    import ray

    yield "began", None
    try:
        for token, (reference,) in parcels.items():
            if not shipping.has(token):
                shipping.receive(token, ray.get(reference))
        function, arguments = shipping.unpack(call)
        with one_thread():
            answer = shipping.pack(function(*arguments))
    except InputError as error:
        yield "refused", str(error)
    except (Exception, SystemExit) as error:
        yield "error", tracebacks.told(error)
    else:
        yield "result", answer
