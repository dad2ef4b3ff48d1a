"""`minimize_by_lbfgs`: limited-memory BFGS (Liu & Nocedal 1989) on the full training set, by SciPy.

One iteration costs little more than one gradient, and nothing in it is random.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.optimize import OptimizeResult, minimize

from subspan.maps.base import LinearMap
from subspan.problems.base import AbstractProblem
from subspan.training.levenberg_marquardt import StrongResult, Watch, levelled_off

_WINDOW = 100  # iterations over which a stall is judged


def minimize_by_lbfgs(
    problem: AbstractProblem,
    offset: torch.Tensor,
    linear_map: LinearMap,
    *,
    level: float | None = None,
    start: torch.Tensor | None = None,
    steps: int = 1000,
    memory: int = 30,
    tolerance: float = 1e-3,
    watch: Watch | None = None,
) -> StrongResult:
    """Minimise the full training loss over {offset + A θ}, stopping once it is at most `level`.

    Args:
        problem: any, analytic ones included; best with a smooth loss.
        offset: weights at θ = 0, shape (D,).
        linear_map: A.
        level: stop here; None: minimise.
        start: θ to start from, shape (d,); None: 0.
        steps: iterations at most. None ends with a higher loss; near the end one may gain less than
            rounding.
        memory: past steps, with the change of the gradient in each, that stand for the curvature.
        tolerance: stalled once 100 iterations lower the loss by less than this share.
        watch: called after every iteration; True ends the search.
    """
    batch = problem.batch()
    theta = offset.new_zeros(linear_map.dim) if start is None else start.clone()
    losses: list[float] = []
    status = "stalled"  # also where SciPy ends by itself: its line search finds nothing lower

    def loss_and_gradient(point: np.ndarray) -> tuple[float, np.ndarray]:
        weights = offset + linear_map(torch.from_numpy(point).to(offset))
        weights = weights.detach().requires_grad_()
        value = problem.loss(weights, batch)
        pulled = linear_map.adjoint(torch.autograd.grad(value, weights)[0])
        loss, gradient = float(value.detach()), pulled.double().cpu().numpy()
        if not losses:
            losses.append(loss)
        elif not (math.isfinite(loss) and np.isfinite(gradient).all()):
            # A finite wall, not too high to interpolate: SciPy's line search ends at inf or NaN.
            return losses[-1] + 10 * (1 + abs(losses[-1])), np.zeros_like(gradient)
        return loss, gradient

    def after_iteration(intermediate_result: OptimizeResult) -> None:
        nonlocal theta, status
        theta = torch.from_numpy(intermediate_result.x.copy()).to(offset)
        losses.append(float(intermediate_result.fun))
        ended = watch is not None and watch(len(losses) - 1, theta)
        if ended or (level is not None and losses[-1] <= level):
            status = "reached"
        elif len(losses) > steps:
            status = "out of steps"
        elif not levelled_off(losses, _WINDOW, tolerance):
            return
        raise StopIteration

    evaluations = 1
    point = theta.double().cpu().numpy()
    loss_and_gradient(point)
    if not math.isfinite(losses[0]):
        status = "diverged"
    elif level is not None and losses[0] <= level:
        status = "reached"
    else:
        evaluations += minimize(
            loss_and_gradient,
            point,
            (),
            "L-BFGS-B",
            True,  # the function returns its gradient too
            callback=after_iteration,
            options={
                "maxcor": memory,
                "maxiter": steps,
                "maxfun": 20 * steps,
                "ftol": 0,
                "gtol": 0,
            },
        ).nfev
    return StrongResult(theta, losses[-1], len(losses) - 1, 0, evaluations, tuple(losses), status)
