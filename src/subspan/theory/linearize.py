"""`LinearizedProblem`: a network replaced by its tangent at fixed weights, as a problem.

f_lin(w) = f(w_t) + J(w_t) (w − w_t), with the network's own loss on top: the neural tangent kernel
regime. A convex loss of linear outputs has convex sub-level sets, where the cone theory is exact.
"""

from __future__ import annotations

import math
from typing import Any, Self

import torch
from torch.func import grad_and_value, jvp, vmap

from subspan.canonical import tensor_digest
from subspan.errors import invalid
from subspan.problems import structure
from subspan.problems.base import AbstractProblem, Batch, Evaluation
from subspan.problems.module import Problem
from subspan.problems.structure import Tensors
from subspan.streams import derive
from subspan.theory.arrays import ArrayLike
from subspan.theory.curvature import weights_of

_EVAL_ROWS = 2048


class LinearizedProblem(AbstractProblem):
    """A problem whose network is linearised at `at`; made by `linearize`.

    It is a problem like any other: `run`, `threshold`, `cone_threshold` and the rest take it.

    Args:
        base: the network.
        at: where it is linearised, finite, shape (D,).

    Raises:
        InputError: `at` is something else.
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

    @property
    def vectorized(self) -> bool:
        """Whether many weights run as one batched program, as for the base problem."""
        return self._base.vectorized

    def init(self, seed: int) -> torch.Tensor:
        """Return the point of linearisation, whatever the seed: the tangent is the network's there.

        So trials differ in their maps and batches alone.
        """
        return self.at.clone()

    def batch(self, indices: torch.Tensor | None = None, split: str = "train") -> Batch:
        """Return the base problem's rows."""
        return self._base.batch(indices, split)

    def outputs(self, weights: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Return f(w_t) + J(w_t) (w − w_t) on inputs (n, ...)."""
        value, tangent = jvp(lambda w: self._base.outputs(w, x), (self.at,), (weights - self.at,))[
            :2
        ]
        result: torch.Tensor = value + tangent
        return result

    def loss_of_outputs(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the base problem's mean loss of outputs."""
        return self._base.loss_of_outputs(outputs, targets)

    def loss(self, weights: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the mean loss of the linearised network with weights (D,), shape ()."""
        assert batch is not None
        return self.loss_of_outputs(self.outputs(weights, batch[0]), batch[1])

    def grads(self, weights: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return losses (K,) and gradients (K, D) of weights (K, D), each with its own batch."""
        if self.vectorized:
            return super().grads(weights, batch)
        assert batch is not None
        batches = (structure.row(batch, k) for k in range(len(weights)))
        pairs = [grad_and_value(self.loss)(w, b) for w, b in zip(weights, batches, strict=True)]
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
        for xs, ys in structure.chunks((x, y), rows):

            def one(
                w: torch.Tensor, xs: Tensors = xs, ys: Tensors = ys
            ) -> tuple[torch.Tensor, torch.Tensor]:
                out = self.outputs(w, xs)
                return self.loss_of_outputs(out, ys), labels.hits(out, ys)

            chunk = None if self.vectorized else 1
            loss, right = vmap(one, chunk_size=chunk)(weights)
            losses += loss.double().cpu() * structure.row_count(ys)
            hits += right.double().cpu()
        return [
            Evaluation(float(loss), float(hit) if labels.classes else math.nan)
            for loss, hit in zip(losses / count, hits / max(1, labels.counted(y)), strict=True)
        ]

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Return this problem on another device or in another dtype."""
        base = self._base.to(device, dtype)
        return self if base is self._base else type(self)(base, self.at)


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
