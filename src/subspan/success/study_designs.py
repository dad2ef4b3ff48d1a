"""The designs of a `ThresholdStudy`: by counts at one learning rate, or joint over d and lr."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from subspan.goals import Goal
from subspan.success.design import ThresholdDesign
from subspan.success.estimate import ThresholdEstimate, estimate_from_counts, with_records
from subspan.success.graded import Scale
from subspan.success.joint_design import Ask, JointDesign
from subspan.success.joint_threshold import jointly_estimated, tell
from subspan.success.noisy import with_noise
from subspan.success.records import experiment, may_need_none
from subspan.trials.cost import trainings
from subspan.trials.function import LoopSpec
from subspan.trials.lr_scale import LrScale
from subspan.trials.trial import TrialRecord

Place = tuple[int, float | None]
"""A dim and a learning rate; None where that is the trainer's own affair."""


class StudyDesign(Protocol):
    """What to train next, given what was told."""

    @property
    def trials(self) -> int:
        """Number of trials told, those at d = 0 apart."""

    @property
    def max_trials(self) -> int:
        """After so many it is done."""

    @property
    def done(self) -> bool:
        """Whether d* is known well enough, lies outside the range, or trials are up."""

    @property
    def untrained(self) -> Place | None:
        """Where to learn whether training is needed at all, if that is open."""

    def next(self, under_way: Sequence[Place]) -> Place:
        """Return the next trial, those under way reckoned with."""

    def estimate(self) -> ThresholdEstimate:
        """Return what is known; at least one trial was told."""


class CountingDesign:
    """By successes and failures, at one learning rate.

    Args:
        goal: what counts as success.
        max_dim: largest d.
        lr: passed on.
        told: records, in any order.
        options: of `ThresholdDesign`.
    """

    def __init__(
        self,
        goal: Goal,
        max_dim: int,
        lr: float | None,
        told: Sequence[TrialRecord],
        options: Mapping[str, Any],
    ) -> None:
        self._goal, self._lr, self._told, self._max_dim = goal, lr, told, max_dim
        self._design = ThresholdDesign(max_dim, **options)
        for record in told:
            if record.dim:
                self._design.tell(record.dim, record.meets(goal) is True)

    @property
    def trials(self) -> int:
        """Number of trials told, those at d = 0 apart."""
        return self._design.trials

    @property
    def max_trials(self) -> int:
        """After so many it is done."""
        return self._design.max_trials

    @property
    def done(self) -> bool:
        """Whether d* is known well enough, lies outside the range, or trials are up."""
        return self._design.done

    @property
    def untrained(self) -> Place | None:
        """d = 0, where trials meet the goal at d = 1."""
        design = self._design
        needed = design.done and may_need_none(design.counts, design.span.delta)
        return (0, self._lr) if needed else None

    def next(self, under_way: Sequence[Place]) -> Place:
        """Return the next trial: those under way are picked again in thought, others follow."""
        picked = self._design.ask(len(under_way) + 1)
        for dim, _ in under_way:
            if dim in picked and len(picked) > 1:
                picked.remove(dim)
        return picked[0], self._lr

    def estimate(self) -> ThresholdEstimate:
        """Return what is known; at least one trial was told."""
        design = self._design
        fitted = estimate_from_counts(
            design.counts,
            self._goal,
            design.span,
            ambient_dim=self._max_dim,
            confidence=design.confidence,
            ratio=design.ratio,
        )
        return with_noise(with_records(fitted, self._told, experiment(self._told)), design.ratio)


class GradedDesign:
    """By how good training got, over d and learning rate: `JointDesign`.

    Args:
        goal: what counts as success.
        max_dim: largest d.
        ends: the learning rates to search between.
        told: records, in any order.
        options: of `JointDesign`.

    Raises:
        InputError: an option is out of range, or the goal's metric has no scale.
    """

    def __init__(
        self,
        goal: Goal,
        max_dim: int,
        ends: tuple[float, float],
        told: Sequence[TrialRecord],
        options: Mapping[str, Any],
    ) -> None:
        self._goal, self._told, self._max_dim = goal, told, max_dim
        self._design = JointDesign(Scale.of(goal), LrScale.declared(*ends), max_dim, **options)
        for record in told:
            if record.dim:
                tell(self._design, record, goal, record.trial.spec["lr"])

    @property
    def trials(self) -> int:
        """Number of trials told, those at d = 0 apart."""
        return self._design.trials

    @property
    def max_trials(self) -> int:
        """After so many it is done."""
        return self._design.max_trials

    @property
    def enough(self) -> float:
        """The metric's value at which a trial may be stopped: how far beyond tells little more."""
        return self._design.enough

    @property
    def done(self) -> bool:
        """Whether d* is known well enough, lies outside the range, or trials are up."""
        return self._design.done

    @property
    def untrained(self) -> Place | None:
        """d = 0, where trials at d = 1 show that it suffices."""
        if not self._design.done:
            return None
        found = self._design.estimate()
        if found.status != "below range" or found.high != 1:
            return None
        return 0, float(f"{found.lr:.3g}")

    def next(self, under_way: Sequence[Place]) -> Place:
        """Return the next trial, those under way reckoned with."""
        beside = [Ask(dim, lr) for dim, lr in under_way if dim and lr is not None]
        (ask,) = self._design.ask(1, beside)
        return ask.dim, ask.lr

    def estimate(self) -> ThresholdEstimate:
        """Return what is known; at least one trial was told."""
        design = self._design
        cost = trainings(None, LoopSpec(), self._told)
        return jointly_estimated(
            design, design.estimate(), self._goal, self._told, self._max_dim, cost
        )
