"""`threshold`: measure the threshold training dimension d*, choosing the trials itself."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from subspan.errors import invalid
from subspan.goals import Goal, parse_goal
from subspan.problems.base import AbstractProblem
from subspan.spec import TrainSpec
from subspan.subspaces.base import Method
from subspan.success import noted
from subspan.success.budget import twice_the_steps, with_budget
from subspan.success.design import ThresholdDesign
from subspan.success.estimate import ThresholdEstimate, estimate_from_counts, with_records
from subspan.success.joint_design import JointDesign
from subspan.success.joint_threshold import NARROW, Runner, measure_jointly
from subspan.success.noisy import with_noise
from subspan.success.records import experiment, may_need_none, refuse_missing_metric
from subspan.success.response import LearningRate
from subspan.success.rounds import announce
from subspan.success.what_to_train import has_no_lr, plan_of
from subspan.trials.asked import resumable
from subspan.trials.cost import trainings
from subspan.trials.failures import refuse_hopeless
from subspan.trials.function import LoopSpec
from subspan.trials.run import method_of
from subspan.trials.runner import MAX_FAILURES, Progress, Subject, TrialRunner, check_problem
from subspan.trials.stores.base import RecordStore
from subspan.trials.trial import TrialRecord

__all__ = ["ThresholdEstimate", "threshold"]

WIDTH = 8  # trials per round of the binary design
_TRAININGS = 10  # in full, that a measurement takes at least, roughly

Design = Literal["joint", "binary"]


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
    max_trials: int | None = None,
    width: int | None = None,
    design: Design | None = None,
    lr_range: tuple[float, float] | None = None,
    check_budget: bool = False,
    progress: Progress | bool | None = None,
    runner: Runner | None = None,
    executor: Any = None,
    max_failures: int = MAX_FAILURES,
    trial_timeout: float | None = None,
) -> ThresholdEstimate:
    """Measure d*, the smallest d at which training in a d-dimensional subspace reaches a goal.

    Runs rounds of trials where they tell most about d*, and stops as soon as the interval is narrow
    enough. The outcome depends on the arguments alone, so that the same call on a store that holds
    part of its trials goes on where the other was cut off.

    Unless a learning rate is given, d* is that *at the best learning rate*, which is found by the
    same trials: each is trained at a (d, lr) of its own, and how good it got, not only whether it
    met the goal, tells about one surface over both (`JointDesign`). Trials end well above the goal.
    At a learning rate that is given, trials end at the goal and their successes are counted
    (`ThresholdDesign`). A trial that diverges has what it reached before; one that fails is a miss.
    Where a function reports several evaluations of a noisy metric, the goal is on their mean and
    the interval holds their noise: by counts as of `noisy_threshold`, over d and learning rate as
    part of the noise with which each trial is seen.

    Args:
        problem: what is trained: a problem, or a function made `trainable`.
        method: how the subspace is chosen, or its text, e.g. `"burn-in:64"`; None for a function.
        goal: what counts as success, or its text.
        spec: how θ is trained; the problem's default, at the best lr, if None. `lr="auto"` searches
            the learning rate, a number fixes it. Its `stop_at` is set.
        delta: d* is where the success probability reaches 1 − δ.
        confidence: of the interval.
        seed: of every draw. Each trial has its own repeat index, hence an independent
            initialisation and map.
        store: where trials are looked up and kept; None keeps them in memory.
        workers: processes; None lets the executor choose.
        min_dim: smallest dim to try.
        max_dim: largest dim to try; D if None.
        ratio: stop when high/low of the interval is at most this.
        max_trials: stop, as "not converged", after so many trials; None: 1,000 of the binary
            design, 100 of the joint one.
        width: trials per round, fixed so that a measurement is the same on every machine; None: 8
            of the binary design, 2 of the joint one.
        design: `"joint"` or `"binary"`; None: joint where the learning rate is searched. Binary
            where there is none (`exact`, `lbfgs`, `levenberg_marquardt`) or the goal's metric has
            no range to measure distances in; the estimate's `note` then says so.
        lr_range: the (low, high) that a learning rate is searched in; None: a range that fits the
            problem and the optimiser, or that a function declares.
        check_budget: measure again with twice the steps, and say whether d* moves by more than its
            interval.
        progress: called with (done, planned, message), once a round and trial; True for a bar, in
            a notebook too.
        runner: an open `TrialRunner` of the same problem, to share its store and workers
            (`store`, `workers` and `progress` are then its own); one is made if None.
        executor: where trials run, as for `run`.
        max_failures: how many trials may fail before the sweep stops.
        trial_timeout: seconds after which a trial counts as hung, as for `run`.

    Returns:
        d* with its interval, status, counts and records; see `ThresholdEstimate`.

    Raises:
        InputError: an argument is out of range, or the goal does not parse.
        TrialsFailed: more trials failed than are allowed, or a whole round.
    """
    if goal is None and isinstance(method, str) and any(sign in method for sign in "<>"):
        raise invalid(
            "goal", expected="a goal by name", got=repr(method), remedy=f"Write goal={method!r}."
        )
    if not hasattr(problem, "ambient_dim"):
        check_problem(problem)
    wanted = parse_goal(goal)  # type: ignore[arg-type]
    if isinstance(problem, AbstractProblem):
        problem.check_metric(wanted.metric)
    last = problem.ambient_dim if max_dim is None else max_dim
    if last > problem.ambient_dim:
        raise invalid("max_dim", expected=f"at most D = {problem.ambient_dim}", got=repr(last))
    if width is not None and width < 1:
        raise invalid("width", expected="a positive integer", got=repr(width))
    plan = plan_of(problem, spec, wanted, design, lr_range)
    way = method_of(problem, method)
    options: dict[str, Any] = {
        "min_dim": min_dim,
        "delta": delta,
        "confidence": confidence,
        "ratio": ratio,
        **({} if max_trials is None else {"max_trials": max_trials}),
    }
    with contextlib.ExitStack() as stack:
        trials: Runner = runner or stack.enter_context(
            TrialRunner(
                problem,
                store=store,
                workers=workers,
                progress=progress,
                executor=executor,
                max_failures=max_failures,
                trial_timeout=trial_timeout,
            )
        )

        if isinstance(trials, TrialRunner):
            trials.expect(_TRAININGS)

        def measured(chosen: TrainSpec | LoopSpec) -> ThresholdEstimate:
            if plan.lr is None:
                binary = ThresholdDesign(last, **options)
                found = _count(problem, trials, way, wanted, binary, chosen, seed, width or WIDTH)
            else:
                assert plan.scale is not None
                joint = JointDesign(plan.scale, plan.lr, last, **options)
                found = measure_jointly(
                    problem, trials, way, wanted, joint, chosen, seed=seed, width=width or NARROW
                )
            return kept(dataclasses.replace(found, note=plan.note))

        def kept(found: ThresholdEstimate) -> ThresholdEstimate:
            if isinstance(trials, TrialRunner):
                noted.note(trials.store, found)
            return found

        found = measured(plan.spec)
        if not check_budget:
            return found
        return kept(with_budget(found, measured(twice_the_steps(plan.spec))))


def _count(
    problem: Subject,
    trials: Runner,
    way: Method | None,
    goal: Goal,
    design: ThresholdDesign,
    spec: TrainSpec | LoopSpec,
    seed: int,
    width: int,
) -> ThresholdEstimate:
    """Measure d* at a learning rate that is given, from successes and failures."""
    chosen = spec.replace(stop_at=goal)
    records: list[TrialRecord] = []
    design.cost = lambda dim, success: prices[success]
    rounds = 0
    while not design.done:
        prices = _prices(records, goal)
        dims = design.ask(min(width, design.max_trials - design.trials))
        rounds += 1
        spent = partial(trainings, problem, chosen, records)
        announce(trials, design, rounds, spent, [(dim, None) for dim in dims])
        plan = [(dim, len(records) + i) for i, dim in enumerate(dims)]
        done = trials.run(way, plan, spec=chosen, seed=seed)
        refuse_hopeless(done)
        refuse_missing_metric(done, goal)
        for record in done:
            design.tell(record.dim, record.meets(goal) is True)  # one that failed: a miss
        records.extend(done)
    if design.counts and may_need_none(design.counts, design.span.delta):
        plan = [(0, len(records) + i) for i in range(width)]
        records.extend(trials.run(way, plan, spec=chosen, seed=seed))
    fitted = estimate_from_counts(
        design.counts,
        goal,
        design.span,
        ambient_dim=problem.ambient_dim,
        confidence=design.confidence,
        ratio=design.ratio,
    )
    lr = None if has_no_lr(chosen) else chosen.number_lr
    return dataclasses.replace(
        with_noise(with_records(fitted, records, experiment(records)), design.ratio),
        trainings=trainings(problem, chosen, records),
        learning_rate=None if lr is None else LearningRate(lr),
    )


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
