"""Many maps applied at once: one flat θ of all trials in, one row of weights per trial out.

The maps may have different dimensions. What a trial gets does not depend, to the bit on CPU, on
which trials stand beside it: each output number is one product or one sum in a fixed order.
"""

from __future__ import annotations

import abc
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch

from subspan.maps import kernels
from subspan.maps.base import LinearMap
from subspan.maps.hadamard import HadamardMap, Scattered, transform
from subspan.maps.partition import PartitionMap
from subspan.maps.segments import SegmentSum


class MapStack(abc.ABC):
    """K maps as one: flat θ (Σ d_k,) → weights (K, D), and its adjoint."""

    @abc.abstractmethod
    def forward(self, theta: torch.Tensor, offsets: torch.Tensor | None = None) -> torch.Tensor:
        """Map flat θ (Σ d_k,) to (K, D), and add the offsets (K, D); in memory of its own."""

    @abc.abstractmethod
    def adjoint(self, v: torch.Tensor) -> torch.Tensor:
        """Map v (K, D) to flat (Σ d_k,)."""


def stack(maps: Sequence[LinearMap]) -> MapStack:
    """Return the fastest stack that serves all the maps."""
    runs = _runs([_kind(m) for m in maps])
    parts = [_kind(maps[a])(maps[a:b]) for a, b in runs]
    return parts[0] if len(parts) == 1 else _Parts(parts, [maps[a:b] for a, b in runs])


def _kind(one: LinearMap) -> Callable[[Sequence[Any]], MapStack]:
    if isinstance(one, PartitionMap):
        return _PartitionStack
    if isinstance(one, HadamardMap) and isinstance(one.mixer, Scattered):
        return _HadamardStack
    return _LoopStack


class _Parts(MapStack):
    """Stacks of maps of different kinds, one below the other."""

    def __init__(self, parts: Sequence[MapStack], maps: Sequence[Sequence[LinearMap]]) -> None:
        self._parts, self._rows = parts, [len(own) for own in maps]
        self._sizes = [sum(m.dim for m in own) for own in maps]

    def forward(self, theta: torch.Tensor, offsets: torch.Tensor | None = None) -> torch.Tensor:
        thetas = theta.split(self._sizes)
        weights = torch.cat([p.forward(t) for p, t in zip(self._parts, thetas, strict=True)])
        return weights if offsets is None else weights.add_(offsets)

    def adjoint(self, v: torch.Tensor) -> torch.Tensor:
        rows = v.split(self._rows)
        return torch.cat([p.adjoint(r) for p, r in zip(self._parts, rows, strict=True)])


class _LoopStack(MapStack):
    """One map after another. Each gets its vector in memory of its own: a matrix product's last
    bits depend on how its operands are aligned, which must not depend on the neighbours."""

    def __init__(self, maps: Sequence[LinearMap]) -> None:
        self._maps, self._sizes = list(maps), [m.dim for m in maps]

    def forward(self, theta: torch.Tensor, offsets: torch.Tensor | None = None) -> torch.Tensor:
        if len(self._maps) == 1 and isinstance(self._maps[0], HadamardMap):
            own = None if offsets is None else offsets[0]
            return self._maps[0].affine(theta, own)[None]
        parts = zip(self._maps, theta.split(self._sizes), strict=True)
        rows = [m._forward(self._own(m, t)) for m, t in parts]
        weights = torch.stack(rows)  # a map may return an expanded tensor, or memory that it keeps
        return weights if offsets is None else weights.add_(offsets)

    def adjoint(self, v: torch.Tensor) -> torch.Tensor:
        parts = zip(self._maps, v, strict=True)
        return torch.cat([m._adjoint(self._own(m, row)) for m, row in parts])

    @staticmethod
    def _own(one: LinearMap, x: torch.Tensor) -> torch.Tensor:
        return x if isinstance(one, HadamardMap) else x.clone()  # that copies it anyway


class _PartitionStack(MapStack):
    def __init__(self, maps: Sequence[PartitionMap]) -> None:
        ends = torch.tensor([m.dim for m in maps]).cumsum(0)
        starts = ends - torch.tensor([m.dim for m in maps])
        shifted = [m.coordinate + int(s) for m, s in zip(maps, starts, strict=True)]
        self._coordinate = torch.cat(shifted)
        self._sum = SegmentSum(self._coordinate, int(ends[-1]))
        self._entry = torch.stack([m.entry for m in maps])

    def forward(self, theta: torch.Tensor, offsets: torch.Tensor | None = None) -> torch.Tensor:
        size = self._entry.numel()
        given = (self._entry,) if offsets is None else (self._entry, offsets)
        places = (theta, self._sum.size), *((x, size) for x in given)
        if kernels.serve(*places) and kernels.quicker(size):
            return kernels.gather(theta, self._coordinate, self._entry, offsets)
        weights = theta.index_select(0, self._coordinate).view_as(self._entry).mul_(self._entry)
        return weights if offsets is None else weights.add_(offsets)

    def adjoint(self, v: torch.Tensor) -> torch.Tensor:
        size = self._entry.numel()
        if kernels.serve((v, size), (self._entry, size)) and kernels.quicker(size):
            return kernels.scatter(v, self._coordinate, self._entry, self._sum.size)
        return self._sum((v * self._entry).flatten())


class _HadamardStack(MapStack):
    """E puts each θ into its own row-major stretch of an inner vector; equal sizes go together."""

    def __init__(self, maps: Sequence[HadamardMap]) -> None:
        self._spread = _PartitionStack([m.spread for m in maps if m.spread is not None])
        mixers = [m.mixer for m in maps if isinstance(m.mixer, Scattered)]
        sizes = [m.size for m in mixers]
        starts = torch.tensor([0, *sizes]).cumsum(0)
        self._inner = int(starts[-1])
        self._positions = torch.cat(
            [m.positions + int(s) for m, s in zip(mixers, starts[:-1], strict=True)]
        )
        # Maps of one size may differ: at n = D one transform, or two with signs between.
        dtype = maps[0].dtype
        signs = [None if m.signs is None else m.signs.to(dtype) for m in mixers]
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

    def forward(self, theta: torch.Tensor, offsets: torch.Tensor | None = None) -> torch.Tensor:
        inner = theta.new_zeros(self._inner).index_copy_(0, self._positions, theta)
        return self._spread.forward(self._transform(inner, False), offsets)

    def adjoint(self, v: torch.Tensor) -> torch.Tensor:
        inner = self._transform(self._spread.adjoint(v), True)
        return inner.index_select(0, self._positions)


def _rows(signs: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
    known = [s for s in signs if s is not None]
    return torch.stack(known) if known else None


def _runs(values: Sequence[object]) -> list[tuple[int, int]]:
    edges = [0] + [i for i in range(1, len(values)) if values[i] != values[i - 1]] + [len(values)]
    return list(itertools.pairwise(edges))
