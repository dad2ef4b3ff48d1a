"""Hessian and Gauss–Newton products of a problem, chunked over its data.

Both are those of the *mean* training loss over the rows used, at fixed weights w.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

import torch
from torch.func import grad, jvp, vjp, vmap

from subspan.errors import invalid, whole
from subspan.problems.base import AbstractProblem, Batch
from subspan.streams import stream
from subspan.theory.lanczos import Operator

CHUNK_ROWS = 4096
_BLOCK_NUMBERS = 20_000_000  # rows × vectors × weights touched at once, roughly


@runtime_checkable
class HasOutputs(Protocol):
    """A problem whose loss is a function of a network's outputs."""

    def outputs(self, weights: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Return the outputs (n, ...) at weights (D,)."""

    def loss_of_outputs(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of outputs, shape ()."""


def hessian(
    problem: AbstractProblem,
    weights: torch.Tensor,
    *,
    indices: torch.Tensor | None = None,
    chunk_rows: int = CHUNK_ROWS,
) -> Operator:
    """Return the Hessian ∂²L/∂w² of the mean training loss, as an operator.

    Args:
        problem: any problem; its device and dtype are used.
        weights: where, shape (D,).
        indices: rows of the training set to use; None: all.
        chunk_rows: rows per product, which bounds memory. With BatchNorm the batch statistics are
            those of a chunk, so there keep all rows in one.
    """
    point = weights_of(problem, "weights", weights)

    def product(batch: Batch, v: torch.Tensor) -> torch.Tensor:
        gradient = grad(lambda w: problem.loss(w, batch))
        # Reverse over reverse (H is symmetric): forward mode fails on mse_loss in PyTorch 2.13.
        result: torch.Tensor = vjp(gradient, point)[1](v)[0]
        return result

    return _operator(problem, product, indices, chunk_rows)


def gauss_newton(
    problem: AbstractProblem,
    weights: torch.Tensor,
    *,
    indices: torch.Tensor | None = None,
    chunk_rows: int = CHUNK_ROWS,
) -> Operator:
    """Return the (generalised) Gauss–Newton matrix of the mean training loss, as an operator.

    G = mean over rows of Jᵀ B J, with J the Jacobian of the outputs and B the Hessian of the loss
    in the outputs (Schraudolph 2002): positive semi-definite for convex losses, and the Hessian
    of the network linearised at w.

    Raises:
        InputError: the problem has no network outputs (an analytic one).
    """
    if not isinstance(problem, HasOutputs):
        raise invalid(
            "problem",
            expected="a network (`outputs` and `loss_of_outputs`)",
            got=getattr(problem, "name", type(problem).__name__),
            remedy="Use hessian() for analytic problems.",
        )
    network: HasOutputs = problem
    point = weights_of(problem, "weights", weights)

    def product(batch: Batch, v: torch.Tensor) -> torch.Tensor:
        assert batch is not None
        x, y = batch
        outputs, pullback = vjp(lambda w: network.outputs(w, x), point)[:2]
        tangent = jvp(lambda w: network.outputs(w, x), (point,), (v,))[1]
        inner = grad(lambda z: network.loss_of_outputs(z, y))
        result: torch.Tensor = pullback(vjp(inner, outputs)[1](tangent)[0])[0]
        return result

    return _operator(problem, product, indices, chunk_rows)


def data_chunks(
    problem: AbstractProblem, indices: torch.Tensor | None, chunk_rows: int
) -> Iterator[tuple[Batch, float]]:
    """Yield (batch, share of the rows) over the rows used; (None, 1) for analytic problems."""
    if problem.train_size == 0:
        yield None, 1.0
        return
    if indices is None:
        indices = torch.arange(problem.train_size, device=problem.device)
    if len(indices) == 0:
        raise invalid("indices", expected="at least one row", got="none")
    for rows in indices.split(chunk_rows):
        yield problem.batch(rows), len(rows) / len(indices)


def losses_and_gradients(
    problem: AbstractProblem,
    weights: torch.Tensor,
    indices: torch.Tensor | None,
    chunk_rows: int = CHUNK_ROWS,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean losses (K,) and gradients (K, D) at weights (K, D) over the rows used."""
    losses = torch.zeros_like(weights[:, 0])
    gradients = torch.zeros_like(weights)
    for batch, share in data_chunks(problem, indices, chunk_rows):
        if batch is not None:
            x, y = batch
            batch = x.expand(len(weights), *x.shape), y.expand(len(weights), *y.shape)
        loss, gradient = problem.grads(weights, batch)
        losses += share * loss
        gradients += share * gradient
    return losses, gradients


def weights_of(problem: AbstractProblem, name: str, weights: torch.Tensor) -> torch.Tensor:
    """Return weights (D,) on the problem's device, in its dtype.

    Raises:
        InputError: another shape, or NaN or infinity among them.
    """
    if tuple(weights.shape) != (problem.ambient_dim,):
        raise invalid(name, expected=f"shape ({problem.ambient_dim},)", got=tuple(weights.shape))
    if not bool(torch.isfinite(weights).all()):
        raise invalid(name, expected="finite numbers", got="NaN or infinity")
    return weights.detach().to(problem.device, problem.dtype)


def subset_rows(problem: AbstractProblem, rows: int | None, seed: int) -> torch.Tensor | None:
    """Return `rows` random training rows without replacement, sorted, or None for all of them."""
    if rows is None or whole("rows", rows, low=1) >= problem.train_size:
        return None
    chosen = stream(seed, "rows").choice(problem.train_size, rows, replace=False)
    return torch.from_numpy(chosen).sort().values.to(problem.device)


def _operator(
    problem: AbstractProblem,
    product: Callable[[Batch, torch.Tensor], torch.Tensor],
    indices: torch.Tensor | None,
    chunk_rows: int,
) -> Operator:
    def apply(v: torch.Tensor) -> torch.Tensor:
        total = torch.zeros_like(v)
        for batch, share in data_chunks(problem, indices, chunk_rows):
            if len(v) == 1:
                total += share * product(batch, v[0])[None]
            else:
                block = max(1, _BLOCK_NUMBERS // (problem.ambient_dim * 8))
                total += share * vmap(
                    lambda u, b=batch: product(b, u), chunk_size=block, randomness="error"
                )(v)
        return total.detach()

    return Operator(problem.ambient_dim, apply, problem.device, problem.dtype)
