"""`HadamardMap`: randomised Walsh–Hadamard transforms spread over all weights.

A = P · H · E. E puts θ ∈ R^d at d random places of R^n, H is orthonormal, and P is a `PartitionMap`
from R^n to R^D. Each factor has orthonormal columns, so A has too, exactly, for every d ≤ D. Three
cases:

- n is a power of two, at least 8 d and 1024, where that is at most 2^16 and D: H is the
  Walsh–Hadamard transform. It costs O(d log d) and the rest is one gather.
- otherwise, where D is at most 2^16, n = D: H is the transform of the first 2^k places, random
  signs, and the transform of the last 2^k, with 2^k the largest power of two up to D; P is a signed
  permutation. O(D log D).
- otherwise H E is `Strips`, and n is 32 d, or D where 128 d > D; there is no P then. O(D).

What it is not: uniform about *single weights*. All entries of a transform have one magnitude, so in
the first case the subspace holds almost the same share of every weight e, ‖Aᵀe‖² = d / (n m), m
weights to a place of R^n, where the share of a uniformly random subspace scatters (Beta(d/2, (D −
d)/2)). A cone about one weight is then hit or missed at once, in no transition. In the second case
the shares scatter too little by what one transform alone reaches, most where D is just below a
power of two and the two share few places: by a third at D = 511. Directions of many weights have
the uniform law (`tests/maps/test_hadamard_law.py`). Take `"orthonormal"` or `"gaussian"` where
single weights decide.

The factor of eight keeps the subspace from showing much of how P deals weights out in groups: of m
weights about m² / 2n pairs are tied to one number. With n = d it would be a partition's own, which
on an ill-conditioned well in the axes of the weights needs up to twice the dimensions of a
uniformly random subspace. In the spirit of Fastfood (Le, Sarlós, Smola, 2013), without its padding
of D to a power of two and with exact column norms.
"""

from __future__ import annotations

import copy
from typing import Self

import numpy as np
import torch

from subspan.canonical import digest, tensor_digest
from subspan.maps.base import LinearMap, check_dims
from subspan.maps.partition import PartitionMap
from subspan.maps.strips import Strips
from subspan.maps.walsh import walsh_hadamard
from subspan.streams import derive, words

_EXPANSION = 8
_SMALLEST = 1024
_LARGEST = 2**16  # the largest n of one or two transforms
_FEW = 128  # where d ≤ D / 128
_SPREAD = 32  # is n / d of `Strips`


def transform(
    x: torch.Tensor, signs: torch.Tensor | None, *, transpose: bool = False
) -> torch.Tensor:
    """Return H x or Hᵀ x along the last axis, (..., n) → (..., n); signs (..., n) or None."""
    if signs is None:
        return walsh_hadamard(x)
    size = x.shape[-1]
    block = 1 << (size.bit_length() - 1)
    if transpose:
        x = torch.cat([x[..., : size - block], walsh_hadamard(x[..., size - block :])], -1) * signs
        return torch.cat([walsh_hadamard(x[..., :block]), x[..., block:]], -1)
    x = torch.cat([walsh_hadamard(x[..., :block]), x[..., block:]], -1) * signs
    return torch.cat([x[..., : size - block], walsh_hadamard(x[..., size - block :])], -1)


