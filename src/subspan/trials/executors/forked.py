"""`Workers`: processes that do one piece of work after another, one thread each.

Where it is safe they are forked, so they share what they need with their parent and nothing is
sent but what to do. Elsewhere (macOS, Windows, after CUDA) they are spawned, and get what is shared
once, pickled, except large tensors, which all of them map from one file. One that dies is replaced
and its work given out again; when the parent dies, the kernel ends them.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import multiprocessing
import multiprocessing.connection
import multiprocessing.util
import os
import signal
import sys
import threading
import time
import types
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from multiprocessing.connection import Connection
from typing import Any, Literal, NamedTuple

import torch

from subspan import tracebacks
from subspan.errors import InputError
from subspan.trials.executors import shipping
from subspan.trials.executors.base import Executor, Shared, WorkerDied, WorkerError
from subspan.trials.executors.freed_memory import keep_freed_memory
from subspan.trials.executors.machine import available_cores
from subspan.trials.executors.mapped import Files

_ATTEMPTS = 3
_SECONDS_TO_END = 1.0
_SIGNALS = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if os.name == "posix" else [])]
_FATAL = [getattr(signal, f"SIG{n}") for n in ("ABRT", "SEGV", "FPE", "ILL")]  # everywhere
_PR_SET_PDEATHSIG = 1
Start = Literal["fork", "spawn"]


def can_fork() -> bool:
    """Whether workers can be forked here: on Linux, and before CUDA was touched."""
    return sys.platform == "linux" and not torch.cuda.is_initialized()


class _Work(NamedTuple):
    future: Future[Any]
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    attempt: int


class _Worker:
    def __init__(self, start: Start, device: str | None = None) -> None:
        context: Any = multiprocessing.get_context(start)
        self.device = device
        self.connection, self._theirs = multiprocessing.Pipe()
        arguments = self._theirs, os.getpid(), device
        self.process = context.Process(target=_serve, args=arguments, daemon=True)
        self._spawned = start == "spawn"
        self.work: _Work | None = None
        self.has: set[str] = set()

    def begin(self) -> None:
        """Start it, once it stands where it will be stopped: a signal may end this call."""
        with _without_main() if self._spawned else contextlib.nullcontext(), _no_signals():
            self.process.start()
            # Python asks what is left at its end to go by SIGTERM, which workers leave to their
            # parent, and waits for it without end.
            self._at_exit = multiprocessing.util.Finalize(None, self.process.kill, exitpriority=0)
        self._theirs.close()

    def stop(self) -> None:
        """End it, whatever it is at. Twice is once: a signal may have cut the first call short."""
        self.connection.close()
        self._theirs.close()
        if self.process.pid is not None:
            self.process.kill()
            self.process.join()
            self._at_exit.cancel()


class Workers(Executor):
    """Does work in processes of this machine; survives the death of any of them.

    Args:
        workers: number of processes; None takes one per GPU, or per core where none are named.
        start: `"fork"` or `"spawn"`; None forks where that is safe.
        devices: GPUs as `CUDA_VISIBLE_DEVICES` names them. Each worker sees one of them, as
            `"cuda"`; in turn, where there are more workers.
    """

    def __init__(
        self,
        workers: int | None = None,
        start: Start | None = None,
        devices: Sequence[str] = (),
    ) -> None:
        self.workers = workers or len(devices) or available_cores()
        self.devices = tuple(devices)
        self._start: Start = start or ("fork" if can_fork() else "spawn")
        self._workers: list[_Worker] = []
        self._waiting: list[_Work] = []
        self._payloads: dict[str, bytes] = {}
        self._inherited: list[str] = []
        self._files = Files()

    @property
    def forks(self) -> bool:
        """Whether workers are forked, so that they share this process's memory."""
        return self._start == "fork"

    @property
    def started(self) -> bool:  # type: ignore[override]
        """Whether there are workers by now."""
        return bool(self._workers)

    def share(self, value: Any) -> Shared:
        """Make a value known. Workers forked before cannot know it: they are ended."""
        token = uuid.uuid4().hex
        if self.forks:
            self._end()
            shipping.keep(token, value)
            self._inherited.append(token)
        else:
            self._payloads[token] = shipping.pack(value, self._files)
        return shipping.Shipped(token)

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        """Put a call in the queue."""
        future: Future[Any] = Future()
        self._waiting.append(_Work(future, function, arguments, 1))
        return future

    def completed(
        self, futures: Iterable[Future[Any]], seconds: float | None = None
    ) -> Iterator[Future[Any]]:
        """Give out the queue, gather answers, and yield these futures as they are done."""
        pending = list(futures)
        until = None if seconds is None else time.monotonic() + seconds
        while pending:
            for future in [f for f in pending if f.done()]:
                pending.remove(future)
                yield future
                until = None if seconds is None else time.monotonic() + seconds
            if pending:
                self._turn(None if until is None else max(0.0, until - time.monotonic()))
                if until is not None and time.monotonic() >= until and not _any_done(pending):
                    return

    def abandon(self, future: Future[Any]) -> None:
        """Kill the worker that is at this work; the next one takes its place."""
        self._waiting = [work for work in self._waiting if work.future is not future]
        for worker in [w for w in self._workers if w.work and w.work.future is future]:
            worker.stop()
            self._workers.remove(worker)
        if not future.done():
            future.set_exception(WorkerDied("workers: the work was given up."))

    def close(self) -> None:
        """End all workers at once; drop the queue, and what was shared."""
        self._end()
        for token in self._inherited:
            shipping.forget(token)
        self._inherited, self._payloads = [], {}
        self._files.close()

    def _end(self) -> None:
        with _no_signals():  # all of them, or nobody knows of the others any more
            for worker in self._workers:
                worker.stop()
            self._workers, self._waiting = [], []

    def _turn(self, seconds: float | None) -> None:
        """Give work to the idle, wait for an answer, and take what has come."""
        wanted = min(self.workers, sum(w.work is not None for w in self._workers) + self._queue())
        while len(self._workers) < wanted:
            self._workers.append(_Worker(self._start, self._free_device()))
            self._workers[-1].begin()
        for worker in self._workers:
            if worker.work is None and self._waiting:
                self._give(worker, self._waiting.pop(0))
        busy = {w.connection: w for w in self._workers if w.work is not None}
        for connection in multiprocessing.connection.wait(list(busy), seconds):
            self._take(busy[connection])  # type: ignore[index]

    def _free_device(self) -> str | None:
        """Return the device that the fewest workers have; None where there are none."""
        taken = [worker.device for worker in self._workers]
        return min(self.devices, key=taken.count, default=None)

    def _queue(self) -> int:
        self._waiting = [work for work in self._waiting if not work.future.cancelled()]
        return len(self._waiting)

    def _give(self, worker: _Worker, work: _Work) -> None:
        worker.work = work
        if not work.future.running():
            work.future.set_running_or_notify_cancel()
        with contextlib.suppress(OSError):  # a dead worker is found when it is asked
            for token in self._payloads.keys() - worker.has:
                worker.connection.send(("receive", token, self._payloads[token]))
                worker.has.add(token)
            worker.connection.send(("call", work.function, work.arguments))

    def _take(self, worker: _Worker) -> None:
        work, worker.work = worker.work, None
        assert work is not None
        try:
            kind, answer = worker.connection.recv()
        except (EOFError, OSError):
            worker.process.join(_SECONDS_TO_END)  # else its exit code is that of our own kill
            worker.stop()
            self._workers.remove(worker)
            if work.attempt >= _ATTEMPTS:
                died = WorkerDied(
                    f"workers: one died {_ATTEMPTS} times on the same trials "
                    f"({_ending(worker.process.exitcode)}). Out of memory? Use fewer workers."
                )
                work.future.set_exception(died)
            else:
                self._waiting.insert(0, work._replace(attempt=work.attempt + 1))
            return
        if kind == "result":
            work.future.set_result(answer)
        elif kind == "refused":
            work.future.set_exception(InputError(answer))
        else:
            work.future.set_exception(WorkerError(f"workers: a trial failed.\n{answer}"))


