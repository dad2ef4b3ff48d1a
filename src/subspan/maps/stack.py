"""Many maps applied at once: one flat θ of all trials in, one row of weights per trial out.

The maps may have different dimensions. What a trial gets does not depend, to the bit on CPU, on
which trials stand beside it: each output number is one product or one sum in a fixed order.
"""

from __future__ import annotations

import abc
import itertools
from collections.abc import Sequence

import torch

from subspan.maps.base import LinearMap
from subspan.maps.hadamard import HadamardMap, transform
from subspan.maps.partition import PartitionMap
from subspan.maps.segments import SegmentSum


class MapStack(abc.ABC):
    """K maps as one: flat θ (Σ d_k,) → weights (K, D), and its adjoint."""

    @abc.abstractmethod
    def forward(self, theta: torch.Tensor) -> torch.Tensor:
        """Map flat θ (Σ d_k,) to (K, D)."""

    @abc.abstractmethod
    def adjoint(self, v: torch.Tensor) -> torch.Tensor:
        """Map v (K, D) to flat (Σ d_k,)."""


def stack(maps: Sequence[LinearMap]) -> MapStack:
    """Return the fastest stack that serves all the maps."""
    if all(isinstance(m, PartitionMap) for m in maps):
        return _PartitionStack([m for m in maps if isinstance(m, PartitionMap)])
    if all(isinstance(m, HadamardMap) for m in maps):
        return _HadamardStack([m for m in maps if isinstance(m, HadamardMap)])
    return _LoopStack(maps)


class _LoopStack(MapStack):
    """One map after another. Each gets its vector in memory of its own: a matrix product's last
    bits depend on how its operands are aligned, which must not depend on the neighbours."""

    def __init__(self, maps: Sequence[LinearMap]) -> None:
        self._maps, self._sizes = list(maps), [m.dim for m in maps]

    def forward(self, theta: torch.Tensor) -> torch.Tensor:
        parts = theta.split(self._sizes)
        return torch.stack([m._forward(t.clone()) for m, t in zip(self._maps, parts, strict=True)])

    def adjoint(self, v: torch.Tensor) -> torch.Tensor:
        return torch.cat([m._adjoint(row.clone()) for m, row in zip(self._maps, v, strict=True)])


class _PartitionStack(MapStack):
    def __init__(self, maps: Sequence[PartitionMap]) -> None:
        ends = torch.tensor([m.dim for m in maps]).cumsum(0)
        starts = ends - torch.tensor([m.dim for m in maps])
        shifted = [m.coordinate + int(s) for m, s in zip(maps, starts, strict=True)]
        self._coordinate = torch.cat(shifted)
        self._sum = SegmentSum(self._coordinate, int(ends[-1]))
        self._entry = torch.stack([m.entry for m in maps])

    def forward(self, theta: torch.Tensor) -> torch.Tensor:
        return theta.index_select(0, self._coordinate).view_as(self._entry).mul_(self._entry)

    def adjoint(self, v: torch.Tensor) -> torch.Tensor:
        return self._sum((v * self._entry).flatten())


class _HadamardStack(MapStack):
    """E puts each θ into its own row-major stretch of an inner vector; equal sizes go together."""

    def __init__(self, maps: Sequence[HadamardMap]) -> None:
        self._spread = _PartitionStack([m.spread for m in maps])
        sizes = [m.mixer.size for m in maps]
        starts = torch.tensor([0, *sizes]).cumsum(0)
        self._inner = int(starts[-1])
        self._positions = torch.cat(
            [m.mixer.positions + int(s) for m, s in zip(maps, starts[:-1], strict=True)]
        )
        # Maps of one size may differ: at n = D one transform, or two with signs between.
        signs = [None if m.mixer.signs is None else m.mixer.signs.to(m.dtype) for m in maps]
        self._groups = [
            (int(starts[i]), int(starts[j]), sizes[i], _rows(signs[i:j]))
            for i, j in _runs([(n, s is None) for n, s in zip(sizes, signs, strict=True)])
        ]

    def _transform(self, inner: torch.Tensor, transpose: bool) -> torch.Tensor:
        parts = [
            transform(inner[a:b].view(-1, n), signs, transpose=transpose).flatten()
            for a, b, n, signs in self._groups
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def forward(self, theta: torch.Tensor) -> torch.Tensor:
        inner = theta.new_zeros(self._inner).index_copy_(0, self._positions, theta)
        return self._spread.forward(self._transform(inner, False))

    def adjoint(self, v: torch.Tensor) -> torch.Tensor:
        inner = self._transform(self._spread.adjoint(v), True)
        return inner.index_select(0, self._positions)


def _rows(signs: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
    known = [s for s in signs if s is not None]
    return torch.stack(known) if known else None


def _runs(values: Sequence[object]) -> list[tuple[int, int]]:
    edges = [0] + [i for i in range(1, len(values)) if values[i] != values[i - 1]] + [len(values)]
    return list(itertools.pairwise(edges))
