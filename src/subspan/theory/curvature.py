"""Hessian and Gauss–Newton products of a problem, chunked over its data.

Both are those of the *mean* training loss over the rows used, at fixed weights w. With BatchNorm
that loss depends on which rows are normalised together: as in `Problem.evaluate`, all rows used
are, or `eval_rows` at a time where the problem has that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch.func import grad, vjp, vmap

from subspan.errors import InputError, invalid, whole
from subspan.problems import structure
from subspan.problems.base import AbstractProblem, Batch
from subspan.problems.precision import full_precision
from subspan.problems.reduction import Reduction
from subspan.streams import stream
from subspan.theory.arrays import ArrayLike, vector
from subspan.theory.lanczos import Operator
from subspan.theory.plain_passes import (
    FAILURES,
    check_differences,
    check_hooks,
    gauss_newton_product,
    hessian_product,
    plain_weight_norm,
    twice_differentiable,
)
from subspan.training.gauss_newton import product_at

CHUNK_ROWS = 4096
Indices = torch.Tensor | np.ndarray | Sequence[int]
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
    weights: ArrayLike,
    *,
    indices: Indices | None = None,
    chunk_rows: int | None = None,
) -> Operator:
    """Return the Hessian ∂²L/∂w² of the mean training loss, as an operator.

    Args:
        problem: any problem; its device and dtype are used.
        weights: where, shape (D,).
        indices: rows of the training set to use, integers (n,); None: all.
        chunk_rows: rows per product, which bounds memory, of a loss that adds up; None: 4,096, or
            with BatchNorm those that `evaluate` normalises together.

    Raises:
        InputError: an argument is out of range.
    """
    point = weights_of(problem, "weights", weights)

    def product(batch: Batch, v: torch.Tensor) -> torch.Tensor:
        gradient = grad(lambda w: problem.loss(w, batch))
        # Reverse over reverse (H is symmetric): forward mode fails on mse_loss in PyTorch 2.13.
        result: torch.Tensor = vjp(gradient, point)[1](v)[0]
        return result

    def plain(batch: Batch, v: torch.Tensor) -> torch.Tensor:
        return hessian_product(problem, point, batch, v)

    check_hooks(problem, point)
    return _operator(problem, point, product, plain, indices, chunk_rows)


def gauss_newton(
    problem: AbstractProblem,
    weights: ArrayLike,
    *,
    indices: Indices | None = None,
    chunk_rows: int | None = None,
) -> Operator:
    """Return the (generalised) Gauss–Newton matrix of the mean training loss, as an operator.

    G = mean over rows of Jᵀ B J, with J the Jacobian of the outputs and B the Hessian of the loss
    in the outputs (Schraudolph 2002): positive semi-definite for convex losses, and the Hessian
    of the network linearised at w. Arguments are those of `hessian`.

    Raises:
        InputError: the problem has no network outputs (an analytic one), or an argument is out of
            range.
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
        tensors, closed = structure.opened(lambda w: network.outputs(w, x))
        outputs, pullback = vjp(tensors, point)[:2]

        def loss(z: Any) -> torch.Tensor:
            return network.loss_of_outputs(closed(z), y)

        return product_at(tensors, loss, point, outputs, pullback)(v)

    def plain(batch: Batch, v: torch.Tensor) -> torch.Tensor:
        return gauss_newton_product(network, point, batch, v)

    check_hooks(problem, point)
    return _operator(problem, point, product, plain, indices, chunk_rows)


def data_chunks(
    problem: AbstractProblem, indices: torch.Tensor | None, chunk_rows: int | None = None
) -> Iterator[tuple[Batch, float]]:
    """Yield (batch, share of the loss) over the rows used; (None, 1) for analytic problems.

    Where losses of parts do not add up (`Problem.reduction`), all rows come at once. Else chunks
    have `chunk_rows` rows, or by default 4,096, or with BatchNorm those that `evaluate` normalises
    together.

    Raises:
        InputError: a loss that does not add up, and rows that may not come at once.
    """
    if problem.train_size == 0:
        yield None, 1.0
        return
    if indices is None:
        indices = torch.arange(problem.train_size, device=problem.device)
    parts = indices.split(chunk_rows or together(problem) or len(indices))
    if len(parts) == 1:
        yield problem.batch(indices), 1.0
        return
    reduction: Reduction = getattr(problem, "reduction", Reduction())
    if reduction.adds_up:
        shares = reduction.shares([_targets(problem, rows) for rows in parts])
        for rows, share in zip(parts, shares, strict=True):
            if share:  # a loss of nothing that counts is NaN
                yield problem.batch(rows), share
        return
    if chunk_rows is not None or getattr(problem, "batch_norm", False):
        raise invalid(
            "eval_rows" if chunk_rows is None else "chunk_rows",
            expected="none: the losses of parts of the rows do not add up to the loss of all",
            got=f"parts of {len(parts[0])} rows",
            remedy="Use fewer rows (indices, rows) where they do not fit into memory at once.",
        )
    yield problem.batch(indices), 1.0


