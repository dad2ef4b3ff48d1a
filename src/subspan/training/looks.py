"""`Looks`: when trials that stop at a goal are evaluated, for a tenth of what training costs.

At `eval_every="tenth"`, and `"auto"`, a trial is *glanced* at after each epoch: at the losses or
the hits of its last steps, which cost nothing, where the goal is a training loss or accuracy
(accuracies at `"tenth"` alone, where a step's outputs are at hand), else at a few rows of the
goal's split (after some epochs, of data so small that an epoch does not pay for 64). Only where the
glance says that the goal is met, nearly so, or nothing finite, the goal's split is evaluated as a
whole, a *look*; only a look ends a trial. Later glances are corrected by half of what it found
beyond its glance.

A step is counted as some passes over its rows, an evaluation as one, so that what is looked at
depends on the trial alone, not on the machine. A tenth of training pays for the end of a trial;
what is left of it, half for glances and half for looks, of which a trial may owe two. So a trial
that comes upon its goal is found as soon as its glances show it, and one that hovers there as often
as looks are paid for.

At `"auto"` a step is two and a half passes (ResNet20 evaluates a row in 0.40 of the time that a
step takes for it, Conv-2 in 0.34), and the end sees all splits. In trials of few epochs that alone
takes a tenth or more (of up to four, where test data are a sixth of training's); glances take a
hundredth then. At `"tenth"` the end sees a part of the rows where all are too many (`parts.py`),
and 0.09 of training is shared out at two passes a step, since in bfloat16 ResNet20 evaluates a row
in half of the time that a step takes for it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import torch

from subspan.goals import Goal, left
from subspan.problems.base import AbstractProblem
from subspan.spec import AUTO, TENTH, TrainSpec
from subspan.training.outcome import CurvePoint
from subspan.training.parts import Parts, some_rows

_SHARE = {AUTO: 0.1, TENTH: 0.09}  # of training that evaluation may cost
_STEP = {AUTO: 2.5, TENTH: 2.0}  # passes over its rows that a step costs: forward and backward
_END = 0.9  # of that share, that the end of a trial may cost at `"tenth"`
_GLANCES = 0.01  # of training that glances may cost where the end of a trial takes the tenth
_LEAST = 64  # rows of a glance
_NEAR = 0.05  # of what the goal leaves, beyond it: looked at on credit
_DOUBT = 0.25  # the same, where the look is paid for
_LASTING = 0.5  # of what a look finds beyond its glance, that later glances miss too


class Looks:
    """When the trials of one run are evaluated before their last step, and on what.

    Args:
        problem: what is trained.
        spec: how.
        goal: that of the spec, if any.
        trials: how many.

    Attributes:
        hits: whether steps are to tell how many of their rows they hit.
        sparing: whether `eval_every` says `"tenth"` or `"auto"`.
        parts: on which rows a trial is evaluated where it ends; None: on all.
        every: the stated cadence: steps between glances, or between evaluations.
    """

    def __init__(
        self, problem: AbstractProblem, spec: TrainSpec, goal: Goal | None, trials: int
    ) -> None:
        size, total = problem.train_size, spec.total_steps(problem.train_size)
        epoch = spec.steps_per_epoch(size)
        word = spec.eval_every if isinstance(spec.eval_every, str) else AUTO
        self.sparing = spec.eval_every in _SHARE
        self.parts: Parts | None = None
        self._problem, self._goal = problem, goal
        self.every = epoch if isinstance(spec.eval_every, str) else spec.eval_every or epoch
        self._step_cost = _STEP[word] * min(spec.batch_size or size, size)
        self._cost = {split: problem.split_size(split) for split in problem.splits}
        self._spent, self._income, self._look = [0.0] * trials, 0.0, 0
        self._beyond = [0.0] * trials
        self._steps: deque[torch.Tensor] = deque(maxlen=0)  # losses, or accuracies
        self.hits = False
        self._rows: torch.Tensor | None = None
        self._glanced: dict[int, float | None] = {}
        if not self.sparing or not size:
            return
        budget, end = _SHARE[word] * self._step_cost * total, sum(self._cost.values())
        if goal is None:
            epochs, looks = total / epoch, max(1, int(budget / end))
            self.every = max(1, round(epochs / looks)) * epoch
            return
        if word == TENTH:
            self.parts = Parts(problem, goal, _END * budget)
            end = sum(self.parts.sizes.values())
        self._look = watched = self._cost.get(goal.split, 0)
        self._income = max(0.0, budget - end) / total / 2  # rows a step, as many for glances
        paid = epoch * (self._income or _GLANCES * self._step_cost)
        rows = min(watched // 2, max(_LEAST, int(paid)))
        told = goal.metric, goal.split
        self.hits = word == TENTH and told == ("accuracy", "train") and problem.counts_hits
        if self.hits or (told == ("loss", "train") and not problem.noisy):
            self._steps = deque(maxlen=max(1, int(_STEP[word] * rows / self._step_cost)))
        elif rows >= _LEAST:
            self.every = epoch * math.ceil(rows / paid)
            self._rows = some_rows(problem, goal.split, rows)

    def splits(self, *, last: bool) -> Sequence[str]:
        """Return what is evaluated at a look, or where a trial ends."""
        goal = self._goal
        if last or not self.sparing or goal is None or goal.split not in self._cost:
            return self._problem.splits
        return (goal.split,)

    def due(self, step: int) -> bool:
        """Whether trials are looked at, or glanced at, after this step, if it is not the last."""
        return step % self.every == 0

    def stepped(self, losses: torch.Tensor, hits: Sequence[torch.Tensor] = ()) -> None:
        """Take note of the losses (K,) of a step and, where `hits` says so, its accuracies (K,)."""
        self._steps.append(hits[0] if self.hits else losses)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with the trials of these rows alone."""
        self._steps = deque((each[rows] for each in self._steps), self._steps.maxlen)

    def wanted(self, step: int, trials: Sequence[int], weights: torch.Tensor) -> list[int]:
        """Return which of the trials under way to look at.

        Args:
            step: how many steps were taken.
            trials: their numbers.
            weights: theirs, (K, D).
        """
        if not self.sparing or self._goal is None:
            return list(trials)
        glanced = self._glance(trials, weights)
        finite = weights.isfinite().all(1).tolist()
        self._glanced = dict(zip(trials, glanced, strict=True))
        return [
            i
            for i, fine in zip(trials, finite, strict=True)
            if not fine or self._near(i, self._income * step - self._spent[i])
        ]

    def looked(self, trial: int, point: CurvePoint) -> None:
        """Take note of what a look found."""
        if not self.sparing or self._goal is None:
            return
        value = point.value(self._goal.metric, self._goal.split)
        self._spent[trial] += self._look
        glanced = self._glanced.get(trial)
        if glanced is not None and math.isfinite(glanced) and math.isfinite(value):
            self._beyond[trial] = left(self._goal, value) - left(self._goal, glanced)

    def near_at_end(self) -> set[int]:
        """Return the places of the trials under way that their last steps do not show to be far."""
        if self.parts is None or not self._steps:
            return set()
        return self.parts.near(self._of_steps())

    def _of_steps(self) -> list[float]:
        rows = torch.stack(list(self._steps), -1).double().tolist()
        return [math.fsum(row) / len(row) for row in rows]

    def _glance(self, trials: Sequence[int], weights: torch.Tensor) -> list[float | None]:
        """Return the goal's metric at a glance; None where there is nothing to glance at."""
        assert self._goal is not None
        if self._steps:
            return list(self._of_steps())
        if self._rows is not None:
            found = self._problem.measure_rows(
                weights, self._goal.split, self._rows, self._goal.metric
            )
            if found is not None:
                return list(found)
        return [None] * len(trials)

    def _near(self, trial: int, credit: float) -> bool:
        """Whether to look at a trial that was glanced at, given what it may spend, in rows."""
        assert self._goal is not None
        value = self._glanced[trial]
        if credit < -self._look:
            return False
        if value is None or not math.isfinite(value):
            return True
        allowed = left(self._goal, self._goal.level)
        margin = _DOUBT if credit >= self._look else _NEAR
        found = left(self._goal, value) + _LASTING * self._beyond[trial]
        return found <= allowed + margin * abs(allowed)