class Scattered:
    """H E: R^d → R^n of a seed, n ≤ 2^16. Immutable.

    Args:
        dim: d.
        size: n, a power of two or D.
        seed: of the map.
        twice: whether H is two transforms.

    Attributes:
        size: n.
        positions: where E puts each coordinate, (d,), increasing.
        signs: those within H, (n,), or None but where H is two transforms.
        spread_seed: the seed of P.
    """

    def __init__(self, dim: int, size: int, seed: int, twice: bool) -> None:
        self.size = size
        keys = words(seed, "map", "hadamard", start=0, count=size)
        self.positions = torch.from_numpy(np.sort(np.argsort(keys, kind="stable")[:dim]))
        self.signs: torch.Tensor | None = None
        if twice:
            # The order of keys is that of their high bits; the low one is free.
            bits = (keys & np.uint64(1)).astype(np.float32)
            self.signs = torch.from_numpy(1 - 2 * bits)
        self.spread_seed = derive(seed, "map", "hadamard")

    def mix(self, theta: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """Return H E θ, (..., d) → (..., n); differentiable. It has no use for `out`."""
        inner = theta.new_zeros(*theta.shape[:-1], self.size)
        inner[..., self.positions] = theta
        return transform(inner, self._signs_as(theta))

    def unmix(self, inner: torch.Tensor, overwrite: bool = False) -> torch.Tensor:
        """Return Eᵀ Hᵀ x, (..., n) → (..., d); differentiable. It overwrites nothing."""
        outer = transform(inner, self._signs_as(inner), transpose=True)
        return outer.index_select(-1, self.positions)

    def _signs_as(self, x: torch.Tensor) -> torch.Tensor | None:
        return None if self.signs is None else self.signs.to(x.dtype)

    def to(self, device: torch.device) -> Scattered:
        """Return this mixer on another device."""
        new = copy.copy(self)
        new.positions = self.positions.to(device)
        new.signs = None if self.signs is None else self.signs.to(device)
        return new

    def checksum(self, spread: str | None) -> str:
        """Return the checksum of the map from that of its P."""
        signs = None if self.signs is None else tensor_digest(self.signs.cpu())
        return digest(["hadamard", self.size, self.positions.tolist(), signs, spread])


def make_mixer(dim: int, ambient_dim: int, seed: int) -> Scattered | Strips:
    """Make H E of a map R^d → R^D. It needs no P where its `size` is D and it is `Strips`."""
    order = max(_SMALLEST, 1 << (_EXPANSION * dim - 1).bit_length())
    if min(order, ambient_dim) <= _LARGEST:
        return Scattered(dim, min(order, ambient_dim), seed, twice=order > ambient_dim)
    few = _FEW * dim <= ambient_dim
    return Strips(dim, _SPREAD * dim if few else ambient_dim, seed)


def needs_spread(mixer: Scattered | Strips, ambient_dim: int) -> bool:
    """Whether P is more than the identity."""
    return isinstance(mixer, Scattered) or mixer.size < ambient_dim


class HadamardMap(LinearMap):
    """A with exactly orthonormal columns. O(D) per use; O(D log D) where n = D ≤ 2^16 < 8 d."""

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
        self.dim, self.ambient_dim = dim, ambient_dim
        self.device, self.dtype = torch.device(device), dtype
        mixer = make_mixer(dim, ambient_dim, seed)
        self.mixer = mixer.to(self.device)
        self.spread: PartitionMap | None = None
        if needs_spread(mixer, ambient_dim):
            self.spread = PartitionMap(
                mixer.size, ambient_dim, mixer.spread_seed, device=device, dtype=dtype
            )

    @classmethod
    def revision(cls, dim: int) -> int:
        """Return 1 from 2^13 + 1 dims on, which became whole runs of numbers; else 0."""
        return int(dim > 2**13)

    def _forward(self, theta: torch.Tensor) -> torch.Tensor:
        return self.affine(theta, None)

    def affine(self, theta: torch.Tensor, offset: torch.Tensor | None) -> torch.Tensor:
        """Return A θ + offset, (..., d) → (..., D), outside autograd."""
        if self.spread is None and isinstance(self.mixer, Strips):
            return self.mixer.mix(theta, offset=offset)
        mixed = self.mixer.mix(theta)
        if self.spread is not None:
            return self.spread.affine(mixed, offset)
        return mixed if offset is None else mixed + offset

    def _adjoint(self, v: torch.Tensor) -> torch.Tensor:
        if self.spread is None:
            return self.mixer.unmix(v)
        return self.mixer.unmix(self.spread._adjoint(v), overwrite=True)

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Return this map on another device or in another dtype: the same bits, cast."""
        new = copy.copy(self)
        new.device, new.dtype = torch.device(device or self.device), dtype or self.dtype
        new.mixer = self.mixer.to(new.device)
        if self.spread is not None:
            new.spread = self.spread.to(device, dtype)
        return new

    def checksum(self) -> str:
        """Return a hash of n, the places of θ, the signs and the partition."""
        return self.mixer.checksum(None if self.spread is None else self.spread.checksum())
