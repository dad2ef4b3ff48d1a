"""A full-space training path, kept where the training loss crosses given levels."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from subspan.errors import invalid, real, whole
from subspan.goals import Goal
from subspan.problems.base import AbstractProblem, Batch
from subspan.problems.precision import full_precision
from subspan.spec import TrainSpec
from subspan.streams import stream
from subspan.theory.arrays import ArrayLike, positives
from subspan.theory.curvature import Indices, data_chunks, rows_of, weights_of
from subspan.training.optimizers import Sgd

_BISECTIONS = 12
_ATTEMPTS = 7  # each at half the learning rate of the one before


@dataclass(frozen=True)
class PathPoint:
    """Weights (D,) on or beside a training path, their full training loss, and the step."""

    weights: torch.Tensor
    loss: float
    step: int


@full_precision()
def training_path(
    problem: AbstractProblem,
    start: ArrayLike,
    levels: Sequence[float],
    seed: int,
    *,
    indices: Indices | None = None,
    lr: float = 0.05,
    momentum: float = 0.9,
    batch_size: int = 128,
    steps: int = 6000,
    check_every: int = 20,
) -> dict[float, PathPoint]:
    """Train in full space by momentum SGD (the paper's) and return where each level is crossed.

    The loss on all rows used is measured every `check_every` steps; between two checks the
    crossing is found by bisection on the segment. Training ends when all levels are crossed or
    after `steps`. Should it diverge, it starts again with half the learning rate, up to six times.

    Args:
        problem: what to train.
        start: w₀, shape (D,).
        levels: training losses above 0 and below the initial one.
        seed: of the batches.
        indices: rows of the training set to use; None: all.
        lr: learning rate.
        momentum: of the SGD.
        batch_size: rows per step.
        steps: at most.
        check_every: steps between measurements of the loss.

    Returns:
        One point per level, its loss at most the level; a level that was not reached maps to the
        point of lowest loss.

    Raises:
        InputError: an argument is out of range.
    """
    levels = positives("levels", levels)
    rows = rows_of(problem, indices)
    walk = _Walk(
        problem,
        weights_of(problem, "start", start),
        seed,
        rows,
        whole("steps", steps, low=1),
        real("lr", lr, low=0, strict=True),
        _momentum(momentum),
        whole("batch_size", batch_size, low=1),
        whole("check_every", check_every, low=1),
    )
    if any(level >= walk.start.loss for level in levels):
        expected = f"losses below the initial one, {walk.start.loss:.6g}"
        raise invalid("levels", expected=expected, got=repr(levels))
    wanted = sorted(set(levels), reverse=True)
    for attempt in range(_ATTEMPTS):
        best = previous = walk.start
        found: dict[float, PathPoint] = {}
        for now in walk.points(attempt):
            for level in [v for v in wanted if v not in found and now.loss <= v]:
                found[level] = _cross(problem, previous, now, level, rows)
            previous, best = now, min(best, now, key=lambda point: point.loss)
            if len(found) == len(wanted):
                break
        if not walk.diverged:
            return {level: found.get(level, best) for level in levels}
    return dict.fromkeys(levels, walk.start)


def level_at_goal(
    problem: AbstractProblem,
    start: torch.Tensor,
    goal: Goal,
    seed: int,
    *,
    indices: torch.Tensor | None = None,
    steps: int = 6000,
) -> float:
    """Return the training loss at which the run of `training_path` first meets a goal.

    It says at which level a question about an accuracy, or about test data, stands on the
    training loss. The crossing between two checks is found by bisection on the segment.

    Args:
        problem: what to train.
        start: w₀, shape (D,).
        goal: any goal; it is judged on its whole split.
        seed: of the batches.
        indices: rows of the training set to use; None: all.
        steps: at most.

    Raises:
        InputError: the problem has no such metric, w₀ meets the goal already, or the run never
            does.
    """

    def value(weights: torch.Tensor) -> float:
        (found,) = problem.measure_many(weights[None], goal.split, [goal.metric])
        return found.get(goal.metric, math.nan)

    initial = value(start)
    if math.isnan(initial):
        expected = f"a goal that can be met: the problem has no {goal.split} {goal.metric}"
        raise invalid("goal", expected=expected, got=str(goal))
    if goal.met_by(initial):
        raise invalid("goal", expected="one that the initial weights do not meet", got=str(goal))
    walk = _Walk(problem, start, seed, indices, steps)
    best = initial
    for attempt in range(_ATTEMPTS):
        previous = walk.start
        for now in walk.points(attempt):
            seen = value(now.weights)
            best = max(best, seen) if goal.higher else min(best, seen)
            if goal.met_by(seen):
                met = _bisect(previous, now, lambda weights: goal.met_by(value(weights)))
                return mean_loss(problem, met, indices)
            previous = now
        if not walk.diverged:
            break
    raise invalid(
        "goal",
        expected="one that full-space training reaches",
        got=f"{goal}, where the run of {steps} steps came to {best:.4g}",
        remedy="Ask for less, or train longer (train_steps).",
    )


def mean_loss(
    problem: AbstractProblem, weights: torch.Tensor, indices: torch.Tensor | None
) -> float:
    """Return the mean training loss of weights (D,) over the rows used."""
    with torch.no_grad():
        return sum(
            share * float(problem.loss(weights, batch))
            for batch, share in data_chunks(problem, indices)
        )


def _momentum(value: float) -> float:
    number = real("momentum", value, low=0)
    if number >= 1:
        raise invalid("momentum", expected="a number in [0, 1)", got=repr(value))
    return number


@dataclass
class _Walk:
    """A momentum-SGD run as a stream of checkpoints; `diverged` once its loss has blown up."""

    problem: AbstractProblem
    w0: torch.Tensor
    seed: int
    indices: torch.Tensor | None
    steps: int
    lr: float = 0.05
    momentum: float = 0.9
    batch_size: int = 128
    check_every: int = 20
    diverged: bool = False

    @functools.cached_property
    def start(self) -> PathPoint:
        return PathPoint(self.w0, mean_loss(self.problem, self.w0, self.indices), 0)

    def points(self, attempt: int) -> Iterator[PathPoint]:
        """Yield a point every `check_every` steps, at the rate lr / 2^attempt."""
        problem, indices, self.diverged = self.problem, self.indices, False
        rng = stream(self.seed, "path")
        pool = np.arange(problem.train_size) if indices is None else indices.cpu().numpy()
        weights = self.w0[None].clone()
        sgd = Sgd(weights, TrainSpec(momentum=self.momentum))
        for step in range(1, self.steps + 1):
            _, gradient = problem.grads(weights, _draw(problem, rng, pool, self.batch_size))
            weights = weights - self.lr / 2**attempt * sgd.direction(gradient)
            if step % self.check_every and step != self.steps:
                continue
            now = PathPoint(weights[0].clone(), mean_loss(problem, weights[0], indices), step)
            if not math.isfinite(now.loss) or now.loss > 4 * max(self.start.loss, 1.0):
                self.diverged = True
                return
            yield now


def _draw(
    problem: AbstractProblem, rng: np.random.Generator, pool: np.ndarray, batch_size: int
) -> Batch:
    if problem.train_size == 0:
        return None
    rows = rng.choice(pool, (1, min(batch_size, len(pool))), replace=False)
    return problem.batch(torch.from_numpy(rows).to(problem.device))


def _cross(
    problem: AbstractProblem,
    above: PathPoint,
    below: PathPoint,
    level: float,
    indices: torch.Tensor | None,
) -> PathPoint:
    loss = below.loss

    def met(weights: torch.Tensor) -> bool:
        nonlocal loss
        value = mean_loss(problem, weights, indices)
        loss = value if value <= level else loss
        return value <= level

    weights = _bisect(above, below, met, lambda: 0.98 * level <= loss)
    return PathPoint(weights, loss, below.step)


def _bisect(
    before: PathPoint,
    after: PathPoint,
    met: Callable[[torch.Tensor], bool],
    enough: Callable[[], bool] = lambda: False,
) -> torch.Tensor:
    """Return weights (D,) on a segment that ends where something is met, near its first point."""
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        if met(torch.lerp(before.weights, after.weights, middle)):
            high = middle
        else:
            low = middle
        if enough():
            break
    return torch.lerp(before.weights, after.weights, high)