def _any_done(futures: Iterable[Future[Any]]) -> bool:
    return any(future.done() for future in futures)


def _ending(code: int | None) -> str:
    """Say how a process ended, of its exit code."""
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return f"exit code {code}, {signal.Signals(-code).name}"
    return f"exit code {code}"


@contextlib.contextmanager
def _no_signals() -> Iterator[None]:
    """Hold signals back while a process is begun: it would take them for its own.

    And an exception that a handler raises amid the calls that Python makes around a fork goes
    nowhere. Of several threads one that does not hold a signal back may take it, so that its
    handler waits as well.
    """
    main = threading.current_thread() is threading.main_thread()
    if not (main and hasattr(signal, "pthread_sigmask")):
        yield
        return
    handlers = {int(number): signal.getsignal(number) for number in _SIGNALS}
    waiting: list[int] | None = []

    def hold(number: int, frame: types.FrameType | None) -> None:
        handler = handlers[number]
        if waiting is not None:
            waiting.append(number)
        elif callable(handler):
            handler(number, frame)

    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    try:
        for number, handler in handlers.items():
            if callable(handler):
                signal.signal(number, hold)
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)  # first: a handler may raise below
        came, waiting = waiting or (), None
        for number, handler in handlers.items():
            if callable(handler):
                signal.signal(number, handler)
        for number in came:
            hold(number, None)


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Start processes that do not run the user's script again: what they need of it is sent."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _die_of_what_is_fatal() -> None:
    """End at a fault, whatever handlers the parent's libraries left: two may call each other.

    Python's own, which prints where it was, stands if it stood.
    """
    prints = faulthandler.is_enabled()
    faulthandler.disable()
    for number in _FATAL:
        signal.signal(number, signal.SIG_DFL)
    if prints:
        with contextlib.suppress(Exception):  # no standard error to print on
            faulthandler.enable()


def _serve(connection: Connection, parent: int, device: str | None) -> None:
    """Answer until the connection closes. Runs in the worker."""
    if device is not None:  # CUDA reads it when it is first used
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    for number in _SIGNALS:  # they are the parent's to handle
        signal.signal(number, signal.SIG_IGN)
    signal.set_wakeup_fd(-1)
    _die_of_what_is_fatal()
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)
    torch.set_num_threads(1)
    keep_freed_memory()
    broken = ""  # why something shared could not be read
    while True:
        try:
            kind, what, arguments = connection.recv()
        except (EOFError, OSError):
            os._exit(0)
        if kind == "receive":
            try:
                shipping.receive(what, arguments)
            except Exception as error:
                broken = tracebacks.told(error)
            continue
        try:
            if broken:
                raise WorkerError(f"what is shared cannot be read here.\n{broken}")
            answer: tuple[str, Any] = ("result", what(*arguments))
        except InputError as error:
            answer = ("refused", str(error))
        except (Exception, SystemExit) as error:
            answer = ("error", tracebacks.told(error))
        connection.send(answer)
