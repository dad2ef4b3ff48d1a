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

Grads = Callable[..., tuple[torch.Tensor, ...]]
Loss = Callable[[torch.Tensor, Batch], Any]


class TracedGrads:
    """(weights (K, D), batch with leading K) → losses (K,), gradients (K, D)."""

    def __init__(self, loss: Loss, loss_and_hits: Loss | None = None) -> None:
        self._loss, self._loss_and_hits = loss, loss_and_hits
        self._graphs: dict[tuple[object, ...], Grads] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave the graphs behind: another process traces its own, which are the same."""
        return {**self.__dict__, "_graphs": {}}

    def __call__(
        self, weights: torch.Tensor, batch: Tensors, hits: list[torch.Tensor] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return losses (K,) and gradients (K, D); a list that is given gains the hits (K,)."""
        leaves, told = structure.leaves(batch), hits is not None
        shape = (told, weights.shape, weights.dtype, *((t.shape, t.stride()) for t in leaves))
        if shape not in self._graphs:
            self._graphs[shape] = self._trace(weights, batch, leaves, told)
        with torch.no_grad():
            gradients, losses, *beside = self._graphs[shape](weights.detach(), *leaves)
        if hits is not None:
            hits += beside
        return losses, gradients

    def _trace(
        self, weights: torch.Tensor, batch: Tensors, leaves: list[torch.Tensor], told: bool
    ) -> Grads:
        from torch.fx.experimental.proxy_tensor import make_fx

        function: Any = self._loss_and_hits if told else self._loss

        def one(w: torch.Tensor, *tensors: torch.Tensor) -> Any:
            return function(w, structure.rebuilt(batch, iter(tensors)))

        def with_hits(w: torch.Tensor, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
            gradients, (losses, hits) = vmap(grad_and_value(one, has_aux=True))(w, *tensors)
            return gradients, losses, hits

        eager: Grads = with_hits if told else vmap(grad_and_value(one))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                graph: Grads = simplify(make_fx(eager)(weights.detach(), *leaves))
        except Exception:  # what cannot be traced still runs, slower
            return eager
        return graph
