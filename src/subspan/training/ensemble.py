"""The ensemble trainer: advances many trials at once, each in its own subspace.

One step computes all weights w_k = offset_k + A_k θ_k, their full-space gradients as one batched
program, and pulls those back by the adjoint: autograd never sees a map. What a trial computes
does not depend on the trials beside it; one that diverges or meets its goal leaves the rest alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

import torch

from subspan import optimizers
from subspan.errors import invalid
from subspan.goals import Goal, parse_goal
from subspan.maps.base import LinearMap
from subspan.maps.stack import MapStack, stack
from subspan.metrics import parse, qualified
from subspan.problems import structure
from subspan.problems.base import AbstractProblem, Batch
from subspan.problems.precision import full_precision
from subspan.spec import TrainSpec
from subspan.streams import derive
from subspan.training.batches import Batches, sent
from subspan.training.levenberg_marquardt import StrongResult
from subspan.training.looks import Looks
from subspan.training.optimizers import Optimizer, learning_rate
from subspan.training.outcome import CurvePoint, NotFinite, Outcome, TrainResult
from subspan.training.parts import Parts


class AffineSubspace(Protocol):
    """What the trainer needs of a subspace."""

    @property
    def offset(self) -> torch.Tensor:
        """Weights at θ = 0, shape (D,)."""

    @property
    def map(self) -> LinearMap:
        """A: R^d → R^D."""

    @property
    def search_steps(self) -> int:
        """Full-space steps spent to find the subspace."""


OnStep = Callable[[int, torch.Tensor], None]


@full_precision()
def train(
    problem: AbstractProblem,
    subspaces: Sequence[AffineSubspace],
    spec: TrainSpec,
    batch_seeds: Sequence[int],
    *,
    evaluate: bool = True,
    on_step: OnStep | None = None,
) -> list[TrainResult]:
    """Train one trial per subspace, all at once.

    Args:
        problem: on the device and in the dtype to train in.
        subspaces: of any dimensions; offsets and maps on the problem's device.
        spec: how to train.
        batch_seeds: for each trial, the seed of its order of batches, and of the noise that the
            problem draws in training.
        evaluate: False skips every evaluation: the caller wants θ alone.
        on_step: called with the step (from 1) and all weights (K, D) that the step starts from.

    Returns:
        One result per subspace, in order.

    Raises:
        InputError: the spec does not fit the problem.
    """
    kind = optimizers.find(spec.optimizer).kind
    if kind == "solve":
        solve = optimizers.find(spec.optimizer).load()
        return [solve(problem, subspace) for subspace in subspaces]
    if kind == "search":
        if problem.noisy:
            raise invalid(
                "optimizer",
                expected="one that takes noisy gradients, where a transform or dropout trains",
                got=repr(spec.optimizer),
                remedy="Choose 'adam' or 'sgd'.",
            )
        return [_search(problem, subspace, spec, evaluate) for subspace in subspaces]
    run = _Run(problem, subspaces, spec, batch_seeds, evaluate)
    run.advance_all(on_step)
    return run.results


class _Run:
    """The state of one ensemble while it trains; `_alive` are the trials still under way."""

    def __init__(
        self,
        problem: AbstractProblem,
        subspaces: Sequence[AffineSubspace],
        spec: TrainSpec,
        batch_seeds: Sequence[int],
        evaluate: bool,
    ) -> None:
        self._problem, self._spec, self._evaluate = problem, spec, evaluate
        self._goal: Goal | None = None if spec.stop_at is None else parse_goal(spec.stop_at)
        self._subspaces = list(subspaces)
        self.results = [TrainResult() for _ in subspaces]
        self._not_finite = [NotFinite() for _ in subspaces]
        self._alive = list(range(len(subspaces)))
        self._maps = [s.map for s in subspaces]
        self._offsets = torch.stack([s.offset for s in subspaces])
        self._theta = self._offsets.new_zeros(sum(m.dim for m in self._maps))
        self._stack: MapStack = stack(self._maps)
        self._seeds = list(batch_seeds)
        self._optimizer: Optimizer = optimizers.find(spec.optimizer).load()(self._theta, spec)
        self._batches = None
        if problem.train_size and spec.batch_size is not None:
            self._batches = [
                Batches(seed, problem.train_size, spec.batch_size, problem.device)
                for seed in batch_seeds
            ]
        self._total = spec.total_steps(problem.train_size)
        self._looks = Looks(problem, spec, self._goal, len(subspaces))
        for result in self.results if evaluate else ():
            result.cadence = self._looks.every
        self._clock = time.perf_counter()

    def advance_all(self, on_step: OnStep | None) -> None:
        spec, total, looks = self._spec, self._total, self._looks
        if self._evaluate and any(s.search_steps for s in self._subspaces):
            self._record(0, [i for i in self._alive if self._subspaces[i].search_steps])
        for step in range(total):
            if not self._alive:
                return
            weights = self._weights()
            if on_step is not None:
                on_step(step + 1, weights)
            batch, noise = self._batch(step), self._noise(step)
            hits: list[torch.Tensor] = []
            if looks.hits:
                losses, gradients = self._problem.grads(weights, batch, hits)
            else:
                losses, gradients = self._problem.train_grads(weights, batch, noise)
            looks.stepped(losses, hits)
            pulled = self._stack.adjoint(gradients)
            self._optimizer.step(self._theta, pulled, learning_rate(spec, step, total))
            if self._evaluate and (looks.due(step + 1) or step + 1 == total):
                self._record(step + 1, list(self._alive))
        self._finish(self._alive, total, Outcome.FINISHED)

    def _weights(self) -> torch.Tensor:
        return self._stack.forward(self._theta, self._offsets)

    def _batch(self, step: int) -> Batch:
        if self._batches is not None:
            return self._problem.batch(
                torch.stack([self._batches[i].at(step) for i in self._alive])
            )
        whole = self._problem.batch()
        if whole is None:
            return None
        count = len(self._alive)
        expanded: Batch = structure.expanded(whole, count)
        return expanded

    def _noise(self, step: int) -> list[int]:
        """Return each trial's seed of what this step draws besides its rows."""
        if not self._problem.noisy:
            return []
        return [derive(self._seeds[i], "noise", step) for i in self._alive]

    def _record(self, step: int, trials: list[int]) -> None:
        """Evaluate those of these trials that are due; retire what diverged or met the goal."""
        last = step == self._total
        weights = self._weights()
        if step and not last:
            trials = self._looks.wanted(step, trials, weights)
        if not trials:
            return
        rows = [self._alive.index(i) for i in trials]
        if len(rows) < len(weights):
            weights = weights[rows]
        stopped, diverged = [], []
        thetas = self._theta.split([m.dim for m in self._maps])
        splits = self._looks.splits(last=last)
        parts = self._looks.parts
        if last and parts is not None:
            near = self._looks.near_at_end()
            measured = _measured(self._problem, weights, self._goal, splits, parts, near)
        else:
            measured = _measured(self._problem, weights, self._goal, splits)
        sizes = _largest([thetas[k] for k in rows])
        for i, w, values, size in zip(trials, weights, measured, sizes, strict=True):
            point = _seen(self._not_finite[i], values, size, step, splits)
            if point is None:
                diverged.append(i)
                continue
            if _meets(self._goal, point):
                stopped.append(i)
                point = _completed(self._problem, w, self._goal, point, self._not_finite[i], parts)
            self.results[i].curve.append(point)
            self._looks.looked(i, point)
        if step < self._total:  # at the last step nothing was cut short: it is finished
            self._finish(stopped, step, Outcome.STOPPED)
        else:
            stopped = []
        self._finish(diverged, step, Outcome.DIVERGED)
        self._drop({*stopped, *diverged})

    def _finish(self, trials: list[int], step: int, outcome: Outcome) -> None:
        self._charge()
        thetas = dict(zip(self._alive, self._theta.split([m.dim for m in self._maps]), strict=True))
        for i in trials:
            self.results[i].theta = thetas[i].clone()
            self.results[i].steps, self.results[i].reason = step, self._not_finite[i].reason
            self.results[i].outcome = self._not_finite[i].ends(outcome)

    def _charge(self) -> None:
        """Share the seconds since the last call among the trials under way."""
        now = time.perf_counter()
        for i in self._alive:
            self.results[i].wall_time += (now - self._clock) / len(self._alive)
        self._clock = now

    def _drop(self, gone: set[int]) -> None:
        if not gone:
            return
        rows = [row for row, i in enumerate(self._alive) if i not in gone]
        keep = torch.tensor([i not in gone for i in self._alive]).repeat_interleave(
            torch.tensor([m.dim for m in self._maps])
        )
        positions = sent(keep.nonzero()[:, 0], self._theta.device)
        self._alive = [self._alive[row] for row in rows]
        self._maps = [self._maps[row] for row in rows]
        self._offsets, self._theta = self._offsets[rows], self._theta[positions]
        self._looks.keep(rows)
        self._optimizer.keep(positions)
        if rows:
            self._stack = stack(self._maps)


