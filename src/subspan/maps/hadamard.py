"""`HadamardMap`: randomised Walsh–Hadamard transforms spread over all weights.

A = P · H · E. E puts θ ∈ R^d at d random places of R^n, H is orthonormal, and P is a `PartitionMap`
from R^n to R^D. Each factor has orthonormal columns, so A has too, exactly, for every d ≤ D. Three
cases:

- n is a power of two, at least 8 d and 1024, if D is no smaller: H is the Walsh–Hadamard
  transform. It costs O(d log d) and the rest is one gather.
- otherwise n = D: H is the transform of the first 2^k places, random signs, and the transform of
  the last 2^k, with 2^k the largest power of two up to D; P is a signed permutation. O(D log D).
- where n would be above 2^18 it is 8 d, or D if that is less, and H transforms blocks of 2^16 (and
  what is left at the end in blocks of smaller powers of two), each of which stays in a cache.

The factor of eight keeps the subspace from showing that P deals weights out in groups: with n = d
it would be a partition's own, which on an ill-conditioned well in the axes of the weights needs up
to twice the dimensions of a uniformly random subspace. A block of 2^16 is, in the same way, a
subspace of its own, of about 2^13 dimensions or more: the weights that it moves are not next to
each other, and how many of them are stiff varies by 1/√2^13 = 1 %. In the spirit of Fastfood (Le,
Sarlós, Smola, 2013), without its padding of D to a power of two and with exact column norms.
"""

from __future__ import annotations

import copy
from typing import Self

import numpy as np
import torch

from subspan.canonical import digest, tensor_digest
from subspan.maps.base import LinearMap, check_dims
from subspan.maps.partition import LARGEST_SHUFFLED, PartitionMap
from subspan.maps.walsh import walsh_hadamard
from subspan.streams import derive, words

_EXPANSION = 8
_SMALLEST = 1024
_LARGEST = LARGEST_SHUFFLED  # the largest n of one or two transforms
_BLOCK = 2**16


def transform(
    x: torch.Tensor, signs: torch.Tensor | None, *, transpose: bool = False
) -> torch.Tensor:
    """Return H x or Hᵀ x along the last axis, (..., n) → (..., n); signs (..., n) or None.

    x may be overwritten.
    """
    size = x.shape[-1]
    if size > _LARGEST:
        return _in_blocks(x)
    if signs is None:
        return walsh_hadamard(x)
    block = 1 << (size.bit_length() - 1)
    if transpose:
        x = torch.cat([x[..., : size - block], walsh_hadamard(x[..., size - block :])], -1) * signs
        return torch.cat([walsh_hadamard(x[..., :block]), x[..., block:]], -1)
    x = torch.cat([walsh_hadamard(x[..., :block]), x[..., block:]], -1) * signs
    return torch.cat([x[..., : size - block], walsh_hadamard(x[..., size - block :])], -1)


def _in_blocks(x: torch.Tensor) -> torch.Tensor:
    """Return the transforms of blocks along the last axis; symmetric, and its own inverse."""
    size = x.shape[-1]
    whole = size - size % _BLOCK
    rest = [1 << i for i in reversed(range(_BLOCK.bit_length())) if (size - whole) >> i & 1]
    if x.device.type == "cpu" and not x.requires_grad and not torch.compiler.is_compiling():
        # One block at a time stays in a cache.
        for piece in x.split([_BLOCK] * (whole // _BLOCK) + rest, -1):
            piece.copy_(walsh_hadamard(piece))
        return x
    head, *tail = x.split([whole, *rest], -1)
    blocks = walsh_hadamard(head.unflatten(-1, (-1, _BLOCK))).flatten(-2)
    return torch.cat([blocks, *map(walsh_hadamard, tail)], -1)


class Mixer:
    """H E: R^d → R^n of a seed. Immutable.

    Args:
        dim: d.
        ambient_dim: D.
        seed: of the map.

    Attributes:
        size: n.
        positions: where E puts each coordinate, (d,), increasing.
        signs: those within H, (n,), or None but where H is two transforms.
        spread_seed: the seed of P.
    """

    def __init__(self, dim: int, ambient_dim: int, seed: int) -> None:
        order = max(_SMALLEST, 1 << (_EXPANSION * dim - 1).bit_length())
        in_blocks = min(order, ambient_dim) > _LARGEST
        self.size = min(_EXPANSION * dim if in_blocks else order, ambient_dim)
        keys = words(seed, "map", "hadamard", start=0, count=self.size)
        self.positions = torch.from_numpy(np.sort(np.argsort(keys, kind="stable")[:dim]))
        self.signs: torch.Tensor | None = None
        if self.size != order and not in_blocks:
            # The order of keys is that of their high bits; the low one is free.
            bits = (keys & np.uint64(1)).astype(np.float32)
            self.signs = torch.from_numpy(1 - 2 * bits)
        self.spread_seed = derive(seed, "map", "hadamard")

    def mix(self, theta: torch.Tensor) -> torch.Tensor:
        """Return H E θ, (..., d) → (..., n); differentiable."""
        inner = theta.new_zeros(*theta.shape[:-1], self.size)
        inner[..., self.positions] = theta
        return transform(inner, self._signs_as(theta))

    def unmix(self, inner: torch.Tensor) -> torch.Tensor:
        """Return Eᵀ Hᵀ x, (..., n) → (..., d), which may overwrite x; differentiable."""
        outer = transform(inner, self._signs_as(inner), transpose=True)
        return outer.index_select(-1, self.positions)

    def _signs_as(self, x: torch.Tensor) -> torch.Tensor | None:
        return None if self.signs is None else self.signs.to(x.dtype)

    def to(self, device: torch.device) -> Mixer:
        """Return this mixer on another device."""
        new = copy.copy(self)
        new.positions = self.positions.to(device)
        new.signs = None if self.signs is None else self.signs.to(device)
        return new

    def checksum(self, spread: str) -> str:
        """Return the checksum of the map from that of its P."""
        signs = None if self.signs is None else tensor_digest(self.signs.cpu())
        return digest(["hadamard", self.size, self.positions.tolist(), signs, spread])


class HadamardMap(LinearMap):
    """A with exactly orthonormal columns. O(D + d log d) per use; O(D log D) where n = D."""

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
        mixer = Mixer(dim, ambient_dim, seed)
        spread = PartitionMap(
            mixer.size, ambient_dim, mixer.spread_seed, device=device, dtype=dtype
        )
        self._init(dim, mixer, spread)

    def _init(self, dim: int, mixer: Mixer, spread: PartitionMap) -> None:
        self.dim, self.ambient_dim = dim, spread.ambient_dim
        self.device, self.dtype = spread.device, spread.dtype
        self.mixer, self.spread = mixer.to(self.device), spread

    def _forward(self, theta: torch.Tensor) -> torch.Tensor:
        return self.spread._forward(self.mixer.mix(theta))

    def _adjoint(self, v: torch.Tensor) -> torch.Tensor:
        return self.mixer.unmix(self.spread._adjoint(v))

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Return this map on another device or in another dtype: the same bits, cast."""
        new = type(self).__new__(type(self))
        new._init(self.dim, self.mixer, self.spread.to(device, dtype))
        return new

    def checksum(self) -> str:
        """Return a hash of n, the places of θ, the signs and the partition."""
        return self.mixer.checksum(self.spread.checksum())
