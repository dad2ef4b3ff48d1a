"""`TrialRunner`: runs planned trials, whatever of them the store does not hold yet."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import torch

from subspan.canonical import digest, tensor_digest
from subspan.errors import invalid, whole
from subspan.maps.base import check_dims
from subspan.problems.base import AbstractProblem
from subspan.problems.module import Problem
from subspan.spec import TrainSpec
from subspan.subspaces.base import Draw, Method, Subspace
from subspan.training.ensemble import train
from subspan.trials.executors.forked import Job, WorkerPool, available_cores, can_fork
from subspan.trials.provenance import environment
from subspan.trials.stores.sql import Store, open_store, record_from_json, record_to_json
from subspan.trials.trial import Trial, TrialRecord

Progress = Callable[[int, int | None, str], None]
"""Called with (trials done, trials planned or None, a message)."""

_LARGEST_ENSEMBLE = 32
_ENSEMBLE_WEIGHTS = 2**18  # together; more fall out of the cache
_ENSEMBLE_WEIGHTS_GPU = 2**28


class TrialRunner:
    """Runs trials of one problem and keeps their records. A context manager.

    On a CPU, trials run in worker processes with one thread each; on a GPU, in this process, as
    one batched program. A record is durable in the store before it is reported.

    Args:
        problem: what to train.
        store: a `Store`, a path, or None for memory.
        workers: number of processes; None takes one per core. 1 runs in this process.
        progress: called as trials are done.

    Raises:
        InputError: `workers` is below 1.
        StoreError: the store cannot be opened.
    """

    def __init__(
        self,
        problem: AbstractProblem,
        *,
        store: Store | str | Path | None = None,
        workers: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        check_problem(problem)
        if workers is not None and (not isinstance(workers, int) or workers < 1):
            raise invalid("workers", expected="an integer, 1 or more", got=repr(workers))
        self.problem, self._progress = problem, progress or (lambda *event: None)
        self._workers = 1
        if problem.device.type == "cpu" and can_fork():
            self._workers = workers or available_cores()
        environment(problem.device)  # found once, before workers are forked
        self._stack = contextlib.ExitStack()
        self.store = self._stack.enter_context(open_store(store))
        self._methods: list[Method] = []
        self._by_dtype: dict[str, AbstractProblem] = {}
        self._pool: WorkerPool | None = None

    @property
    def width(self) -> int:
        """How many trials the machine advances at once: workers × ensemble size."""
        return self._workers * ensemble_size(self.problem)

    def run(
        self, method: Method, plan: Sequence[tuple[int, int]], *, spec: TrainSpec, seed: int
    ) -> list[TrialRecord]:
        """Return the records of the planned (dim, repeat) pairs, in order.

        Those in the store are read; the others are run and stored first.

        Raises:
            InputError: a dimension is out of range, or the spec does not fit the problem.
        """
        seed = whole("seed", seed)
        if not -(2**63) <= seed < 2**63:
            raise invalid("seed", expected="an integer of at most 63 bits", got=seed)
        for dim, repeat in plan:
            check_dims(dim, self.problem.ambient_dim)
            if not isinstance(repeat, int) or repeat < 0:
                raise invalid("repeat", expected="an integer, 0 or more", got=repr(repeat))
        trials = {
            pair: Trial(
                self.problem.identity, method.config(), pair[0], spec.to_json(), seed, pair[1]
            )
            for pair in plan
        }
        records = self.store.get([t.key for t in trials.values()])
        missing = [pair for pair, trial in trials.items() if trial.key not in records]
        done = len(trials) - len(missing)
        if done:
            self._progress(done, len(trials), "found in the store")
        for answer in self._run_jobs(self._jobs(method, missing, spec, seed)):
            for data in answer:
                record = record_from_json(data)
                self.store.add(record)
                records[record.key] = record
                done += 1
                message = f"d={record.dim} {record.outcome}: loss {record.best_train_loss:.4g}"
                self._progress(done, len(trials), message)
        return [records[trials[pair].key] for pair in plan]

    def close(self) -> None:
        """End the workers and close the store if it was opened here."""
        self._end_pool()
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _jobs(
        self, method: Method, pairs: list[tuple[int, int]], spec: TrainSpec, seed: int
    ) -> list[Job]:
        if method not in self._methods:
            self._methods.append(method)
            self._end_pool()  # workers know the methods that were there at the fork
        share = -(-len(pairs) // self._workers)
        together = ensemble_size(self.problem)
        size = max(1, min(together, share))
        searches = bool(method.search_steps(self.problem))
        plans = by_repeat(pairs, size) if searches else by_dim(pairs, size)
        return [
            {
                "method": self._methods.index(method),
                "spec": spec.to_json(),
                "seed": seed,
                "plan": plan,
                "ensemble": together,
            }
            for plan in plans
        ]

    def _run_jobs(self, jobs: list[Job]) -> Iterator[list[dict[str, Any]]]:
        if not jobs:
            return
        if self._workers == 1 or (len(jobs) == 1 and self._pool is None):
            with _one_thread(self.problem.device):
                for job in jobs:
                    yield from self._ensembles(job)
            return
        if self._pool is None:
            spec = TrainSpec.from_json(jobs[0]["spec"])
            if spec.batch_size is not None:
                largest = max(min(len(job["plan"]), job["ensemble"]) for job in jobs)
                self._in_dtype(spec.dtype).warm_up(largest, spec.batch_size)
            self._pool = WorkerPool(self._work, self._workers)
        try:
            for _, answer in self._pool.run(jobs):
                yield answer
        except BaseException:
            self._end_pool()  # other workers are still at jobs that nobody waits for
            raise

    def _end_pool(self) -> None:
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def _in_dtype(self, dtype: str) -> AbstractProblem:
        if dtype not in self._by_dtype:
            self._by_dtype[dtype] = self.problem.to(dtype=getattr(torch, dtype))
        return self._by_dtype[dtype]

    def _work(self, job: Job) -> list[dict[str, Any]]:
        """Run a job; return its records as JSON. Runs in a worker."""
        return [record for records in self._ensembles(job) for record in records]

    def _ensembles(self, job: Job) -> Iterator[list[dict[str, Any]]]:
        """Find a job's subspaces, together, then train them; yield each ensemble's records."""
        clock = time.perf_counter()
        spec = TrainSpec.from_json(job["spec"])
        problem = self._in_dtype(spec.dtype)
        method: Method = self._methods[job["method"]]
        draws = [Draw(dim, job["seed"], repeat) for dim, repeat in job["plan"]]
        subspaces = method.subspaces(problem, draws)
        search_share = (time.perf_counter() - clock) / len(draws)
        size = job["ensemble"]
        for i in range(0, len(draws), size):
            own, found = draws[i : i + size], subspaces[i : i + size]
            results = train(problem, found, spec, [d.batch_seed for d in own])
            provenance = {
                **environment(problem.device),
                "threads": torch.get_num_threads(),
                "ensemble_size": len(own),
            }
            yield [
                record_to_json(
                    TrialRecord(
                        trial=Trial(
                            problem.identity, method.config(), d.dim, job["spec"], d.seed, d.repeat
                        ),
                        ambient_dim=problem.ambient_dim,
                        outcome=result.outcome,
                        steps=result.steps,
                        curve=tuple(result.curve),
                        theta_norm=float(result.theta.norm()),
                        wall_time=search_share + result.wall_time,
                        search_steps=subspace.search_steps,
                        search_bits=subspace.search_bits,
                        provenance={**provenance, "subspace": _checksum(subspace)},
                    )
                )
                for d, subspace, result in zip(own, found, results, strict=True)
            ]


def by_dim(pairs: Sequence[tuple[int, int]], size: int) -> list[list[tuple[int, int]]]:
    """Split (dim, repeat) pairs into jobs of `size`; neighbours in dim take about as long."""
    ordered = sorted(pairs)
    return [ordered[i : i + size] for i in range(0, len(ordered), size)]


def by_repeat(pairs: Sequence[tuple[int, int]], size: int) -> list[list[tuple[int, int]]]:
    """Split (dim, repeat) pairs into jobs of about `size` that keep each repeat in one piece.

    A repeat's search serves all its dims, so that one worker runs it, once.
    """
    dims: dict[int, list[int]] = {}
    for dim, repeat in sorted(pairs):
        dims.setdefault(repeat, []).append(dim)
    jobs: list[list[tuple[int, int]]] = []
    for repeat in sorted(dims, key=lambda r: (dims[r], r)):
        own = [(dim, repeat) for dim in dims[repeat]]
        if jobs and len(jobs[-1]) + len(own) <= size:
            jobs[-1] += own
        else:
            jobs.append(own)
    return jobs


def check_problem(problem: object) -> None:
    """Refuse what is not a problem.

    Raises:
        InputError: as said.
    """
    if not isinstance(problem, AbstractProblem):
        raise invalid(
            "problem",
            expected="a problem",
            got=repr(problem),
            remedy="Load one: subspan.problems.load(NAME).",
        )


def _checksum(subspace: Subspace) -> str:
    """Return a digest of what a seed stands for: the offset's bits and the map's checksum."""
    return digest([tensor_digest(subspace.offset), subspace.map.checksum()])


def ensemble_size(problem: AbstractProblem) -> int:
    """Return how many trials of a problem to advance as one batched program."""
    if isinstance(problem, Problem) and not problem.vectorized:
        return 1
    room = _ENSEMBLE_WEIGHTS if problem.device.type == "cpu" else _ENSEMBLE_WEIGHTS_GPU
    return max(1, min(_LARGEST_ENSEMBLE, room // problem.ambient_dim))


@contextlib.contextmanager
def _one_thread(device: torch.device) -> Iterator[None]:
    """Train as a worker would, so that a record does not depend on the number of workers."""
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
