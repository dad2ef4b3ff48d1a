"""`TracedGrads`: per-trial gradients as one batched program, traced once per shape.

`vmap(grad_and_value(loss))` pays about half a millisecond of bookkeeping per call; tracing it to a
graph of plain tensor operations pays that once for each shape, so again when an ensemble shrinks.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch.func import grad_and_value, vmap

from subspan.problems import structure
from subspan.problems.base import Batch
from subspan.problems.simplified import simplify
from subspan.problems.structure import Tensors

Grads = Callable[..., tuple[torch.Tensor, torch.Tensor]]
Loss = Callable[[torch.Tensor, Batch], torch.Tensor]


class TracedGrads:
    """(weights (K, D), batch with leading K) → losses (K,), gradients (K, D)."""

    def __init__(self, loss: Loss) -> None:
        self._loss = loss
        self._graphs: dict[tuple[object, ...], Grads] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave the graphs behind: another process traces its own, which are the same."""
        return {"_loss": self._loss, "_graphs": {}}

    def __call__(self, weights: torch.Tensor, batch: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
        """Return losses (K,) and gradients (K, D)."""
        leaves = structure.leaves(batch)
        shape = (weights.shape, weights.dtype, *((t.shape, t.stride()) for t in leaves))
        if shape not in self._graphs:
            self._graphs[shape] = self._trace(weights, batch, leaves)
        with torch.no_grad():
            gradients, losses = self._graphs[shape](weights.detach(), *leaves)
        return losses, gradients

    def _trace(self, weights: torch.Tensor, batch: Tensors, leaves: list[torch.Tensor]) -> Grads:
        from torch.fx.experimental.proxy_tensor import make_fx

        def one(w: torch.Tensor, *tensors: torch.Tensor) -> torch.Tensor:
            return self._loss(w, structure.rebuilt(batch, iter(tensors)))

        eager: Grads = vmap(grad_and_value(one))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                graph: Grads = simplify(make_fx(eager)(weights.detach(), *leaves))
        except Exception:  # what cannot be traced still runs, slower
            return eager
        return graph
