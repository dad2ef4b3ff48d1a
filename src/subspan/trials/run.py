"""`run`: a grid of trials, dimensions × repeats."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from subspan.errors import invalid, whole
from subspan.goals import Goal
from subspan.spec import TrainSpec
from subspan.subspaces.base import Method
from subspan.subspaces.registry import parse_method
from subspan.trials.asked import resumable
from subspan.trials.function import FunctionTrainable, LoopSpec
from subspan.trials.pilots import specs_at
from subspan.trials.runner import MAX_FAILURES, Progress, Subject, TrialRunner, check_problem
from subspan.trials.stores.base import RecordStore
from subspan.trials.trial import TrialRecord
from subspan.trials.uncollected import uncollected

MOST_TRIALS = 1_000_000


@resumable
def run(
    problem: Subject,
    method: Method | str | None = None,
    dims: Sequence[int] = (),
    repeats: int = 10,
    spec: TrainSpec | LoopSpec | None = None,
    seed: int = 0,
    store: RecordStore | str | Path | None = None,
    *,
    goal: Goal | str | None = None,
    workers: int | None = None,
    progress: Progress | bool | None = None,
    executor: Any = None,
    max_failures: int = MAX_FAILURES,
    trial_timeout: float | None = None,
) -> list[TrialRecord]:
    """Train `repeats` trials at each dimension, and keep their records.

    The same call again continues where it was cut off and repeats nothing. Repeat r has the same
    initial weights and order of batches at every dimension, and for every method.

    Args:
        problem: what to train: a problem, or a function made `trainable`.
        method: how to choose subspaces, or its text, e.g. `"burn-in:64"`; None for a function.
        dims: training dimensions, each in 0 … D; at 0 nothing is trained.
        repeats: trials at each dimension.
        spec: how to train; None takes `problem.default_spec`. At `lr="auto"` each dim has the
            learning rate that serves `goal` best: about ten pilot trials, of a seed of their own
            and in the store as what they are, choose it before the others are trained. How, stands
            in each record's `trial.spec["lr_choice"]`.
        seed: any integer; all randomness derives from it.
        store: a path, a database's URL, a `Store`, or None for memory.
        goal: what the learning rate is to serve; None: the goal that `spec` stops at, or the
            training loss at the end. Without meaning where `spec` has a number.
        workers: processes, one thread each; None takes one per core. On a GPU, none are used; on
            several, one for each where the problem is on `"cuda"`.
        progress: called with (done, planned, message); True for a bar, in a notebook too.
        executor: where trials run: `"inline"`, `"processes"`, or anything with
            `submit(function, *arguments) -> Future`, such as Dask's `client.get_executor()`; None:
            processes on a CPU, this one on a GPU.
        max_failures: how many trials may fail before the sweep stops. One that raises, or kills
            its worker, is a record of that, and the others go on.
        trial_timeout: seconds after which a trial counts as hung: its worker is ended, the trial
            tried once more, and recorded as failed. None: a generous multiple of what trials took.

    Returns:
        Records ordered by dims as given, then repeats.

    Raises:
        InputError: an argument is out of range.
        StoreError: the store cannot be used.
        TrialsFailed: more trials failed than are allowed.
    """
    repeats = whole("repeats", repeats, low=1)
    if not isinstance(dims, Iterable):
        raise invalid("dims", expected="a list of integers", got=repr(dims), remedy="Use [8].")
    wanted = list(dict.fromkeys(whole("dims", d) for d in dims))  # a dim named twice is one dim
    if not wanted:
        raise invalid("dims", expected="at least one training dimension", got="none")
    check_count(len(wanted), repeats)
    plan = [(dim, repeat) for dim in wanted for repeat in range(repeats)]
    check_problem(problem)
    way = method_of(problem, method)
    with TrialRunner(
        problem,
        store=store,
        workers=workers,
        progress=progress,
        executor=executor,
        max_failures=max_failures,
        trial_timeout=trial_timeout,
    ) as runner:
        runner.expect(len(plan))
        specs = specs_at(runner, way, wanted, spec or problem.default_spec, seed=seed, goal=goal)
        with uncollected():
            works = [(pair, specs[pair[0]]) for pair in plan]
        return runner.run_each(way, works, seed=seed)


def check_count(plans: int, repeats: int) -> None:
    """Refuse a grid of so many trials that their list alone fills the memory.

    Raises:
        InputError: more than `MOST_TRIALS`.
    """
    if plans * repeats > MOST_TRIALS:
        raise invalid(
            "repeats",
            expected=f"at most {MOST_TRIALS:,} trials in one call",
            got=f"{repeats:,} repeats of {plans:,}",
            remedy="Give fewer repeats, or other seeds in calls of their own.",
        )


def method_of(problem: Subject, method: Method | str | None) -> Method | None:
    """Return the method for a problem, and None for a function.

    Raises:
        InputError: a problem without a method, a function with one.
    """
    if isinstance(problem, FunctionTrainable):
        if method is not None:
            raise invalid(
                "method",
                expected="none for a function, which chooses its own subspace",
                got=repr(method),
            )
        return None
    if method is None:
        raise invalid("method", expected="a method", got="none", remedy='"random" is one.')
    return parse_method(method)
