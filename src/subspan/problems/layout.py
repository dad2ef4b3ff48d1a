"""`Layout`: where each named tensor lies in the flat weight vector."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch


@dataclass(frozen=True)
class Layout:
    """Names and shapes of a module's parameters, in the order they are laid out in w ∈ R^D."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, parameters: Mapping[str, torch.Tensor]) -> Layout:
        """Return the layout of named tensors, in their order."""
        return cls(tuple(parameters), tuple(tuple(p.shape) for p in parameters.values()))

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Number of weights of each tensor."""
        return tuple(math.prod(shape) for shape in self.shapes)

    @cached_property
    def ambient_dim(self) -> int:
        """D, the length of the flat weight vector."""
        return sum(self.sizes)

    @cached_property
    def slices(self) -> dict[str, slice]:
        """The part of the flat vector that each name covers."""
        ends = [sum(self.sizes[: i + 1]) for i in range(len(self.sizes))]
        return {
            name: slice(end - size, end)
            for name, size, end in zip(self.names, self.sizes, ends, strict=True)
        }

    def split(self, weights: torch.Tensor) -> dict[str, torch.Tensor]:
        """View a flat vector (..., D) as named tensors (..., *shape)."""
        lead = weights.shape[:-1]
        parts = weights.split(self.sizes, dim=-1)
        return {
            name: part.reshape((*lead, *shape))
            for name, part, shape in zip(self.names, parts, self.shapes, strict=True)
        }

    def flatten(self, tensors: Mapping[str, torch.Tensor] | Sequence[torch.Tensor]) -> torch.Tensor:
        """Join named tensors (or tensors in order) into one flat vector (D,)."""
        parts = [tensors[n] for n in self.names] if isinstance(tensors, Mapping) else list(tensors)
        return torch.cat([part.reshape(-1) for part in parts])
