"""`PartitionMap`: each weight belongs to one coordinate, with a random sign.

Weights are dealt out in hands of d: within each run of d consecutive weights every coordinate
appears once, in random order. So each column has ⌊D/d⌋ or ⌈D/d⌉ entries, none is empty for any
d ≤ D, and the map can be generated from any hand on.

A hand too large for a cache is shuffled in two steps: lines of 64 coordinates are put in random
order, then the coordinates within each tile of 64 lines. Any two weights of different hands share
a coordinate with a chance of 1/d as before (but for the edges), while neighbouring weights read
from 64 places instead of 4,096.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import numpy as np
import torch

from subspan.canonical import tensor_digest
from subspan.maps import kernels
from subspan.maps.base import LinearMap, check_dims
from subspan.maps.segments import SegmentSum
from subspan.streams import words

LARGEST_SHUFFLED = 2**18
"""The largest hand that is shuffled at once: a vector of 1 MiB, which a cache holds."""

_CHUNK_WEIGHTS = 2**20
_LINE, _TILE = 64, 4096


def deals(seed: int, dim: int, ambient_dim: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield (first weight, coordinates int32, signs bool) of runs of weights, in order."""
    if dim > LARGEST_SHUFFLED:
        for first in range(0, ambient_dim, dim):
            yield from _deal_tiles(seed, dim, first, min(dim, ambient_dim - first))
        return
    hands_per_chunk = max(1, _CHUNK_WEIGHTS // dim)
    for start in range(0, ambient_dim, hands_per_chunk * dim):
        count = min(hands_per_chunk * dim, ambient_dim - start)
        hands = -(-count // dim)
        raw = words(seed, "map", "partition", start=start, count=hands * dim)
        negative = (raw[:count] & np.uint64(1)).astype(bool)
        if dim == 1:
            yield start, np.zeros(count, np.int32), negative
            continue
        order = np.argsort((raw >> np.uint64(1)).reshape(hands, dim), axis=1, kind="stable")
        yield start, order.reshape(-1)[:count].astype(np.int32), negative


def _deal_tiles(
    seed: int, dim: int, first: int, count: int
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield the first `count` weights of the hand that begins at weight `first`, as `deals`."""
    lines = -(-dim // _LINE)
    keys = words(seed, "map", "partition", "lines", start=first // dim * lines, count=lines)
    first_of_line = np.argsort(keys, kind="stable").astype(np.int32) * np.int32(_LINE)
    order = first_of_line[:, None] + np.arange(_LINE, dtype=np.int32)
    coordinates = order[order < dim]  # the last line may be shorter
    for start in range(0, count, _CHUNK_WEIGHTS):
        part = coordinates[start : start + _CHUNK_WEIGHTS]
        raw = words(seed, "map", "partition", start=first + start, count=len(part))
        shuffled = [
            tile[np.argsort(key, kind="stable")]
            for tile, key in zip(_tiles(part), _tiles(raw >> np.uint64(1)), strict=True)
        ]
        kept = min(len(part), count - start)
        negative = (raw[:kept] & np.uint64(1)).astype(bool)
        yield first + start, np.concatenate(shuffled)[:kept], negative


def _tiles(values: np.ndarray) -> list[np.ndarray]:
    return [values[i : i + _TILE] for i in range(0, len(values), _TILE)]


def deal(seed: int, dim: int, ambient_dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Return each weight's coordinate (D,) int32 and sign (D,) bool (True: minus)."""
    coordinate = np.empty(ambient_dim, np.int32)
    negative = np.empty(ambient_dim, bool)
    for start, part, minus in deals(seed, dim, ambient_dim):
        coordinate[start : start + len(part)] = part
        negative[start : start + len(part)] = minus
    return coordinate, negative


class PartitionMap(LinearMap):
    """A with one entry ±1/√n_j per row, where n_j is the number of weights of coordinate j.

    Columns are exactly orthonormal: disjoint supports, unit norms. O(D) time and memory.
    """

    def __init__(
        self,
        dim: int,
        ambient_dim: int,
        seed: int,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        check_dims(dim, ambient_dim)
        coordinate, negative = deal(seed, dim, ambient_dim)
        scale = 1.0 / np.sqrt(np.bincount(coordinate, minlength=dim).astype(np.float64))
        exact = scale[coordinate]
        np.negative(exact, where=negative, out=exact)
        self._init(
            dim, torch.from_numpy(coordinate), torch.from_numpy(exact), torch.device(device), dtype
        )

    @classmethod
    def revision(cls, dim: int) -> int:
        """Return 1 from 2^18 + 1 dims on, which are dealt in two steps since; else 0."""
        return int(dim > 2**18)

    def _init(
        self,
        dim: int,
        coordinate: torch.Tensor,
        exact: torch.Tensor,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.dim, self.ambient_dim, self.device, self.dtype = dim, len(exact), device, dtype
        self._exact = exact
        self.coordinate = coordinate.to(device)
        self.entry = exact.to(device, dtype)
        self._sum = SegmentSum(self.coordinate, dim)

    def _forward(self, theta: torch.Tensor) -> torch.Tensor:
        return self.affine(theta, None)

    def affine(self, theta: torch.Tensor, offset: torch.Tensor | None) -> torch.Tensor:
        """Return A θ + offset, (..., d) → (..., D), outside autograd."""
        size = self.ambient_dim
        given = (self.entry,) if offset is None else (self.entry, offset)
        served = kernels.serve((theta, self.dim), *((x, size) for x in given))
        if served and theta.ndim == 1 and kernels.quicker(size):
            return kernels.gather(theta, self.coordinate, self.entry, offset)
        weights = theta.index_select(-1, self.coordinate) * self.entry
        return weights if offset is None else weights + offset

    def _adjoint(self, v: torch.Tensor) -> torch.Tensor:
        size = self.ambient_dim
        served = kernels.serve((v, size), (self.entry, size))
        if served and v.ndim == 1 and kernels.quicker(size):
            return kernels.scatter(v, self.coordinate, self.entry, self.dim)
        return self._sum(v * self.entry)

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Return this map on another device or in another dtype: the same bits, cast."""
        new = type(self).__new__(type(self))
        target = torch.device(device or self.device)
        new._init(self.dim, self.coordinate, self._exact, target, dtype or self.dtype)
        return new

    def checksum(self) -> str:
        """Return a hash of every weight's coordinate and float32 entry."""
        return tensor_digest(self.coordinate, self._exact.to(torch.float32))
