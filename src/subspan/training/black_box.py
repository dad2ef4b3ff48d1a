"""Searches that see losses alone, no gradient: SPSA and CMA-ES, on the full training set.

For d* of what cannot be differentiated. What is random in them follows the subspace: its map's
checksum is the seed, so that a trial alone is the trial beside others.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from subspan.errors import invalid
from subspan.maps.base import LinearMap
from subspan.problems.base import AbstractProblem
from subspan.streams import derive, scoped_global_rngs, stream
from subspan.training.levenberg_marquardt import StrongResult, Watch

_FIRST = 0.1  # how far a first step goes, of the weights' norm
_PROBE = 0.01  # how far SPSA looks to either side, of the weights' norm
_TUNING = 10  # probes by which SPSA's gain is set
_DIAGONAL = 200  # dims above which CMA-ES adapts variances alone: a matrix costs d² and d³

Loss = Callable[[np.ndarray], float]


def minimize_by_spsa(
    problem: AbstractProblem,
    offset: torch.Tensor,
    linear_map: LinearMap,
    *,
    steps: int = 1000,
    watch: Watch | None = None,
) -> StrongResult:
    """Simultaneous perturbation: a slope along one random direction, from two losses (Spall 1992).

    Gains as in Spall (1998), "Implementation of the simultaneous perturbation algorithm": a_k = a /
    (k + 1 + A)^0.602, c_k = c / (k + 1)^0.101, A a tenth of the steps, a such that a first step is
    a tenth of the weights' norm, and steps that raise the loss refused ("blocking"). MeZO
    (Malladi et al. 2023) is the same estimate with constant gains. Three losses a step.

    Args:
        problem: any.
        offset: weights at θ = 0, shape (D,).
        linear_map: A.
        steps: of the search, those that were refused included.
        watch: called after every step; True ends the search.
    """
    loss, size = _loss(problem, offset, linear_map), _size(offset)
    draw, dim = stream(_seed(linear_map), "spsa"), linear_map.dim
    probe = _PROBE * size / math.sqrt(dim)

    def slope(at: np.ndarray, step: int) -> np.ndarray:
        signs = 2.0 * draw.integers(0, 2, dim) - 1
        shift = probe / (step + 1) ** 0.101 * signs
        with np.errstate(all="ignore"):
            return (loss(at + shift) - loss(at - shift)) / (2 * shift)

    theta = np.zeros(dim)
    losses = [loss(theta)]
    if not math.isfinite(losses[0]):
        return _result(theta, losses, 1, "diverged", offset)
    norms = [float(np.linalg.norm(slope(theta, 0))) for _ in range(_TUNING)]
    typical = float(np.median([n for n in norms if math.isfinite(n)] or [0.0]))
    settle = steps / 10
    gain = _FIRST * size * (1 + settle) ** 0.602 / typical if typical > 0 else 0.0
    for step in range(steps):
        moved = theta - gain / (step + 1 + settle) ** 0.602 * slope(theta, step)
        value = loss(moved) if np.isfinite(moved).all() else math.inf
        if value < losses[-1]:
            theta = moved
        losses.append(min(value, losses[-1]) if value == value else losses[-1])
        if watch is not None and watch(step + 1, torch.from_numpy(theta).to(offset)):
            return _result(theta, losses, 1 + 2 * _TUNING + 3 * (step + 1), "reached", offset)
    return _result(theta, losses, 1 + 2 * _TUNING + 3 * steps, "out of steps", offset)


def minimize_by_cma(
    problem: AbstractProblem,
    offset: torch.Tensor,
    linear_map: LinearMap,
    *,
    steps: int = 300,
    watch: Watch | None = None,
) -> StrongResult:
    """CMA-ES (Hansen 2016, arXiv 1604.00772), by the package `cma`; a step is a generation.

    The first spread is a tenth of the weights' norm. Above 200 dims it adapts variances alone (Ros
    and Hansen 2008): a full matrix takes d² memory. The best θ that was met is kept. A generation
    takes 4 + ⌊3 ln d⌋ losses.

    Args:
        problem: any.
        offset: weights at θ = 0, shape (D,).
        linear_map: A.
        steps: generations.
        watch: called after every generation; True ends the search.

    Raises:
        InputError: the package is not installed.
    """
    loss, dim = _loss(problem, offset, linear_map), linear_map.dim
    theta = np.zeros(dim)
    losses = [loss(theta)]
    if not math.isfinite(losses[0]):
        return _result(theta, losses, 1, "diverged", offset)
    seed, count = _seed(linear_map), 1
    wide = max(dim, 2)  # the package wants two; what is added counts for nothing
    spread = _FIRST * _size(offset) / math.sqrt(dim)
    draw = stream(seed, "cma")
    with scoped_global_rngs(seed):
        search = _cma().CMAEvolutionStrategy(
            np.zeros(wide),
            spread,
            {
                "verbose": -9,
                "seed": math.nan,  # it draws from what is given:
                "randn": lambda *shape: draw.standard_normal(shape),
                "CMA_diagonal": wide > _DIAGONAL,
                "popsize": 4 + int(3 * math.log(wide)),
            },
        )
        for step in range(steps):
            points = search.ask()
            values = [v if math.isfinite(v := loss(p[:dim])) else 1e300 for p in points]
            search.tell(points, values)
            count += len(points)
            best = int(np.argmin(values))
            if values[best] < losses[-1]:
                theta = np.array(points[best][:dim])
            losses.append(min(values[best], losses[-1]))
            if watch is not None and watch(step + 1, torch.from_numpy(theta).to(offset)):
                return _result(theta, losses, count, "reached", offset)
    return _result(theta, losses, count, "out of steps", offset)


def _loss(problem: AbstractProblem, offset: torch.Tensor, linear_map: LinearMap) -> Loss:
    batch = problem.batch()

    @torch.no_grad()
    def loss(theta: np.ndarray) -> float:
        return float(problem.loss(offset + linear_map(torch.from_numpy(theta).to(offset)), batch))

    return loss


def _size(offset: torch.Tensor) -> float:
    """The weights' norm, by which a step is measured; 1 where they are all 0."""
    return float(offset.double().norm()) or 1.0


def _seed(linear_map: LinearMap) -> int:
    return derive(0, "black box", linear_map.checksum()) % 2**31


def _result(
    theta: np.ndarray, losses: list[float], evaluations: int, status: str, offset: torch.Tensor
) -> StrongResult:
    found = torch.from_numpy(theta).to(offset)
    return StrongResult(found, losses[-1], len(losses) - 1, 0, evaluations, tuple(losses), status)


def _cma() -> Any:
    try:
        import cma
    except ImportError as error:
        raise invalid(
            "optimizer",
            expected="the package cma, for 'cma'",
            got="no such package",
            remedy="Install it with: pip install 'subspan[es]'.",
        ) from error
    return cma
