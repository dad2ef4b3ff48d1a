"""`minimize_in_subspace`: a second-order optimiser: is a subspace infeasible or badly optimised?

Levenberg–Marquardt (Levenberg 1944, Marquardt 1963; Martens 2010 for networks) on the full
training set: each step solves (AᵀGA + μI) δ = −Aᵀ∇L by conjugate gradients, with G the Gauss–Newton
matrix of the loss, and μ follows the ratio of actual to predicted decrease. No matrix is formed:
a product costs one forward-mode and one reverse-mode pass, with the activations of all rows in
memory. At most `cg_steps` products a step: made for d up to a few hundred.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.func import grad, jvp, vjp

from subspan.errors import invalid
from subspan.maps.base import LinearMap
from subspan.problems.base import AbstractProblem

_Product = Callable[[torch.Tensor], torch.Tensor]
Watch = Callable[[int, torch.Tensor], bool]
"""Called with (steps taken, θ) after each step; True ends the search."""


@dataclass(frozen=True)
class StrongResult:
    """What the optimiser reached.

    Args:
        theta: best θ, shape (d,).
        loss: full training loss there.
        steps: Levenberg–Marquardt steps, refused ones included.
        products: Gauss–Newton products, each about two gradients' worth of work.
        losses: loss after each step, the starting loss first.
        status: `"reached"` the level, or ended by `watch`; `"stalled"`: steps no longer lower
            the loss (a local minimum, to the tolerance); `"out of steps"`.
    """

    theta: torch.Tensor
    loss: float
    steps: int
    products: int
    losses: tuple[float, ...]
    status: str


def minimize_in_subspace(
    problem: AbstractProblem,
    offset: torch.Tensor,
    linear_map: LinearMap,
    *,
    level: float | None = None,
    start: torch.Tensor | None = None,
    steps: int = 100,
    cg_steps: int = 50,
    tolerance: float = 1e-4,
    watch: Watch | None = None,
) -> StrongResult:
    """Minimise the full training loss over {offset + A θ}, stopping once it is at most `level`.

    Args:
        problem: a network (`outputs`, `loss_of_outputs`) with a loss convex in the outputs.
        offset: weights at θ = 0, shape (D,).
        linear_map: A.
        level: stop here; None: minimise.
        start: θ to start from, shape (d,); None: 0.
        steps: Levenberg–Marquardt steps at most.
        cg_steps: conjugate-gradient products per step at most.
        tolerance: stalled once ten steps lower the loss by less than this share.
        watch: called after every step, refused ones included; True ends the search.

    Raises:
        InputError: the problem has no outputs.
    """
    if not (hasattr(problem, "outputs") and hasattr(problem, "loss_of_outputs")):
        raise invalid(
            "problem",
            expected="a network for levenberg_marquardt",
            got=getattr(problem, "name", type(problem).__name__),
            remedy="Use optimizer='exact' on analytic problems.",
        )
    batch = problem.batch()
    assert batch is not None
    x, y = batch[:2]

    def outputs(theta: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = problem.outputs(offset + linear_map(theta), x)
        return result

    def of_outputs(z: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = problem.loss_of_outputs(z, y)
        return result

    theta = offset.new_zeros(linear_map.dim) if start is None else start.clone()
    damping, products = 1.0, 0
    z, pullback = vjp(outputs, theta)[:2]
    loss = float(of_outputs(z))
    losses, status = [loss], "out of steps"
    for _ in range(steps):
        if level is not None and loss <= level:
            status = "reached"
            break
        if len(losses) > 10 and losses[-11] - losses[-1] <= tolerance * losses[-1]:
            status = "stalled"
            break
        gradient = pullback(grad(of_outputs)(z))[0]

        product = _gauss_newton(outputs, of_outputs, theta, z, pullback)
        delta, g_delta, used = _conjugate_gradients(product, -gradient, damping, cg_steps)
        products += used
        predicted = -float(gradient @ delta + 0.5 * delta @ g_delta)
        trial = theta + delta
        new_z, new_pullback = vjp(outputs, trial)[:2]
        new_loss = float(of_outputs(new_z))
        ratio = (loss - new_loss) / predicted if predicted > 0 and math.isfinite(new_loss) else -1
        if ratio > 0:
            theta, z, pullback, loss = trial, new_z, new_pullback, new_loss
        damping *= 0.3 if ratio > 0.75 else 1.0 if ratio > 0.25 else 4.0
        losses.append(loss)
        if watch is not None and watch(len(losses) - 1, theta):
            status = "reached"
            break
        if damping > 1e12:
            status = "stalled"
            break
    if level is not None and loss <= level:
        status = "reached"
    return StrongResult(theta.detach(), loss, len(losses) - 1, products, tuple(losses), status)


def _gauss_newton(
    outputs: _Product,
    of_outputs: _Product,
    theta: torch.Tensor,
    z: torch.Tensor,
    pullback: Callable[[torch.Tensor], tuple[torch.Tensor, ...]],
) -> _Product:
    def product(v: torch.Tensor) -> torch.Tensor:
        tangent = jvp(outputs, (theta,), (v,))[1]
        # Reverse over reverse: forward mode through mse_loss's gradient fails in PyTorch 2.13.
        return pullback(vjp(grad(of_outputs), z)[1](tangent)[0])[0]

    return product


def _conjugate_gradients(
    product: _Product, target: torch.Tensor, damping: float, steps: int
) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Solve (G + μI) x = target; return x, G x and the number of products."""
    x, g_x = torch.zeros_like(target), torch.zeros_like(target)
    residual, direction = target.clone(), target.clone()
    size = float(residual @ residual)
    goal = 1e-4 * size
    used = 0
    while used < min(steps, 2 * len(target)) and size > goal:
        g_direction = product(direction)
        used += 1
        curved = g_direction + damping * direction
        length = size / max(float(direction @ curved), 1e-300)
        x = x + length * direction
        g_x = g_x + length * g_direction
        residual = residual - length * curved
        new = float(residual @ residual)
        direction = residual + (new / size) * direction
        size = new
    return x, g_x, used