def _targets(problem: AbstractProblem, rows: torch.Tensor) -> Any:
    batch = problem.batch(rows)
    assert batch is not None
    return batch[1]


def together(problem: AbstractProblem) -> int | None:
    """Return how many rows a loss is taken over at a time; None: all that are used."""
    if not getattr(problem, "batch_norm", False):
        return CHUNK_ROWS
    rows: int | None = getattr(problem, "_eval_rows", None)
    return rows


@full_precision()
def losses_and_gradients(
    problem: AbstractProblem, weights: torch.Tensor, indices: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean losses (K,) and gradients (K, D) at weights (K, D) over the rows used."""
    losses = torch.zeros_like(weights[:, 0])
    gradients = torch.zeros_like(weights)
    for batch, share in data_chunks(problem, indices):
        if batch is not None:
            batch = structure.expanded(batch, len(weights))
        loss, gradient = problem.grads(weights, batch)
        losses += share * loss
        gradients += share * gradient
    return losses, gradients


def weights_of(problem: AbstractProblem, name: str, weights: ArrayLike) -> torch.Tensor:
    """Return weights (D,), a tensor, array or sequence, on the problem's device, in its dtype.

    Raises:
        InputError: no numbers, another shape, or NaN or infinity among them (in that dtype).
    """
    if not isinstance(weights, torch.Tensor):
        weights = torch.tensor(vector(name, weights, size=problem.ambient_dim))
    if tuple(weights.shape) != (problem.ambient_dim,):
        raise invalid(name, expected=f"shape ({problem.ambient_dim},)", got=tuple(weights.shape))
    if weights.is_complex():
        raise invalid(name, expected="real numbers", got=f"{weights.dtype}")
    moved = weights.detach().to(problem.device, problem.dtype)
    if not bool(torch.isfinite(moved).all()):
        raise invalid(name, expected=f"finite numbers of {moved.dtype}", got="NaN or infinity")
    return moved


def rows_of(problem: AbstractProblem, indices: Indices | None) -> torch.Tensor | None:
    """Return rows of the training set, integers (n,), as a tensor on the problem's device.

    Raises:
        InputError: none, no integers, or rows that the training set does not have.
    """
    if indices is None:
        return None
    try:
        rows = torch.as_tensor(indices)
    except (TypeError, ValueError, RuntimeError) as error:
        raise invalid("indices", expected="row numbers (n,)", got=repr(indices)) from error
    if rows.dtype == torch.bool:
        remedy = "Write mask.nonzero()[:, 0] for a mask."
        raise invalid("indices", expected="row numbers (n,)", got="booleans", remedy=remedy)
    if rows.ndim != 1 or len(rows) == 0 or rows.is_floating_point() or rows.is_complex():
        got = f"{rows.dtype}, shape {tuple(rows.shape)}"
        raise invalid("indices", expected="one row number or more, integers (n,)", got=got)
    low, high = int(rows.min()), int(rows.max())
    if not 0 <= low <= high < problem.train_size:
        expected = f"rows of a training set of {problem.train_size}"
        raise invalid("indices", expected=expected, got=f"{low} … {high}")
    return rows.to(problem.device, torch.int64)


def subset_rows(problem: AbstractProblem, rows: int | None, seed: int) -> torch.Tensor | None:
    """Return `rows` random training rows without replacement, sorted, or None for all of them."""
    if rows is None or whole("rows", rows, low=1) >= problem.train_size:
        return None
    chosen = stream(seed, "rows").choice(problem.train_size, rows, replace=False)
    return torch.from_numpy(chosen).sort().values.to(problem.device)


def _operator(
    problem: AbstractProblem,
    point: torch.Tensor,
    product: Callable[[Batch, torch.Tensor], torch.Tensor],
    plain: Callable[[Batch, torch.Tensor], torch.Tensor],
    indices: Indices | None,
    chunk_rows: int | None,
) -> Operator:
    rows = rows_of(problem, indices)
    if chunk_rows is not None:
        chunk_rows = whole("chunk_rows", chunk_rows, low=1)

    checked: list[bool] = []

    def apply(v: torch.Tensor) -> torch.Tensor:
        with plain_weight_norm(), full_precision():
            return take(v)

    def take(v: torch.Tensor) -> torch.Tensor:
        total = torch.zeros_like(v)
        for batch, share in data_chunks(problem, rows, chunk_rows):
            try:
                if len(v) == 1:
                    found = product(batch, v[0])[None]
                else:
                    block = max(1, _BLOCK_NUMBERS // (problem.ambient_dim * 8))
                    found = vmap(
                        lambda u, b=batch: product(b, u), chunk_size=block, randomness="error"
                    )(v)
            except (InputError, torch.OutOfMemoryError):
                raise
            except FAILURES:  # a module that torch.func does not take
                if not checked:
                    check_differences(problem, point)
                    checked.append(True)
                with twice_differentiable():
                    found = torch.stack([plain(batch, row) for row in v])
            total += share * found
        return total.detach()

    return Operator(problem.ambient_dim, apply, problem.device, problem.dtype)
