"""`TrialRunner`: runs planned trials, whatever of them the store does not hold yet."""

from __future__ import annotations

import contextlib
import functools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

from subspan.canonical import canonical_json
from subspan.errors import invalid, whole
from subspan.metrics import parse
from subspan.problems.base import AbstractProblem
from subspan.subspaces.base import Method
from subspan.training.outcome import Outcome
from subspan.trials import asked, interruption
from subspan.trials.deadline import Deadline
from subspan.trials.dispatch import Dispatch
from subspan.trials.executors.base import Executor, Shared, one_thread
from subspan.trials.executors.forked import Workers, available_cores
from subspan.trials.executors.inline import Inline
from subspan.trials.executors.registry import make_executor
from subspan.trials.failures import MAX_FAILURES, Failures, TrialsFailed
from subspan.trials.function import FunctionTrainable
from subspan.trials.leases import Leases
from subspan.trials.prepared import Prepared
from subspan.trials.problem_trainable import ProblemTrainable, ensemble_size
from subspan.trials.progress import Ended, Known, Notice, Progress, Round, shown
from subspan.trials.provenance import environment
from subspan.trials.rota import Rota
from subspan.trials.stores.base import RecordStore
from subspan.trials.stores.registry import open_store
from subspan.trials.trainable import Pair, Spec, Trainable, Work
from subspan.trials.trial import TrialRecord
from subspan.trials.uncollected import uncollected

__all__ = ["MAX_FAILURES", "Progress", "Subject", "TrialRunner", "TrialsFailed", "check_problem"]

Subject = AbstractProblem | FunctionTrainable
"""What is trained: a problem, with a method, or a user's own function."""

_TICK = 1.0  # seconds between looks at the clock and at what others have done
_TOGETHER = 0.05  # seconds within which records are stored as one: a disk takes milliseconds for it