def _measured(
    problem: AbstractProblem,
    weights: torch.Tensor,
    goal: Goal | None,
    splits: Sequence[str],
    parts: Parts | None = None,
    near: Collection[int] = (),
) -> list[dict[str, float]]:
    """Evaluate weights (K, D) on splits, or parts: the problem's metrics, what the goal reads."""
    names = list(problem.metrics)
    if goal is not None and goal.metric not in names:
        names.append(goal.metric)
    points: list[dict[str, float]] = [{} for _ in weights]
    for split in splits:
        if parts is None:
            found = problem.measure_many(weights, split, names)
        else:
            found = parts.measured(problem, weights, split, names, near)
        for point, values in zip(points, found, strict=True):
            point |= {qualified(name, split): value for name, value in values.items()}
    return points


def _completed(
    problem: AbstractProblem,
    weights: torch.Tensor,
    goal: Goal | None,
    point: CurvePoint,
    not_finite: NotFinite,
    parts: Parts | None = None,
) -> CurvePoint:
    """Return a trial's last point with the splits that it was not yet evaluated on."""
    seen = {parse(name)[1] for name in point.metrics}
    rest = [split for split in problem.splits if split not in seen]
    (values,) = _measured(problem, weights[None], goal, rest, parts)
    not_finite.note(values, point.step)
    return CurvePoint(point.step, {**point.metrics, **values})


