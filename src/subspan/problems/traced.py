"""`TracedGrads`: per-trial gradients as one batched program, traced once per shape.

`vmap(grad_and_value(loss))` pays about half a millisecond of bookkeeping per call; tracing it to a
graph of plain tensor operations pays that once for each shape, so again when an ensemble shrinks.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch.func import grad_and_value, vmap

Grads = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
Loss = Callable[[torch.Tensor, tuple[torch.Tensor, torch.Tensor]], torch.Tensor]


class TracedGrads:
    """(weights (K, D), batch with leading K) → losses (K,), gradients (K, D)."""

    def __init__(self, loss: Loss) -> None:
        def one(w: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return loss(w, (x, y))

        self._eager: Grads = vmap(grad_and_value(one))
        self._graphs: dict[tuple[object, ...], Grads] = {}

    def __call__(
        self, weights: torch.Tensor, batch: tuple[torch.Tensor, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return losses (K,) and gradients (K, D)."""
        x, y = batch
        shape = (weights.shape, x.shape, x.stride(), y.shape, weights.dtype)
        if shape not in self._graphs:
            self._graphs[shape] = self._trace(weights, x, y)
        with torch.no_grad():
            gradients, losses = self._graphs[shape](weights.detach(), x, y)
        return losses, gradients

    def _trace(self, weights: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> Grads:
        from torch.fx.experimental.proxy_tensor import make_fx

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                graph: Grads = make_fx(self._eager)(weights.detach(), x, y)
        except Exception:  # what cannot be traced still runs, slower
            return self._eager
        return graph