class TrialRunner:
    """Runs trials of one problem or function and keeps their records. A context manager.

    On a CPU, trials run in worker processes with one thread each; on a GPU, in this process, as
    one batched program. A record is durable in the store before it is reported. Several processes
    that run the same trials on one store share them.

    Args:
        problem: what to train.
        store: a store, a path, a URL, or None for memory.
        workers: number of processes; None takes one per core. 1 runs in this process.
        progress: called as trials are done; True for a bar, in a notebook too.
        executor: `"inline"`, `"processes"`, `"forked"`, `"spawned"`, an `Executor`, or anything
            with `submit(function, *arguments) -> Future`; None chooses between the first two.
        max_failures: how many trials may fail before the sweep stops.
        trial_timeout: seconds after which a trial counts as hung: its worker is ended, the trial
            tried once more, and recorded as failed. None: a generous multiple of what trials took.

    Raises:
        InputError: `workers` is below 1, the executor is unknown, or it cannot end a trial.
        StoreError: the store cannot be opened.
    """

    def __init__(
        self,
        problem: Subject,
        *,
        store: RecordStore | str | Path | None = None,
        workers: int | None = None,
        progress: Progress | bool | None = None,
        executor: Any = None,
        max_failures: int = MAX_FAILURES,
        trial_timeout: float | None = None,
    ) -> None:
        check_problem(problem)
        if workers is not None and (not isinstance(workers, int) or workers < 1):
            raise invalid("workers", expected="an integer, 1 or more", got=repr(workers))
        self.problem = problem
        self._on_cpu = problem.device.type == "cpu"
        self._timeout = Deadline(trial_timeout).seconds
        self._executor: Executor = make_executor(
            executor, workers, on_cpu=self._on_cpu, ends=self._timeout is not None
        )
        self._asked_workers = workers if isinstance(self._executor, Workers) else None
        self._failures = Failures(max_failures)
        self._deadlines: dict[tuple[int, str], Deadline] = {}  # by trainable and spec
        environment(problem.device)  # found once, before workers are forked
        self._stack = contextlib.ExitStack()
        self._listens = bool(progress)
        self._progress = self._stack.enter_context(shown(progress))
        self.store = self._stack.enter_context(open_store(store))
        self._leases = Leases(self.store)
        self._trainables: list[Trainable] = []
        self._shared: dict[int, Shared] = {}  # by place in the list above
        self._prepared = Prepared(problem) if isinstance(problem, AbstractProblem) else None
        self._expected = 0

    @property
    def width(self) -> int:
        """How many trials the machine advances at once: workers × ensemble size."""
        return self._executor.workers * self._together

    @functools.cached_property
    def _together(self) -> int:
        return 1 if isinstance(self.problem, FunctionTrainable) else ensemble_size(self.problem)

    def run(
        self, method: Method | None, plan: Sequence[Pair], *, spec: Any, seed: int
    ) -> list[TrialRecord]:
        """Return the records of the planned (dim, repeat) pairs, in order.

        Those in the store are read; the others, and those that failed, are run and stored first,
        by this process or by another that is at work on them.

        Args:
            method: how to choose subspaces; None for a function.
            plan: training dimensions, 0 for no training, and repeats.
            spec: a `TrainSpec`; a `LoopSpec` for a function.
            seed: any integer.

        Raises:
            InputError: a dimension is out of range, or the spec does not fit the problem.
            TrialsFailed: more trials raised than are allowed.
        """
        return self.run_each(method, [(pair, spec) for pair in plan], seed=seed)

    def run_each(
        self, method: Method | None, plan: Sequence[tuple[Pair, Any]], *, seed: int
    ) -> list[TrialRecord]:
        """Return the records of planned trials that have each a spec of its own, as `run` does.

        Args:
            method: how to choose subspaces; None for a function.
            plan: (dim, repeat) pairs, each with its spec.
            seed: any integer.

        Raises:
            InputError: as `run`.
            TrialsFailed: as `run`.
        """
        seed = whole("seed", seed)
        if not -(2**63) <= seed < 2**63:
            raise invalid("seed", expected="an integer of at most 63 bits", got=seed)
        place = self._place(method)
        trainable = self._trainables[place]
        for (_, repeat), _ in plan:
            if not isinstance(repeat, int) or repeat < 0:
                raise invalid("repeat", expected="an integer, 0 or more", got=repr(repeat))
        with uncollected():
            keys = trainable.keys(plan, seed)
            planned = dict(zip(keys, plan, strict=True))
            records = self.store.get(list(planned))
            failed, missing = dict[str, TrialRecord](), dict[str, tuple[Pair, Any]]()
            for key, work in planned.items():
                record = records.get(key)
                if record is None:
                    missing[key] = work
                elif record.outcome is Outcome.FAILED:
                    failed[key], missing[key] = records.pop(key), work
        if records:
            self._progress(len(records), len(planned), "found in the store")
        if missing:
            asked.begin(self.store)
        notice = lambda text: self._progress(len(records), len(planned), Notice(text))  # noqa: E731
        self._tell_of_workers(len(missing), notice)
        if missing:
            self._prepare(list(missing.values()), records.values(), notice)
        rota = Rota(self.store, self._leases, missing, failed, notice)
        for answer in self._train(place, list(missing.values()), seed, rota):
            for record in answer:
                records[record.key] = record
                self._progress(len(records), len(planned), _told(record))
            self._failures.count(answer)
        return [records[key] for key in keys]

    def _tell_of_workers(self, trials: int, notice: Callable[[str], None]) -> None:
        """Say once, before the work, that more processes were asked for than serve."""
        asked, cores = self._asked_workers, available_cores()
        if not trials or asked is None:
            return
        self._asked_workers = None
        if asked > trials:
            notice(f"{asked:,} workers for {trials:,} trials: at most {trials:,} are started.")
        elif asked > cores:
            notice(f"{asked:,} workers on {cores:,} cores, which they share: each is slower.")

    def expect(self, trials: int) -> None:
        """Say how many full trainings are to come at least, before the first: compiling is held
        against them."""
        self._expected = trials

    def _prepare(
        self, works: Sequence[Work], known: Iterable[TrialRecord], notice: Callable[[str], None]
    ) -> None:
        """Tell what decides whether gradients are compiled, where that is allowed."""
        prepared, spec = self._prepared, works[0][1]
        if prepared is None or not spec.compile:
            return
        prepared.go_on_from(known)
        if prepared.undecided(spec):
            notice("compile: measured first, and done where it pays, which may take minutes.")
            prepared.expect(max(len(works), self._expected) / self._executor.workers)

    def announce(self, known: Callable[[], Known]) -> None:
        """Tell who listens, if anybody does, that a round begins and what is known by then."""
        if self._listens:
            what = known()
            self._progress(0, len(what.asked), Round(what))

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
        self._trainables.append(ProblemTrainable(self.problem, method, self._prepared))
        return len(self._trainables) - 1

    def _train(
        self, place: int, works: Sequence[Work], seed: int, rota: Rota
    ) -> Iterator[list[TrialRecord]]:
        """Yield the records of trials as they come, durable in the store."""
        if not works:
            return
        trainable, executor = self._trainables[place], self._executor
        waiting = deque(_split(trainable, works, executor.workers))
        alone = executor.workers == 1 or len(waiting) == 1
        if alone and not executor.started and self._timeout is None:
            executor = Inline()
        share = self._share(place, waiting, executor)
        dispatch = Dispatch(trainable, share, executor, seed, partial(self._deadline, place))
        here = isinstance(executor, Inline) and self._on_cpu
        made: list[TrialRecord] = []
        due = 0.0  # when they are to be stored
        try:
            while waiting or dispatch.busy or rota.elsewhere or made:
                interruption.look()
                while waiting and not dispatch.full:
                    pairs, spec = waiting.popleft()
                    mine, found = rota.take((pair, spec) for pair in pairs)
                    if mine:
                        dispatch.submit([pair for pair, _ in mine], spec)
                    if found:
                        yield found
                if dispatch.busy:
                    patience = max(0.0, due - time.monotonic()) if made else _TICK
                    with one_thread() if here else contextlib.nullcontext():
                        made += dispatch.wait(patience)
                if made and (
                    time.monotonic() >= due
                    or not (waiting or dispatch.busy)
                    or any(record.outcome is Outcome.FAILED for record in made)
                ):
                    stored, made = made, []
                    yield self._stored(stored)
                    due = time.monotonic() + _TOGETHER
                if rota.elsewhere:
                    mine, found = rota.look(wait=not (dispatch.busy or waiting))
                    if mine:
                        waiting.extend(_split(trainable, mine, executor.workers))
                    if found:
                        yield found
        except BaseException:
            if made:
                self._stored(made)
            self._end()  # other workers are still at work that nobody waits for
            raise

    def _deadline(self, place: int, spec: Spec) -> Deadline:
        """Return the deadline of a trainable's trials; the learning rate does not change it."""
        chosen = ("lr", "lr_choice")
        how = canonical_json({k: v for k, v in spec.to_json().items() if k not in chosen})
        return self._deadlines.setdefault((place, how), Deadline(self._timeout))

    def _share(
        self, place: int, pieces: Sequence[tuple[Sequence[Pair], Spec]], executor: Executor
    ) -> Shared:
        """Make a trainable known to the workers, once."""
        trainable = self._trainables[place]
        if isinstance(executor, Inline):
            return lambda: trainable
        if place not in self._shared:
            trainable.warm_up([piece for piece, _ in pieces], pieces[0][1])
            self._shared[place] = executor.share(trainable)
        return self._shared[place]

    def _stored(self, records: list[TrialRecord]) -> list[TrialRecord]:
        self.store.add_all(records)
        self._leases.stored(record.key for record in records)
        return records

    def _end(self) -> None:
        self._executor.close()
        self._shared.clear()
        self._leases.close()


def _split(
    trainable: Trainable, works: Sequence[Work], workers: int
) -> list[tuple[list[Pair], Spec]]:
    """Return pieces of work of one spec each, specs in the order of first sight."""
    groups: dict[Spec, list[Pair]] = {}
    for pair, spec in works:
        groups.setdefault(spec, []).append(pair)
    return [
        (list(piece), spec)
        for spec, pairs in groups.items()
        for piece in trainable.split(pairs, workers)
    ]


def _told(record: TrialRecord) -> Ended:
    """Say in a few words what came of a trial."""
    if record.reason:
        said = record.reason
    elif "train:loss" in record.metrics or not record.metrics:
        said = f"loss {record.best_train_loss:.4g}"
    else:
        name = record.metrics[0]
        said = f"{name} {record.final(*parse(name)):.4g}"
    return Ended(f"d={record.dim} {record.outcome}: {said}", record.dim)


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