def _seen(
    not_finite: NotFinite,
    values: dict[str, float],
    largest: float,
    step: int,
    splits: Sequence[str],
) -> CurvePoint | None:
    """Return an evaluation on splits as a point of the curve; None where the trial diverged.

    A loss may be finite at an infinite θ, behind a clamp or a ReLU that is dead: `largest` is the
    magnitude of θ's largest entry.
    """
    not_finite.note(values | {"the largest entry of θ": largest}, step)
    names = [qualified("loss", split) for split in splits]
    losses = [values[name] for name in names if name in values]
    if "train" in splits:
        losses = [values.get("train:loss", math.nan)]
    return CurvePoint(step, values) if all(map(math.isfinite, [largest, *losses])) else None


def _largest(thetas: Sequence[torch.Tensor]) -> list[float]:
    """Return the magnitude of the largest entry of each θ (d_k,), by one look at the device."""
    return torch.stack([theta.abs().max() for theta in thetas]).tolist()


def _meets(goal: Goal | None, point: CurvePoint) -> bool:
    return goal is not None and goal.met_by(point.value(goal.metric, goal.split))


@full_precision()
def evaluate_offsets(
    problem: AbstractProblem, subspaces: Sequence[AffineSubspace], spec: TrainSpec
) -> list[TrainResult]:
    """Return the results of training nothing: each offset evaluated at step 0, θ without entries.

    Args:
        problem: on the device and in the dtype to evaluate in.
        subspaces: whose offsets count.
        spec: whose goal, if any, is looked at.
    """
    clock = time.perf_counter()
    goal = None if spec.stop_at is None else parse_goal(spec.stop_at)
    results = []
    for subspace in subspaces:
        (values,) = _measured(problem, subspace.offset[None], goal, problem.splits)
        not_finite = NotFinite()
        point = _seen(not_finite, values, 0.0, 0, problem.splits)
        results.append(
            TrainResult(
                not_finite.ends(Outcome.FINISHED if point else Outcome.DIVERGED),
                [] if point is None else [point],
                theta=subspace.offset.new_zeros(0),
                wall_time=time.perf_counter() - clock,
                reason=not_finite.reason,
            )
        )
        clock = time.perf_counter()
    return results


def _search(
    problem: AbstractProblem, subspace: AffineSubspace, spec: TrainSpec, evaluate: bool
) -> TrainResult:
    """A second-order search, alone: θ, its curve, and whether the goal ended it."""
    clock, result = time.perf_counter(), TrainResult()
    goal = None if spec.stop_at is None else parse_goal(spec.stop_at)
    every, total = spec.eval_every or 1, spec.total_steps(problem.train_size)
    if isinstance(every, str):
        every = 1
    not_finite, splits = NotFinite(), Looks(problem, spec, goal, 1).splits(last=False)

    def watch(step: int, theta: torch.Tensor) -> bool:
        weights = (subspace.offset + subspace.map(theta))[None]
        (values,) = _measured(problem, weights, goal, splits)
        point = _seen(not_finite, values, _largest([theta])[0], step, splits)
        if point is None:
            return False
        result.curve.append(point)
        return _meets(goal, point)

    if evaluate and subspace.search_steps and watch(0, subspace.offset.new_zeros(subspace.map.dim)):
        result.outcome = Outcome.STOPPED
        result.theta = subspace.offset.new_zeros(subspace.map.dim)
    else:
        found: StrongResult = optimizers.find(spec.optimizer).load()(
            problem,
            subspace.offset,
            subspace.map,
            steps=total,
            watch=lambda step, theta: evaluate and step % every == 0 and watch(step, theta),
        )
        result.theta, result.steps = found.theta, found.steps
        if evaluate and found.steps and found.steps % every:
            watch(found.steps, found.theta)
        if found.status == "reached" and found.steps < total:
            result.outcome = Outcome.STOPPED
        elif not (math.isfinite(found.loss) and bool(found.theta.isfinite().all())):
            result.outcome = Outcome.DIVERGED
    if result.curve and result.curve[-1].step == result.steps:
        weights = subspace.offset + subspace.map(result.theta)
        result.curve[-1] = _completed(problem, weights, goal, result.curve[-1], not_finite)
    result.outcome, result.reason = not_finite.ends(result.outcome), not_finite.reason
    result.wall_time = time.perf_counter() - clock
    return result
