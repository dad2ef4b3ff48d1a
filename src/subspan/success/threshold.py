"""`threshold`: measure the threshold training dimension d*, choosing the trials itself."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from subspan.errors import invalid
from subspan.goals import Goal, parse_goal
from subspan.problems.base import AbstractProblem
from subspan.spec import TrainSpec
from subspan.subspaces.base import Method
from subspan.success.design import ThresholdDesign
from subspan.success.estimate import ThresholdEstimate, estimate_from_counts, with_records
from subspan.success.records import experiment, may_need_none, refuse_missing_metric
from subspan.training.outcome import Outcome
from subspan.trials.asked import resumable
from subspan.trials.function import LoopSpec
from subspan.trials.run import method_of
from subspan.trials.runner import MAX_FAILURES, Progress, Subject, TrialRunner, check_problem
from subspan.trials.stores.base import RecordStore
from subspan.trials.trial import TrialRecord

__all__ = ["ThresholdEstimate", "threshold"]

WIDTH = 8  # trials per round: fixed, so that a measurement is the same on every machine
MAX_TRIALS = 200


class Runner(Protocol):
    """Runs a plan of trials and returns their records in order; `TrialRunner` is one."""

    def run(
        self, method: Method | None, plan: Sequence[tuple[int, int]], *, spec: Any, seed: int
    ) -> Sequence[TrialRecord]:
        """Run each (dim, repeat) of the plan, or look it up in the store."""


@resumable
def threshold(
    problem: Subject,
    method: Method | str | None = None,
    goal: Goal | str | None = None,
    *,
    spec: TrainSpec | LoopSpec | None = None,
    delta: float = 0.1,
    confidence: float = 0.95,
    seed: int = 0,
    store: RecordStore | str | Path | None = None,
    workers: int | None = None,
    min_dim: int = 1,
    max_dim: int | None = None,
    ratio: float = 1.5,
    max_trials: int = MAX_TRIALS,
    width: int = WIDTH,
    progress: Progress | None = None,
    runner: Runner | None = None,
    executor: Any = None,
    max_failures: int = MAX_FAILURES,
) -> ThresholdEstimate:
    """Measure d*, the smallest d at which training in a d-dimensional subspace reaches a goal.

    Runs rounds of trials at the dims that tell most about d* per training step, and stops as
    soon as the interval is narrow enough. Trials end when they meet the goal; a trial that
    diverges before is a failure. The outcome depends on the arguments alone, so that the same
    call on a store that holds part of its trials goes on where the other was cut off.

    Args:
        problem: what is trained: a problem, or a function made `trainable`.
        method: how the subspace is chosen, or its text, e.g. `"burn-in:64"`; None for a function.
        goal: what counts as success, or its text.
        spec: how θ is trained; the problem's default if None. Its `stop_at` is set to the goal.
        delta: d* is where the success probability reaches 1 − δ.
        confidence: of the interval.
        seed: of every draw. Each trial has its own repeat index, hence an independent
            initialisation and map.
        store: where trials are looked up and kept; None keeps them in memory.
        workers: processes; None lets the executor choose.
        min_dim: smallest dim to try.
        max_dim: largest dim to try; D if None.
        ratio: stop when high/low of the interval is at most this.
        max_trials: stop, as "not converged", after so many trials.
        width: trials per round.
        progress: called with (done, planned, message), once a round and trial.
        runner: an open `TrialRunner` of the same problem, to share its store and workers
            (`store`, `workers` and `progress` are then its own); one is made if None.

    Returns:
        d* with its interval, status, counts and records; see `ThresholdEstimate`.

    Raises:
        InputError: an argument is out of range, or the goal does not parse.
    """
    if not hasattr(problem, "ambient_dim"):
        check_problem(problem)
    wanted = parse_goal(goal)  # type: ignore[arg-type]
    if isinstance(problem, AbstractProblem):
        problem.check_metric(wanted.metric)
    last = problem.ambient_dim if max_dim is None else max_dim
    if last > problem.ambient_dim:
        raise invalid("max_dim", expected=f"at most D = {problem.ambient_dim}", got=repr(last))
    if width < 1:
        raise invalid("width", expected="a positive integer", got=repr(width))
    chosen = (spec or problem.default_spec).replace(stop_at=wanted)
    way = method_of(problem, method)
    records: list[TrialRecord] = []
    design = ThresholdDesign(
        last,
        min_dim=min_dim,
        delta=delta,
        confidence=confidence,
        ratio=ratio,
        max_trials=max_trials,
        cost=lambda dim, success: prices[success],
    )
    with contextlib.ExitStack() as stack:
        trials: Runner = runner or stack.enter_context(
            TrialRunner(
                problem,
                store=store,
                workers=workers,
                progress=progress,
                executor=executor,
                max_failures=max_failures,
            )
        )
        while not design.done:
            prices = _prices(records, wanted)
            dims = design.ask(min(width, max_trials - design.trials))
            plan = [(dim, len(records) + i) for i, dim in enumerate(dims)]
            done = trials.run(way, plan, spec=chosen, seed=seed)
            refuse_missing_metric(done, wanted)
            for record in done:
                if record.outcome is not Outcome.FAILED:  # which tells nothing about d
                    design.tell(record.dim, record.meets(wanted) is True)
            records.extend(done)
        if design.counts and may_need_none(design.counts, delta):
            plan = [(0, len(records) + i) for i in range(width)]
            records.extend(trials.run(way, plan, spec=chosen, seed=seed))
    fitted = estimate_from_counts(
        design.counts,
        wanted,
        design.span,
        ambient_dim=problem.ambient_dim,
        confidence=confidence,
        ratio=ratio,
    )
    return with_records(fitted, records, experiment(records))


def _prices(records: Sequence[TrialRecord], goal: Goal) -> dict[bool, float]:
    """Return the mean steps of a trial by outcome; until seen, a success costs half a failure."""
    steps: dict[bool, list[int]] = {False: [], True: []}
    for record in records:
        steps[record.meets(goal) is True].append(record.steps + record.search_steps)
    seen = {won: sum(s) / len(s) for won, s in steps.items() if s}
    failure = seen.get(False, 2 * seen.get(True, 0.5))
    success = seen.get(True, failure / 2)
    dearest = max(failure, success)
    if dearest <= 0:  # no optimiser steps at all: every trial costs the same
        return {False: 1.0, True: 1.0}
    return {False: max(failure, 0.02 * dearest), True: max(success, 0.02 * dearest)}
