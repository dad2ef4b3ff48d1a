"""`HadamardMap`: a randomised Walsh–Hadamard transform spread over all weights in O(D).

A = P · H · E: E puts θ ∈ R^d into R^n, H is the orthonormal Walsh–Hadamard transform of R^n, and
P is a `PartitionMap` from R^n to R^D. Each factor has orthonormal columns, so A has too, exactly,
for every d ≤ D; and every entry has magnitude (n n_j)^(-1/2) ≈ D^(-1/2), as a Gaussian column's
would on average. n is the power of two at or above 8 d (at least 1024, at most D), so the
transform costs O(d log d) and the rest is one gather. In the spirit of Fastfood (Le, Sarlós,
Smola, 2013), without its padding of D to a power of two and with exact column norms.
"""

from __future__ import annotations

from typing import Self

import numpy as np
import torch

from subspan.canonical import digest
from subspan.maps.base import LinearMap, check_dims
from subspan.maps.partition import PartitionMap
from subspan.maps.walsh import walsh_hadamard
from subspan.streams import derive, words

_EXPANSION = 8
_SMALLEST = 1024


def inner_blocks(dim: int, ambient_dim: int) -> list[int]:
    """Return the orders of the Walsh–Hadamard blocks: one, or for large d D's binary digits."""
    order = min(
        1 << (ambient_dim.bit_length() - 1),
        max(_SMALLEST, 1 << (_EXPANSION * dim - 1).bit_length()),
    )
    if dim <= order:
        return [order]
    return [1 << b for b in reversed(range(ambient_dim.bit_length())) if ambient_dim >> b & 1]


def inner_positions(seed: int, dim: int, blocks: list[int]) -> np.ndarray:
    """Return where E puts each coordinate in R^n, shape (d,), increasing."""
    if len(blocks) == 1:
        return np.arange(dim)
    # Spread θ over all blocks, else the last ones would stay empty.
    keys = words(seed, "map", "hadamard", start=0, count=sum(blocks))
    return np.sort(np.argsort(keys, kind="stable")[:dim])


def spread_seed(seed: int) -> int:
    """Return the seed of P."""
    return derive(seed, "map", "hadamard")


def mix(theta: torch.Tensor, blocks: list[int], positions: torch.Tensor) -> torch.Tensor:
    """Return H E θ, (..., d) → (..., n); differentiable."""
    inner = theta.new_zeros(*theta.shape[:-1], sum(blocks))
    inner[..., positions] = theta
    return transform(inner, blocks)


def transform(inner: torch.Tensor, blocks: list[int]) -> torch.Tensor:
    """Return H x, (..., n) → (..., n): each block by its own transform."""
    if len(blocks) == 1:
        return walsh_hadamard(inner)
    return torch.cat([walsh_hadamard(part) for part in inner.split(blocks, -1)], -1)


def checksum(blocks: list[int], positions: torch.Tensor, spread: str) -> str:
    """Return the checksum of a map from that of its P."""
    return digest(["hadamard", blocks, positions.tolist(), spread])


class HadamardMap(LinearMap):
    """A with exactly orthonormal, dense columns of ±(n n_j)^(-1/2). O(D + d log d) per use."""

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
        blocks = inner_blocks(dim, ambient_dim)
        inner = sum(blocks)
        spread = PartitionMap(inner, ambient_dim, spread_seed(seed), device=device, dtype=dtype)
        self._init(dim, blocks, torch.from_numpy(inner_positions(seed, dim, blocks)), spread)

    def _init(
        self, dim: int, blocks: list[int], positions: torch.Tensor, spread: PartitionMap
    ) -> None:
        self.dim, self.ambient_dim = dim, spread.ambient_dim
        self.device, self.dtype = spread.device, spread.dtype
        self.blocks, self.spread = blocks, spread
        self.positions = positions.to(self.device)

    def mix(self, theta: torch.Tensor) -> torch.Tensor:
        """Return H E θ, (..., d) → (..., n)."""
        return mix(theta, self.blocks, self.positions)

    def unmix(self, inner: torch.Tensor) -> torch.Tensor:
        """Return Eᵀ Hᵀ x, (..., n) → (..., d)."""
        return transform(inner, self.blocks)[..., self.positions]

    def _forward(self, theta: torch.Tensor) -> torch.Tensor:
        return self.spread._forward(self.mix(theta))

    def _adjoint(self, v: torch.Tensor) -> torch.Tensor:
        return self.unmix(self.spread._adjoint(v))

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Return this map on another device or in another dtype: the same bits, cast."""
        new = type(self).__new__(type(self))
        new._init(self.dim, self.blocks, self.positions, self.spread.to(device, dtype))
        return new

    def checksum(self) -> str:
        """Return a hash of the blocks, the positions of θ and the partition."""
        return checksum(self.blocks, self.positions, self.spread.checksum())
