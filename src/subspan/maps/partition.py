"""`PartitionMap`: each weight belongs to one coordinate, with a random sign.

Weights are dealt out in hands of d: within each run of d consecutive weights every coordinate
appears once, in random order. So each column has ⌊D/d⌋ or ⌈D/d⌉ entries, none is empty for any
d ≤ D, and the map can be generated from any hand on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import numpy as np
import torch

from subspan.canonical import tensor_digest
from subspan.maps.base import LinearMap, check_dims
from subspan.maps.segments import SegmentSum
from subspan.streams import words

_CHUNK_WEIGHTS = 2**20


def deals(seed: int, dim: int, ambient_dim: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield (first weight, coordinates int32, signs bool) of runs of weights, in order."""
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
        return theta.index_select(-1, self.coordinate) * self.entry

    def _adjoint(self, v: torch.Tensor) -> torch.Tensor:
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
