"""`TrialRunner`: runs planned trials, whatever of them the store does not hold yet."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self

from subspan.errors import SubspanError, invalid, whole
from subspan.problems.base import AbstractProblem
from subspan.subspaces.base import Method
from subspan.training.outcome import Outcome
from subspan.trials import asked
from subspan.trials.executors.base import Executor, Shared, WorkerDied, one_thread
from subspan.trials.executors.registry import make_executor
from subspan.trials.function import FunctionTrainable
from subspan.trials.problem_trainable import ProblemTrainable, ensemble_size
from subspan.trials.provenance import environment
from subspan.trials.stores.base import RecordStore
from subspan.trials.stores.registry import open_store
from subspan.trials.trainable import Pair, Spec, Trainable
from subspan.trials.trial import TrialRecord

Progress = Callable[[int, int | None, str], None]
"""Called with (trials done, trials planned or None, a message)."""

Subject = AbstractProblem | FunctionTrainable
"""What is trained: a problem, with a method, or a user's own function."""

MAX_FAILURES = 10


class TrialsFailed(SubspanError, RuntimeError):
    """More trials of a user's function raised than were allowed."""

    several_lines = True


class TrialRunner:
    """Runs trials of one problem or function and keeps their records. A context manager.

    On a CPU, trials run in worker processes with one thread each; on a GPU, in this process, as
    one batched program. A record is durable in the store before it is reported.

    Args:
        problem: what to train.
        store: a store, a path, a URL, or None for memory.
        workers: number of processes; None takes one per core. 1 runs in this process.
        progress: called as trials are done.
        executor: `"inline"`, `"processes"`, `"forked"`, `"spawned"`, an `Executor`, or anything
            with `submit(function, *arguments) -> Future`; None chooses between the first two.
        max_failures: how many trials of a function may raise before the sweep stops.

    Raises:
        InputError: `workers` is below 1, or the executor is unknown.
        StoreError: the store cannot be opened.
    """

    def __init__(
        self,
        problem: Subject,
        *,
        store: RecordStore | str | Path | None = None,
        workers: int | None = None,
        progress: Progress | None = None,
        executor: Any = None,
        max_failures: int = MAX_FAILURES,
    ) -> None:
        check_problem(problem)
        if workers is not None and (not isinstance(workers, int) or workers < 1):
            raise invalid("workers", expected="an integer, 1 or more", got=repr(workers))
        self.problem, self._progress = problem, progress or (lambda *event: None)
        self._on_cpu = problem.device.type == "cpu"
        self._executor: Executor = make_executor(executor, workers, on_cpu=self._on_cpu)
        self._max_failures = whole("max_failures", max_failures, low=0)
        self._failures = 0
        environment(problem.device)  # found once, before workers are forked
        self._stack = contextlib.ExitStack()
        self.store = self._stack.enter_context(open_store(store))
        self._trainables: list[Trainable] = []
        self._shared: dict[int, Shared] = {}  # by place in the list above
        self._by_dtype: dict[str, AbstractProblem] = {}

    @property
    def width(self) -> int:
        """How many trials the machine advances at once: workers × ensemble size."""
        together = 1 if isinstance(self.problem, FunctionTrainable) else ensemble_size(self.problem)
        return self._executor.workers * together

    def run(
        self, method: Method | None, plan: Sequence[Pair], *, spec: Any, seed: int
    ) -> list[TrialRecord]:
        """Return the records of the planned (dim, repeat) pairs, in order.

        Those in the store are read; the others, and those that failed, are run and stored first.

        Args:
            method: how to choose subspaces; None for a function.
            plan: training dimensions, 0 for no training, and repeats.
            spec: a `TrainSpec`; a `LoopSpec` for a function.
            seed: any integer.

        Raises:
            InputError: a dimension is out of range, or the spec does not fit the problem.
            TrialsFailed: more trials raised than are allowed.
        """
        seed = whole("seed", seed)
        if not -(2**63) <= seed < 2**63:
            raise invalid("seed", expected="an integer of at most 63 bits", got=seed)
        place = self._place(method)
        trainable = self._trainables[place]
        trials = {pair: trainable.trial(pair, spec, seed) for pair in plan}
        for _, repeat in plan:
            if not isinstance(repeat, int) or repeat < 0:
                raise invalid("repeat", expected="an integer, 0 or more", got=repr(repeat))
        found = self.store.get([t.key for t in trials.values()])
        records = {k: r for k, r in found.items() if r.outcome is not Outcome.FAILED}
        missing = [pair for pair, trial in trials.items() if trial.key not in records]
        done = len(trials) - len(missing)
        if done:
            self._progress(done, len(trials), "found in the store")
        if missing:
            asked.begin(self.store)
        for answer in self._train(place, missing, spec, seed):
            for record in answer:
                self.store.add(record)
                records[record.key] = record
                done += 1
                self._progress(done, len(trials), _told(record))
                self._count(record)
        return [records[trials[pair].key] for pair in plan]

    def close(self) -> None:
        """End the workers and close the store if it was opened here."""
        self._end()
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _place(self, method: Method | None) -> int:
        """Return where the trainable of a method stands; make it where it is new."""
        if isinstance(self.problem, FunctionTrainable):
            self._trainables = [self.problem]
            return 0
        if method is None:
            raise invalid("method", expected="a method, for a problem", got="none")
        for place, known in enumerate(self._trainables):
            if isinstance(known, ProblemTrainable) and known.method == method:
                return place
        self._trainables.append(ProblemTrainable(self.problem, method, self._by_dtype))
        return len(self._trainables) - 1

    def _train(
        self, place: int, pairs: list[Pair], spec: Spec, seed: int
    ) -> Iterator[list[TrialRecord]]:
        if not pairs:
            return
        trainable, executor = self._trainables[place], self._executor
        pieces = trainable.split(pairs, executor.workers)
        if executor.workers == 1 or (len(pieces) == 1 and not executor.started):
            with one_thread() if self._on_cpu else contextlib.nullcontext():
                for piece in pieces:
                    yield trainable.train(piece, spec, seed)
            return
        if place not in self._shared:
            trainable.warm_up(pieces, spec)
            self._shared[place] = executor.share(trainable)
        share = self._shared[place]
        work: dict[Future[Any], list[Pair]] = {
            executor.submit(_train, share, piece, spec, seed): piece for piece in pieces
        }
        try:
            for future in executor.completed(work):
                yield self._answer(future, trainable, work[future], spec, seed)
        except BaseException:
            self._end()  # other workers are still at work that nobody waits for
            raise

    def _answer(
        self, future: Future[Any], trainable: Trainable, piece: list[Pair], spec: Spec, seed: int
    ) -> list[TrialRecord]:
        try:
            records: list[TrialRecord] = future.result()
        except WorkerDied as error:
            lost = trainable.lost(piece, spec, seed, str(error))
            if lost is None:
                raise
            return lost
        return records

    def _count(self, record: TrialRecord) -> None:
        """Count a failure; stop the sweep at one too many."""
        if record.outcome is not Outcome.FAILED:
            return
        self._failures += 1
        if self._failures > self._max_failures:
            told = record.provenance.get("traceback", record.reason)
            raise TrialsFailed(
                f"trials: {self._failures} failed, and max_failures is {self._max_failures}. What "
                f"was done is kept; the same call tries again those that failed. The last:\n{told}"
            )

    def _end(self) -> None:
        self._executor.close()
        self._shared.clear()


def _train(share: Shared, piece: list[Pair], spec: Spec, seed: int) -> list[TrialRecord]:
    """Train a piece of work. Runs in a worker."""
    trainable: Trainable = share()
    return trainable.train(piece, spec, seed)


def _told(record: TrialRecord) -> str:
    """Say in a few words what came of a trial."""
    start = f"d={record.dim} {record.outcome}"
    if record.reason:
        return f"{start}: {record.reason}"
    if "train:loss" in record.metrics or not record.metrics:
        return f"{start}: loss {record.best_train_loss:.4g}"
    name = record.metrics[0]
    return f"{start}: {name} {record.curve[-1].metrics.get(name, float('nan')):.4g}"


def check_problem(problem: object) -> None:
    """Refuse what is neither a problem nor a function made `trainable`.

    Raises:
        InputError: as said.
    """
    if isinstance(problem, Subject):
        return
    remedy = "Load one: subspan.problems.load(NAME)."
    if callable(problem):
        remedy = "Put @subspan.trainable(name=..., max_dim=...) above the function."
    raise invalid("problem", expected="a problem", got=repr(problem), remedy=remedy)
