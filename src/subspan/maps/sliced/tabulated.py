"""`partition` and `hadamard`, cut along the weights: slices are read from a table made of θ once.

One small integer per weight is kept (two bytes while 2 n ≤ 2¹⁵, else four), which points into a
table of n numbers and their negatives. A table too large for a cache has no negatives: there the
integer's top bit is the sign. So no vector of all D weights is made beside the module's own, with
one exception: `hadamard` with d > D / 128 keeps no integers, and slices are read from A θ itself.
"""

from __future__ import annotations

import abc
import copy
from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np
import torch

from subspan.canonical import chunked_digest
from subspan.maps.base import at_full_precision, check_dims, looked_into, traced
from subspan.maps.hadamard import Scattered, make_mixer, needs_spread
from subspan.maps.partition import LARGEST_SHUFFLED, deals
from subspan.maps.segments import SegmentSum
from subspan.maps.sliced.base import SlicedMap
from subspan.maps.strips import Strips

_DIGEST_CHUNK = 2**20
_SIGN, _PLACE = -(2**31), 2**31 - 1  # the parts of an index that has a sign


class TabulatedMap(SlicedMap):
    """A map whose slices are read from a table that is made of θ once: `expand` makes it."""

    tabulates = True

    @abc.abstractmethod
    def expand(self, theta: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """Return the table in plain operations, (d,) → (m,); in the memory of `out` if given."""

    @abc.abstractmethod
    def contract(self, table: torch.Tensor, overwrite: bool = False) -> torch.Tensor:
        """Return the adjoint of `expand`, (m,) → (d,); it may overwrite the table on request."""

    def table(self, theta: torch.Tensor, memory: torch.Tensor | None = None) -> torch.Tensor:
        """Return `expand(θ)`. Autograd stores nothing, so a table may be used again."""
        if traced():
            return self.expand(theta)
        # In a list: autograd would take the memory for an input.
        result: torch.Tensor = _Table.apply(theta, self, False, [memory])
        return result


class _Table(torch.autograd.Function):
    """`expand`, or its adjoint: linear, so backward needs nothing from the forward pass."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, sliced: TabulatedMap, transpose: bool, memory: Sequence[Any]
    ) -> torch.Tensor:
        ctx.sliced, ctx.transpose = sliced, transpose
        if transpose:
            return sliced.contract(x)
        return sliced.expand(x, *(None if m is None else m.detach() for m in memory))

    @staticmethod
    @at_full_precision
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        sliced, transpose = ctx.sliced, ctx.transpose
        if looked_into(grads[0]):
            own = sliced.expand if transpose else sliced.contract
            return own(grads[0]), None, None, None
        if torch.is_grad_enabled():
            return _Table.apply(grads[0], sliced, not transpose, []), None, None, None
        if transpose:
            return sliced.expand(grads[0]), None, None, None
        return sliced.contract(grads[0], overwrite=True), None, None, None


class StripSlices(TabulatedMap):
    """`hadamard` where d > D / 128, and both are large: the table is A θ, made in whole runs."""

    def __init__(self, dim: int, ambient_dim: int, strips: Strips) -> None:
        self.name, self.dim, self.ambient_dim = "hadamard", dim, ambient_dim
        self.device, self._strips = torch.device("cpu"), strips

    def expand(self, theta: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """Return A θ."""
        return self._strips.mix(theta, out)

    def contract(self, table: torch.Tensor, overwrite: bool = False) -> torch.Tensor:
        """Return Aᵀ v."""
        return self._strips.unmix(table, overwrite)

    def read(self, table: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        """Return (A θ)[start:stop]."""
        return table[..., start:stop]

    def collect(self, v: torch.Tensor, start: int, stop: int, into: torch.Tensor) -> None:
        """Add v in its place."""
        into[start:stop] += v

    def to(self, device: torch.device) -> Self:
        """Return this map on another device."""
        if device == self.device:
            return self
        new = copy.copy(self)
        new.device, new._strips = device, self._strips.to(device)
        return new

    def checksum(self) -> str:
        """Return the checksum of the map."""
        return self._strips.checksum(None)


class IndexedMap(TabulatedMap):
    """`partition` or `hadamard`: w_i = ± x_j / √n_j with one stored integer per weight.

    The table is (x / √n, -x / √n), or its first half where indices have signs.

    Args:
        dim: d.
        ambient_dim: D.
        seed: of the partition.
        mixer: what makes x of θ for `hadamard`; x is θ for `partition`.
    """

    def __init__(
        self, dim: int, ambient_dim: int, seed: int, mixer: Scattered | Strips | None = None
    ) -> None:
        self.name = "partition" if mixer is None else "hadamard"
        self.dim, self.ambient_dim = dim, ambient_dim
        self.device, self._mixer = torch.device("cpu"), mixer
        inner = dim if mixer is None else mixer.size
        self._inner = inner
        self._signed = inner > LARGEST_SHUFFLED
        minus = np.int32(_SIGN if self._signed else inner)
        narrow = 2 * inner <= 2**15 and not self._signed
        index = np.empty(ambient_dim, np.int16 if narrow else np.int32)
        counts = np.zeros(inner, np.int64)
        for start, coordinate, negative in deals(seed, inner, ambient_dim):
            index[start : start + len(coordinate)] = coordinate + minus * negative
            counts += np.bincount(coordinate, minlength=inner)
        self._exact_scale = torch.from_numpy(1.0 / np.sqrt(counts.astype(np.float64)))
        self._scale = self._exact_scale.float()
        self._index = torch.from_numpy(index)
        self._checksum: str | None = None

    def expand(self, theta: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """Return the table."""
        memory = out if self._signed else None
        if self._mixer is None:
            x = torch.mul(theta, self._scale_as(theta), out=memory)
        else:
            x = self._mixer.mix(theta, memory)
            x *= self._scale_as(x)
        return x if self._signed else torch.cat([x, -x], -1, out=out)

    def contract(self, table: torch.Tensor, overwrite: bool = False) -> torch.Tensor:
        """Return the adjoint of `expand`."""
        if not self._signed:
            table = table[..., : self._inner] - table[..., self._inner :]
            overwrite = True
        scale = self._scale_as(table)
        x = table.mul_(scale) if overwrite else table * scale
        return x if self._mixer is None else self._mixer.unmix(x, overwrite=True)

    def _scale_as(self, x: torch.Tensor) -> torch.Tensor:
        return self._scale if x.dtype == torch.float32 else self._exact_scale

    def read(self, table: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        """Return (A θ)[start:stop]."""
        index = self._index[start:stop].int()
        if not self._signed:
            return table.index_select(-1, index)
        return _signed(table.index_select(-1, index & _PLACE), index)

    def collect(self, v: torch.Tensor, start: int, stop: int, into: torch.Tensor) -> None:
        """Add each weight's v to its entry of the table."""
        index = self._index[start:stop].int()
        if self._signed:
            v, index = _signed(v, index), index & _PLACE
        SegmentSum(index, len(into)).add_to(into, v)

    def to(self, device: torch.device) -> Self:
        """Return this map on another device."""
        if device == self.device:
            return self
        new = copy.copy(self)
        new.device = device
        for name in ("_index", "_scale", "_exact_scale"):
            setattr(new, name, getattr(self, name).to(device))
        new._mixer = None if self._mixer is None else self._mixer.to(device)
        return new

    def checksum(self) -> str:
        """Return the checksum of the map, hashed in chunks."""
        if self._checksum is None:
            scale = self._scale.cpu().numpy()
            shape = (self.ambient_dim,)
            spread = chunked_digest(
                (np.dtype("<i4"), shape, (place for place, _ in self._entries())),
                (np.dtype("<f4"), shape, (sign * scale[place] for place, sign in self._entries())),
            )
            self._checksum = spread if self._mixer is None else self._mixer.checksum(spread)
        return self._checksum

    def _entries(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the coordinates (int32) and signs (float32) of runs of weights."""
        for part in self._index.cpu().split(_DIGEST_CHUNK):
            index = part.numpy().astype(np.int32)
            place = index & np.int32(_PLACE) if self._signed else index % np.int32(self._inner)
            negative = index < 0 if self._signed else index >= self._inner
            yield place, np.where(negative, np.float32(-1), np.float32(1))


def _signed(values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Return values with the signs of an index that has them."""
    if values.dtype != torch.float32 or values.requires_grad or traced():
        return torch.where(index < 0, -values, values)
    return (values.view(torch.int32) ^ (index & _SIGN)).view(torch.float32)


def make_tabulated(name: str, dim: int, ambient_dim: int, seed: int) -> TabulatedMap:
    """Make `partition` or `hadamard`."""
    check_dims(dim, ambient_dim)
    if name == "partition":
        return IndexedMap(dim, ambient_dim, seed)
    mixer = make_mixer(dim, ambient_dim, seed)
    if needs_spread(mixer, ambient_dim):
        return IndexedMap(dim, ambient_dim, mixer.spread_seed, mixer)
    assert isinstance(mixer, Strips)
    return StripSlices(dim, ambient_dim, mixer)
