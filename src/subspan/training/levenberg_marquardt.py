"""`minimize_in_subspace`: a second-order optimiser: is a subspace infeasible or badly optimised?

Levenberg–Marquardt (Levenberg 1944, Marquardt 1963; Martens 2010 for networks) on the full
training set: each step solves (AᵀGA + μI) δ = −Aᵀ∇L in a Krylov space, with G the Gauss–Newton
matrix of the loss. The space does not depend on μ: a step that does not lower the loss is tried
again with a larger μ at the price of one forward pass. μ follows the ratio of actual to predicted
decrease by Nielsen's rule (1999). No matrix is formed: a product costs one forward-mode and one
reverse-mode pass, with the activations of all rows in memory. At most `cg_steps` products a step:
made for d up to a few hundred.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.func import grad, vjp

from subspan.errors import invalid
from subspan.maps.base import LinearMap
from subspan.problems import structure
from subspan.problems.base import AbstractProblem
from subspan.training import gauss_newton
from subspan.training.lanczos_step import lanczos_step

_Product = Callable[[torch.Tensor], torch.Tensor]
Watch = Callable[[int, torch.Tensor], bool]
"""Called with (steps taken, θ) after each step; True ends the search."""

_REFUSALS = 12  # of one step: ×2, ×4, ×8, … raise μ by 2⁷⁸ in all
_FLOOR = 1e-7  # of μ, as a share of G's largest eigenvalue: float32 resolves no more


@dataclass(frozen=True)
class StrongResult:
    """What the optimiser reached.

    Args:
        theta: best θ, shape (d,).
        loss: full training loss there.
        steps: steps taken; each lowered the loss.
        products: Gauss–Newton products, each about two gradients' worth of work.
        evaluations: losses on the full training set that were computed, refused steps included.
        losses: loss after each step, the starting loss first.
        status: `"reached"` the level, or ended by `watch`; `"stalled"`: steps no longer lower
            the loss (a local minimum, to the tolerance); `"out of steps"`; `"diverged"`: the
            starting loss is not finite.
    """

    theta: torch.Tensor
    loss: float
    steps: int
    products: int
    evaluations: int
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
        steps: Levenberg–Marquardt steps at most. A step ends with a lower loss; what was refused
            on the way to it does not count.
        cg_steps: dimension of a step's Krylov space at most, one product each.
        tolerance: stalled once ten steps lower the loss by less than this share.
        watch: called after every step; True ends the search.

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

    outputs, closed = structure.opened(lambda t: problem.outputs(offset + linear_map(t), x))

    def of_outputs(z: Any) -> torch.Tensor:
        result: torch.Tensor = problem.loss_of_outputs(closed(z), y)
        return result

    theta = offset.new_zeros(linear_map.dim) if start is None else start.clone()
    z, pullback = vjp(outputs, theta)[:2]
    loss = float(of_outputs(z))
    losses, status = [loss], "out of steps" if math.isfinite(loss) else "diverged"
    damping, products, evaluations = 1.0, 0, 1
    while len(losses) <= steps and status == "out of steps":
        if level is not None and loss <= level:
            break
        product = gauss_newton.product_at(outputs, of_outputs, theta, z, pullback)
        gradient = pullback(grad(of_outputs)(z))[0]
        model = _krylov_model(product, gradient, damping, cg_steps)
        products += len(model.basis)
        damping, growth = max(damping, _FLOOR * model.top), 2.0
        status = "stalled"  # until a step is accepted
        for _ in range(_REFUSALS):
            delta, predicted = model.step(damping)
            trial = theta + delta
            new_z, new_pullback = vjp(outputs, trial)[:2]
            new_loss = float(of_outputs(new_z))
            evaluations += 1
            if new_loss < loss:
                gain = (loss - new_loss) / predicted
                damping *= max(1 / 3, 1 - (2 * gain - 1) ** 3)
                theta, z, pullback, loss = trial, new_z, new_pullback, new_loss
                losses.append(loss)
                status = "out of steps"
                break
            damping *= growth
            growth *= 2
        if status == "stalled":
            break
        if watch is not None and watch(len(losses) - 1, theta):
            status = "reached"
        elif levelled_off(losses, 10, tolerance):
            status = "stalled"
    if level is not None and loss <= level:
        status = "reached"
    return StrongResult(
        theta.detach(), loss, len(losses) - 1, products, evaluations, tuple(losses), status
    )


def levelled_off(losses: Sequence[float], steps: int, tolerance: float) -> bool:
    """Whether the last `steps` steps lowered the loss by at most this share of it."""
    if len(losses) <= steps:
        return False
    return losses[-1 - steps] - losses[-1] <= tolerance * abs(losses[-1])


@dataclass(frozen=True)
class _KrylovModel:
    """The quadratic model gᵀδ + ½ δᵀGδ on the Krylov space of G and g.

    Args:
        basis: orthonormal rows, shape (k, d); the first is −g/‖g‖.
        values: eigenvalues of G there, shape (k,), float64.
        slopes: −g in the eigenvectors of G there, shape (k,).
        rotation: from those eigenvectors to the basis, shape (k, k).
    """

    basis: torch.Tensor
    values: torch.Tensor
    slopes: torch.Tensor
    rotation: torch.Tensor

    @property
    def top(self) -> float:
        return float(self.values[-1])

    def step(self, damping: float) -> tuple[torch.Tensor, float]:
        """Return the minimiser of the model + ½ μ‖δ‖², and the decrease the model predicts."""
        lengths = self.slopes / (self.values + damping)
        decrease = float(self.slopes @ lengths - 0.5 * self.values @ lengths**2)
        return (self.rotation @ lengths).to(self.basis) @ self.basis, decrease


def _krylov_model(
    product: _Product, gradient: torch.Tensor, damping: float, steps: int
) -> _KrylovModel:
    """Lanczos with full re-orthogonalisation until (G + μI) δ = −g is solved to 1 %."""
    size = float(gradient.norm())
    rows = [-gradient / max(size, 1e-300)]
    diagonal: list[float] = []
    beside: list[float] = []
    pivot, last = 1.0, size  # of the Cholesky factor of T + μI, and of its forward solve
    while True:
        basis = torch.stack(rows)
        alpha, image, norm = lanczos_step(product, rows[-1], basis)
        diagonal.append(alpha)
        coupling = beside[-1] ** 2 / pivot if beside else 0.0
        last = -last * beside[-1] / pivot if beside else last
        pivot = max(diagonal[-1] + damping - coupling, 1e-300)
        if abs(last) / pivot * norm <= 1e-2 * size or len(rows) == min(steps, len(gradient)):
            break
        beside.append(norm)
        rows.append(image / norm)
    tridiagonal = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    off = torch.tensor(beside, dtype=torch.float64)
    tridiagonal += torch.diag(off, 1) + torch.diag(off, -1)
    values, rotation = torch.linalg.eigh(tridiagonal)
    return _KrylovModel(basis, values.clamp(min=0), size * rotation[0], rotation)
