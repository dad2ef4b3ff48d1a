"""Loss and accuracy of many weights on whole splits, in parts where the loss allows it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from subspan.problems import structure
from subspan.problems.channels_last import channels_last
from subspan.problems.checks import batched
from subspan.problems.labels import Labels
from subspan.problems.losses import OutputLoss
from subspan.problems.reduction import Reduction, joined
from subspan.problems.rows import Data
from subspan.problems.structure import Tensors


@dataclass(frozen=True)
class Evaluator:
    """What judges weights: a network's outputs, a loss of them, and labels.

    Args:
        outputs: of weights (D,) and inputs (n, ...).
        loss: mean loss of outputs and targets.
        labels: which outputs hit.
        vectorized: many weights run as one batched program; else there is one row of them.
        images: whether the network may get images with their channels last.
    """

    outputs: Callable[[torch.Tensor, Tensors], Any]
    loss: OutputLoss
    labels: Labels
    vectorized: bool
    images: bool = False

    def evaluate(
        self,
        weights: torch.Tensor,
        data: Data,
        rows_at_once: int | None,
        reduction: Callable[[], Reduction],
    ) -> torch.Tensor:
        """Return loss and accuracy of each row of weights (K, D) on all of the data: (K, 2).

        They are in float64 on the device of the weights: nothing here waits for a GPU.

        Args:
            weights: as said.
            data: inputs and targets.
            rows_at_once: in a part; None: all.
            reduction: how losses of parts make the loss of the whole, asked for where there are
                parts.
        """
        y = data[1]
        losses = torch.zeros(len(weights), dtype=torch.float64, device=weights.device)
        hits = torch.zeros_like(losses)
        parts = list(structure.chunks(data, rows_at_once or structure.row_count(y)))
        if len(parts) > 1 and not reduction().adds_up:
            out = joined([self._outputs_of_many(weights, xs) for xs, _ in parts])
            for k, row in enumerate(structure.row(out, k) for k in range(len(weights))):
                losses[k], hits[k] = self.loss(row, y), self.labels.hits(row, y)
        elif len(parts) == 1:
            loss, hit = self._on_rows(weights, *parts[0])
            losses += loss
            hits += hit
        else:
            sizes = [reduction().counts(ys) for _, ys in parts]
            for (xs, ys), size in zip(parts, sizes, strict=True):
                loss, hit = self._on_rows(weights, xs, ys)
                share = loss.double() * size
                if isinstance(size, torch.Tensor):  # NaN where nothing counts
                    share = torch.where(size == 0, 0.0, share)
                losses += share
                hits += hit
            losses /= reduction().total(sizes)
        labels = self.labels
        accuracy = hits / labels.counted(y) if labels.classes else torch.full_like(hits, math.nan)
        return torch.stack([losses, accuracy], 1)

    def as_one(
        self, weights: torch.Tensor, x: Tensors, y: Tensors
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return losses and hits (K,) of weights (K, D), by one batched program."""
        # Each trial gets its own view of x: a shared one would join the trials' products into
        # one, whose last bits depend on how many trials there are.
        many = torch.func.vmap(lambda row, x: self._one(row, x, y))
        with warnings.catch_warnings():  # what vmap runs row by row is right all the same
            warnings.filterwarnings("ignore", "There is a performance drop")
            result: tuple[torch.Tensor, torch.Tensor] = many(
                weights, structure.expanded(x, len(weights))
            )
        return result

    def _outputs_of_many(self, weights: torch.Tensor, x: Tensors) -> Any:
        """Return outputs (K, n, ...) of weights (K, D)."""
        if not self.vectorized:
            return structure.mapped(lambda t: t[None], self.outputs(weights[0], self._laid(x)))
        with batched(lambda: self.outputs(weights[0], x)):
            return structure.vmapped(self.outputs)(weights, structure.expanded(x, len(weights)))

    def _on_rows(
        self, weights: torch.Tensor, x: Tensors, y: Tensors
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.vectorized:
            loss, hits = self._one(weights[0], self._laid(x), y)
            return loss[None], hits[None]
        with batched(lambda: self._one(weights[0], x, y)):
            return self.as_one(weights, x, y)

    def _laid(self, x: Tensors) -> Tensors:
        laid: Tensors = channels_last(x) if self.images else x
        return laid

    def _one(
        self, weights: torch.Tensor, x: Tensors, y: Tensors
    ) -> tuple[torch.Tensor, torch.Tensor]:
        out = self.outputs(weights, x)
        return self.loss(out, y), self.labels.hits(out, y)
