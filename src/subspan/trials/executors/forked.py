"""`WorkerPool`: processes that run batches of trials, one thread each.

Workers are forked, so they share the problem's data with their parent and need nothing sent but
JSON. One that dies is replaced and its job given out again; when the parent dies, the kernel ends
them. Where there is no safe fork (not Linux), the caller runs trials in its own process.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import ForkContext, ForkProcess
from typing import Any

import torch

from subspan.errors import InputError, SubspanError

Job = dict[str, Any]
Work = Callable[[Job], Any]
_ATTEMPTS = 3
_PR_SET_PDEATHSIG = 1


class WorkerError(SubspanError, RuntimeError):
    """A worker process died again and again on the same trials."""


def can_fork() -> bool:
    """Whether workers can be forked here: on Linux, and before CUDA was touched."""
    return sys.platform == "linux" and not torch.cuda.is_initialized()


def available_cores() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Worker:
    def __init__(self, context: ForkContext, work: Work) -> None:
        self.connection, theirs = multiprocessing.Pipe()
        self.process: ForkProcess = context.Process(
            target=_serve, args=(theirs, work, os.getpid()), daemon=True
        )
        self.process.start()
        theirs.close()
        self.job: int | None = None

    def stop(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.join()


class WorkerPool:
    """Runs jobs (JSON in, JSON out) in forked processes; survives the death of any of them.

    Args:
        work: what a worker does with a job. Inherited by the fork, so anything can be in it.
        size: number of processes.
    """

    def __init__(self, work: Work, size: int) -> None:
        self._work, self._context = work, multiprocessing.get_context("fork")
        self._workers = [_Worker(self._context, work) for _ in range(size)]

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Any]]:
        """Yield (position of the job, answer) as answers come in.

        Raises:
            InputError: a job refused its input.
            WorkerError: a job's worker died three times, or the job raised.
        """
        waiting = list(range(len(jobs)))[::-1]
        attempts = [0] * len(jobs)
        busy = 0
        while waiting or busy:
            for worker in self._workers:
                if worker.job is None and waiting:
                    job = waiting.pop()
                    attempts[job] += 1
                    worker.job = job
                    busy += 1
                    with contextlib.suppress(OSError):  # a dead worker is found below
                        worker.connection.send_bytes(json.dumps(jobs[job]).encode())
            at_work = {w.connection: w for w in self._workers if w.job is not None}
            for connection in multiprocessing.connection.wait(list(at_work)):
                worker = at_work[connection]  # type: ignore[index]
                job, busy = worker.job, busy - 1  # type: ignore[assignment]
                worker.job = None
                try:
                    answer = json.loads(worker.connection.recv_bytes())
                except (EOFError, OSError):
                    self._replace(worker)
                    if attempts[job] >= _ATTEMPTS:
                        raise WorkerError(
                            f"workers: one died {_ATTEMPTS} times on the same trials (exit code "
                            f"{worker.process.exitcode}). Out of memory? Use fewer workers."
                        ) from None
                    waiting.append(job)
                    continue
                yield job, _unwrap(answer)

    def _replace(self, worker: _Worker) -> None:
        worker.stop()
        self._workers[self._workers.index(worker)] = _Worker(self._context, self._work)

    def close(self) -> None:
        """End all workers at once."""
        for worker in self._workers:
            worker.stop()
        self._workers = []


def _unwrap(answer: dict[str, Any]) -> Any:
    if "refused" in answer:
        raise InputError(answer["refused"])
    if "error" in answer:
        raise WorkerError(f"workers: a trial failed.\n{answer['error']}")
    return answer["result"]


def _serve(connection: Connection, work: Work, parent: int) -> None:
    """Answer jobs until the connection closes. Runs in the worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)
    torch.set_num_threads(1)
    answer: dict[str, Any]
    while True:
        try:
            job = json.loads(connection.recv_bytes())
        except (EOFError, OSError):
            os._exit(0)
        try:
            answer = {"result": work(job)}
        except InputError as error:
            answer = {"refused": str(error)}
        except Exception:
            answer = {"error": traceback.format_exc()}
        connection.send_bytes(json.dumps(answer).encode())
