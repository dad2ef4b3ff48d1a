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
from subspan.problems.reduction import Reduction, joined
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
    def reduction(self) -> Reduction:
        """How losses of parts of the data make the loss of the whole, as for the base problem."""
        return self._base.reduction

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
        parts = list(structure.chunks((x, y), rows))

        def outputs(xs: Tensors) -> Any:
            return vmap(lambda w: self.outputs(w, xs), chunk_size=None if self.vectorized else 1)(
                weights
            )

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
            for loss, hit in zip(losses / total, hits / max(1, labels.counted(y)), strict=True)
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
