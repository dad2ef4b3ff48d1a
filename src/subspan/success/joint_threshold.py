"""`measure_jointly`: d* at the best learning rate, from rounds of trials at a (d, lr) each."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

from subspan.estimate import Estimate
from subspan.goals import Goal, best_for
from subspan.spec import AUTO, TrainSpec
from subspan.subspaces.base import Method
from subspan.success.estimate import ThresholdEstimate, with_records
from subspan.success.joint_design import ENOUGH, JointDesign, TrialOutcome
from subspan.success.joint_estimate import JointEstimate
from subspan.success.noisy import MORE_EVALUATIONS, is_noisy, last_mean
from subspan.success.records import experiment, refuse_missing_metric
from subspan.success.response import LearningRate, Response
from subspan.success.rounds import announce
from subspan.success.worked_out import WorkedOut
from subspan.training.outcome import Outcome
from subspan.trials.cost import trainings
from subspan.trials.failures import refuse_hopeless
from subspan.trials.function import LoopSpec
from subspan.trials.runner import Subject, TrialRunner
from subspan.trials.trial import TrialRecord

NARROW = 2  # trials per round: wider rounds cost more trials (docs/results.md)
_UNTRAINED = 8  # trials at d = 0
_REMEDIES = {
    "above range": "Give more steps or a weaker goal.",
    "not monotone": "Give a max_dim below the fall, or more steps.",
}
_END = {"low": "lower", "high": "upper"}
_OUTCOMES: dict[Outcome, TrialOutcome] = {
    Outcome.FINISHED: "finished",
    Outcome.STOPPED: "stopped",
    Outcome.DIVERGED: "diverged",
    Outcome.FAILED: "diverged",
}


class Runner(Protocol):
    """Runs a plan of trials and returns their records in order; `TrialRunner` is one."""

    def run(
        self, method: Method | None, plan: Sequence[tuple[int, int]], *, spec: Any, seed: int
    ) -> Sequence[TrialRecord]:
        """Run each (dim, repeat) of the plan, or look it up in the store."""

    def run_each(
        self, method: Method | None, plan: Sequence[tuple[tuple[int, int], Any]], *, seed: int
    ) -> Sequence[TrialRecord]:
        """Run each (dim, repeat) with a spec of its own."""


def measure_jointly(
    problem: Subject,
    trials: Runner,
    way: Method | None,
    goal: Goal,
    design: JointDesign,
    spec: TrainSpec | LoopSpec,
    *,
    seed: int,
    width: int,
) -> ThresholdEstimate:
    """Measure d* by what a joint design asks for.

    Args:
        problem: what is trained.
        trials: runs them.
        way: how subspaces are chosen.
        goal: what counts as success.
        design: with nothing told.
        spec: how trials are trained; those at `lr="auto"` get the learning rate asked for.
        seed: of every draw.
        width: trials per round.
    """
    enough = spec.replace(stop_at=goal_at(goal, design.enough))
    records: list[TrialRecord] = []

    def at(lr: float) -> Any:
        return enough.replace(lr=lr) if enough.lr == AUTO else enough

    rounds = 0
    answers = WorkedOut(design, trials.store if isinstance(trials, TrialRunner) else None)
    while asked := answers.next(width):
        rounds += 1
        spent = partial(trainings, problem, spec, records)
        at_lrs = [(a.dim, a.lr) for a in asked]
        announce(trials, design, rounds, spent, at_lrs, answers.estimate)
        plan = [((a.dim, len(records) + i), at(a.lr)) for i, a in enumerate(asked)]
        done = trials.run_each(way, plan, seed=seed)
        refuse_hopeless(done)
        refuse_missing_metric(done, goal)
        for ask, record in zip(asked, done, strict=True):
            tell(design, record, goal, ask.lr)
        records.extend(done)
    found = design.estimate()
    if found.status == "below range" and found.high == 1:
        pairs = [(0, len(records) + i) for i in range(_UNTRAINED)]
        plan = [(pair, at(float(f"{found.lr:.3g}"))) for pair in pairs]
        records.extend(trials.run_each(way, plan, seed=seed))
    return jointly_estimated(
        design, found, goal, records, problem.ambient_dim, trainings(problem, spec, records)
    )


def goal_at(goal: Goal, level: float) -> Goal:
    """Return the same goal at another level, of six digits."""
    return dataclasses.replace(goal, level=float(f"{level:.6g}"))


def tell(design: JointDesign, record: TrialRecord, goal: Goal, lr: float) -> None:
    """Tell a design how good a trial got; one that failed got nowhere: a miss.

    Of one that was evaluated on its way and got beyond `design.enough` it is told no more than
    that. How far beyond is the step between two evaluations, tenfold in a loss that falls fast:
    taken as scatter it doubles the noise at the level, and the trials.

    Of several evaluations it is told the last mean, with its error: the best of several means is
    better than it is by luck.
    """
    values = record.values(goal.metric, goal.split)
    best, error = best_for(goal, values), 0.0
    if is_noisy([record], goal):
        best, error = last_mean(record, goal)
    on_its_way = record.outcome is Outcome.STOPPED or len(values) > 1
    if on_its_way and best is not None and design.scale.distance(best) > ENOUGH:
        design.tell(record.dim, lr, design.enough, "stopped", error=error)
    else:
        design.tell(record.dim, lr, best, _OUTCOMES[record.outcome], error=error)


def jointly_estimated(
    design: JointDesign,
    found: JointEstimate,
    goal: Goal,
    records: Sequence[TrialRecord],
    ambient_dim: int,
    cost: float | None,
) -> ThresholdEstimate:
    """Return what a joint design found as a `ThresholdEstimate`."""
    fixed = design.lr.low == design.lr.high
    fallen = found.status == "not monotone"
    value, low, high = (None,) * 3 if fallen else (found.value, found.low, found.high)
    shown = ThresholdEstimate(
        Estimate(value, low, high, found.confidence, found.trials, found.status),
        goal,
        design.span,
        tuple(design.near_counts()),
        ambient_dim,
        seen=_seen(design, found),
        level=found.level,
        design="joint",
        trainings=cost,
        learning_rate=LearningRate(found.lr)
        if fixed
        else LearningRate(found.lr, found.lr_low, found.lr_high, found.lr_at_edge),
        response=Response(design.scale, design.lr, design.told, design.posterior),
        advice=_advice(design, found),
        most_ratio=design.ratio,
    )
    return with_records(shown, records, experiment(records, lr=None if fixed else AUTO))


def _seen(design: JointDesign, found: JointEstimate) -> str:
    """Say what was seen, where the status is not "ok" or the learning rate is at an edge."""
    said = []
    if found.status in ("above range", "below range"):
        beyond = found.status == "above range"
        dim = design.span.max_dim if beyond else design.span.min_dim
        won, total = design.at_end(dim)
        said.append(
            f"{won} of {total} trials near d = {dim:,} and the best learning rate met the goal."
        )
    elif found.status in ("never reaches", "not converged") and design.lost()[0]:
        lost, of = design.lost()
        delta = 100 * design.span.delta
        means = (
            f"success levels off below {100 - delta:g} %"
            if found.level is not None
            else f"it takes more trials to say that fewer than {delta:g} % do"
        )
        said.append(f"{lost} of {of} trials got nowhere where others do, whatever d is; {means}.")
    elif found.status == "not monotone":
        said.append(design.seen_fall())
    if found.lr_at_edge is not None and design.lr.low < design.lr.high:
        low, high = _ends(design, found)
        said.append(
            f"The best learning rate lies at the {_END[found.lr_at_edge]} end of those searched, "
            f"{low:.2g} to {high:.2g} at that d: beyond it d* may be smaller."
        )
    return " ".join(said)


def _advice(design: JointDesign, found: JointEstimate) -> str:
    """Say what to do, where the status alone does not."""
    said = [_REMEDIES[found.status]] if found.status in _REMEDIES else []
    if found.status == "not converged" and any(row.error for row in design.told):
        said.append(MORE_EVALUATIONS)
    if found.lr_at_edge is not None and design.lr.low < design.lr.high:
        low, high = _ends(design, found)
        if found.lr_at_edge == "high":
            low, high = math.sqrt(low * high), high * 30
        else:
            low, high = low / 30, math.sqrt(low * high)
        said.append(f"Search on: lr_range=({low:.1g}, {high:.1g}).")
    return " ".join(said)


def _ends(design: JointDesign, found: JointEstimate) -> tuple[float, float]:
    """Return the ends of the learning rates searched at d*."""
    unit = design.lr.unit(design.span.max_dim if found.value is None else found.value)
    return design.lr.low * unit, design.lr.high * unit
