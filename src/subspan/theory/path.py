"""A full-space training path, kept where the training loss crosses given levels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from subspan.problems.base import AbstractProblem, Batch
from subspan.streams import stream
from subspan.theory.curvature import CHUNK_ROWS, data_chunks

_BISECTIONS = 12


@dataclass(frozen=True)
class PathPoint:
    """Weights (D,) on or beside a training path, their full training loss, and the step."""

    weights: torch.Tensor
    loss: float
    step: int


def training_path(
    problem: AbstractProblem,
    start: torch.Tensor,
    levels: Sequence[float],
    seed: int,
    *,
    indices: torch.Tensor | None = None,
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
        levels: training losses below the initial one.
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
    """
    for attempt in range(7):
        found = _descend(
            problem, start, sorted(set(levels), reverse=True), seed, indices,
            lr / 2**attempt, momentum, batch_size, steps, check_every,
        )  # fmt: skip
        if found is not None:
            return found
    return {level: PathPoint(start, mean_loss(problem, start, indices), 0) for level in levels}


def mean_loss(
    problem: AbstractProblem, weights: torch.Tensor, indices: torch.Tensor | None
) -> float:
    """Return the mean training loss of weights (D,) over the rows used."""
    with torch.no_grad():
        return sum(
            share * float(problem.loss(weights, batch))
            for batch, share in data_chunks(problem, indices, CHUNK_ROWS)
        )


def _descend(
    problem: AbstractProblem,
    start: torch.Tensor,
    levels: list[float],
    seed: int,
    indices: torch.Tensor | None,
    lr: float,
    momentum: float,
    batch_size: int,
    steps: int,
    check_every: int,
) -> dict[float, PathPoint] | None:
    rng = stream(seed, "path")
    pool = np.arange(problem.train_size) if indices is None else indices.cpu().numpy()
    weights, velocity = start[None].clone(), torch.zeros_like(start[None])
    initial = mean_loss(problem, start, indices)
    best = previous = PathPoint(start, initial, 0)
    found: dict[float, PathPoint] = {}
    for step in range(1, steps + 1):
        _, gradient = problem.grads(weights, _draw(problem, rng, pool, batch_size))
        velocity = momentum * velocity + gradient
        weights = weights - lr * velocity
        if step % check_every and step != steps:
            continue
        now = PathPoint(weights[0].clone(), mean_loss(problem, weights[0], indices), step)
        if not math.isfinite(now.loss) or now.loss > 4 * max(initial, 1.0):
            return None
        for level in [v for v in levels if v not in found and now.loss <= v]:
            found[level] = _cross(problem, previous, now, level, indices)
        previous, best = now, min(best, now, key=lambda point: point.loss)
        if len(found) == len(levels):
            break
    return {level: found.get(level, best) for level in levels}


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
    low, high, loss = 0.0, 1.0, below.loss
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        value = mean_loss(problem, torch.lerp(above.weights, below.weights, middle), indices)
        if value <= level:
            high, loss = middle, value
        else:
            low = middle
        if 0.98 * level <= loss:
            break
    return PathPoint(torch.lerp(above.weights, below.weights, high), loss, below.step)
