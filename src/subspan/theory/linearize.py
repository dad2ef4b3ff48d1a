"""`LinearizedProblem`: a network replaced by its tangent at fixed weights, as a problem.

f_lin(w) = f(w_t) + J(w_t) (w − w_t), with the network's own loss on top: the neural tangent kernel
regime. A convex loss of linear outputs has convex sub-level sets, where the cone theory is exact.
"""

from __future__ import annotations

import contextlib
import math
from typing import Any, Self

import torch
from torch.func import grad_and_value, jvp

from subspan.canonical import tensor_digest
from subspan.errors import InputError, invalid
from subspan.problems import structure
from subspan.problems.attention import plain_kernels
from subspan.problems.base import AbstractProblem, Batch, Evaluation
from subspan.problems.module import Problem
from subspan.problems.reduction import Reduction, joined
from subspan.problems.structure import Tensors
from subspan.streams import derive
from subspan.theory.arrays import ArrayLike
from subspan.theory.curvature import weights_of
from subspan.theory.plain_passes import (
    FAILURES,
    alike,
    plain_weight_norm,
    push,
    twice_differentiable,
)

_EVAL_ROWS = 2048


class LinearizedProblem(AbstractProblem):
    """A problem whose network is linearised at `at`; made by `linearize`.

    It is a problem like any other: `run`, `threshold`, `cone_threshold` and the rest take it. It
    trains without the transform and the dropout that the base problem may train with.

    Args:
        base: the network.
        at: where it is linearised, finite, shape (D,).

    Raises:
        InputError: `at` is something else, or PyTorch does not differentiate the network as this
            needs.
    """

    def __init__(self, base: Problem, at: ArrayLike) -> None:
        self._base = base
        self.at = weights_of(base, "at", at)
        self.batch_norm, self._eval_rows = base.batch_norm, base._eval_rows
        self.name = f"{base.name}-linearized"
        self.ambient_dim, self.train_size = base.ambient_dim, base.train_size
        self.default_spec = base.default_spec
        self.device, self.dtype = base.device, base.dtype
        self.identity: dict[str, Any] = {
            "name": self.name,
            "kind": "linearized",
            "base": base.identity,
            "at": tensor_digest(self.at.cpu().to(torch.float32)),
        }
        self._plain = False
        self._find_way()

    @property
    def reduction(self) -> Reduction:
        """How losses of parts of the data make the loss of the whole, as for the base problem."""
        return self._base.reduction

    @property
    def vectorized(self) -> bool:
        """Whether many weights run as one batched program, as for the base problem."""
        return self._base.vectorized and not self._plain

    def init(self, seed: int) -> torch.Tensor:
        """Return the point of linearisation, whatever the seed: the tangent is the network's there.

        So trials differ in their maps and batches alone.
        """
        return self.at.clone()

    def batch(self, indices: torch.Tensor | None = None, split: str = "train") -> Batch:
        """Return the base problem's rows."""
        return self._base.batch(indices, split)

    def outputs(self, weights: torch.Tensor, x: Tensors) -> Any:
        """Return f(w_t) + J(w_t) (w − w_t) on inputs (n, ...)."""
        step = weights - self.at
        with plain_weight_norm():
            if self._plain:
                with torch.enable_grad(), plain_kernels():
                    w = self.at.clone().requires_grad_()
                    value = self._base.outputs(w, x)
                    return value.detach() + push(value, w, step)
            tensors, closed = structure.opened(lambda w: self._base.outputs(w, x))
            values, tangents = jvp(tensors, (self.at,), (step,))[:2]
        return closed(value + tangent for value, tangent in zip(values, tangents, strict=True))

    def _find_way(self) -> None:
        """Choose plain backward passes where `torch.func` does not take the network.

        Raises:
            InputError: neither gives the network's own gradient at the point.
        """
        rows = self.batch(torch.arange(min(2, self.train_size), device=self.device))
        one = self.batch(torch.arange(min(2, self.train_size), device=self.device)[None])
        with twice_differentiable():
            own = self._base.grads(self.at[None], one)[1][0]
        for self._plain in (False, True):
            take = self._plain_gradient if self._plain else grad_and_value(self.loss)
            try:
                with twice_differentiable() if self._plain else contextlib.nullcontext():
                    slope = take(self.at, rows)[0]
            except (InputError, torch.OutOfMemoryError):
                raise
            except FAILURES:
                continue
            if alike(slope, own):
                return
        raise invalid(
            "problem",
            expected="gradients that are derivatives of the loss",
            got="others at the point of linearisation",
            remedy="Remove backward hooks and custom autograd functions that change them.",
        )

    def _plain_gradient(
        self, weights: torch.Tensor, batch: Batch
    ) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.enable_grad():
            leaf = weights.detach().clone().requires_grad_()
            loss = self.loss(leaf, batch)
            return torch.autograd.grad(loss, leaf)[0], loss.detach()

    def loss_of_outputs(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the base problem's mean loss of outputs."""
        return self._base.loss_of_outputs(outputs, targets)

    def loss(self, weights: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the mean loss of the linearised network with weights (D,), shape ()."""
        assert batch is not None
        return self.loss_of_outputs(self.outputs(weights, batch[0]), batch[1])

    def grads(
        self, weights: torch.Tensor, batch: Batch, hits: list[torch.Tensor] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return losses (K,) and gradients (K, D) of weights (K, D), each with its own batch."""
        if self.vectorized:
            return super().grads(weights, batch)
        assert batch is not None
        batches = (structure.row(batch, k) for k in range(len(weights)))
        take = self._plain_gradient if self._plain else grad_and_value(self.loss)
        pairs = [take(w, b) for w, b in zip(weights, batches, strict=True)]
        return torch.stack([p[1] for p in pairs]), torch.stack([p[0] for p in pairs])

    @torch.no_grad()
    def evaluate_many(self, weights: torch.Tensor, split: str = "train") -> list[Evaluation]:
        """Evaluate each row of weights (K, D) on a whole split; NaN where there is none."""
        if split != "train" and math.isnan(self._base.evaluate(self.at, split).loss):
            return [Evaluation(math.nan, math.nan)] * len(weights)
        x, y = self._base.batch(None, split)[:2]
        losses = torch.zeros(len(weights), dtype=torch.float64)
        hits = torch.zeros(len(weights), dtype=torch.float64)
        count = structure.row_count(y)
        rows = (self._eval_rows if self.batch_norm else _EVAL_ROWS) or count
        labels = self._base._labels
        parts = list(structure.chunks((x, y), rows))

        def outputs(xs: Tensors) -> Any:
            if self._plain:
                return joined([structure.mapped(_row, self.outputs(w, xs)) for w in weights])
            size = None if self.vectorized else 1
            return structure.vmapped(lambda w: self.outputs(w, xs), chunk_size=size)(weights)

        adds_up = len(parts) == 1 or self.reduction.adds_up
        if not adds_up:
            parts = [(joined([outputs(xs) for xs, _ in parts]), y)]
        sizes = [1.0] if len(parts) == 1 else [self.reduction.weight(ys) for _, ys in parts]
        total = 1.0 if len(parts) == 1 else self.reduction.total(sizes)
        for (xs, ys), size in zip(parts, sizes, strict=True):
            out = outputs(xs) if adds_up else xs
            for k in range(len(weights)):
                one = structure.row(out, k)
                losses[k] += float(self.loss_of_outputs(one, ys)) * size if size else 0.0
                hits[k] += float(labels.hits(one, ys))
        return [
            Evaluation(float(loss), float(hit) if labels.classes else math.nan)
            for loss, hit in zip(losses / total, hits / max(1, int(labels.counted(y))), strict=True)
        ]

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Return this problem on another device or in another dtype."""
        base = self._base.to(device, dtype)
        return self if base is self._base else type(self)(base, self.at)


def _row(output: torch.Tensor) -> torch.Tensor:
    return output.detach()[None]


def linearize(
    problem: AbstractProblem, at: ArrayLike | None = None, seed: int = 0
) -> LinearizedProblem:
    """Return the problem of a network linearised at some weights.

    Args:
        problem: a network (`Problem`).
        at: w_t, shape (D,): the initial weights, or those after burn-in. None: `init` of a seed.
        seed: of those initial weights: `derive(seed, "init", 0)`, as trial 0 of a threshold has.

    Raises:
        InputError: the problem is not a network, or `at` is not finite or of another shape.
    """
    if not isinstance(problem, Problem):
        raise invalid("problem", expected="a network (Problem)", got=type(problem).__name__)
    return LinearizedProblem(problem, problem.init(derive(seed, "init", 0)) if at is None else at)
