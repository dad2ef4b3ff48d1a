"""The `GaussianMap`'s products in Triton: its entries are made again in the kernel, none stored.

The kernels compute what `subspan.maps.gaussian` defines: NumPy's Philox 4x64-10 (Salmon et al.,
2011) on the same key and counters, sixteen bits of its words into the same table of quantiles, one
float32 product with the column's inverse norm. So entries equal the CPU's to the bit, and products
with θ and v agree to rounding. There are no atomics: the same call gives the same bits.
"""

# mypy: disable-error-code="no-untyped-def, misc"

from __future__ import annotations

import copy
import math
from typing import Any, Self

import numpy as np
import torch
import triton
import triton.language as tl

from subspan.maps.base import applied

_BLOCKS = 128  # blocks of Philox, sixteen entries each, in a tile: one for each thread
_SPAN = 2**17  # weights that one program of an adjoint goes through


@triton.jit
def _philox(counter, key):
    """Philox 4x64-10 of the counters (n,): its words in NumPy's order, (4 n,) uint64."""
    k0 = tl.load(key).to(tl.uint64, bitcast=True)
    k1 = tl.load(key + 1).to(tl.uint64, bitcast=True)
    m0 = tl.full((1,), 0xD2E7470EE14C6C93, tl.uint64)
    m1 = tl.full((1,), 0xCA5A826395121157, tl.uint64)
    c0 = counter.to(tl.uint64)
    c1 = tl.zeros_like(c0)
    c2 = tl.zeros_like(c0)
    c3 = tl.zeros_like(c0)
    for _ in tl.static_range(10):
        left, right = c0, c2
        c0 = tl.umulhi(m1, right) ^ c1 ^ k0
        c2 = tl.umulhi(m0, left) ^ c3 ^ k1
        c1 = m1 * right
        c3 = m0 * left
        k0 += tl.full((1,), 0x9E3779B97F4A7C15, tl.uint64)
        k1 += tl.full((1,), 0xBB67AE8584CAA73B, tl.uint64)
    return tl.interleave(tl.interleave(c0, c2), tl.interleave(c1, c3))


@triton.jit
def _entries(table, key, column, tile, words_per_column, start, BLOCKS: tl.constexpr):
    """Entries of one tile of a column before scaling, (16 BLOCKS,) float32: whole numbers."""
    word = column * words_per_column + start // 4
    words = _philox(word // 4 + tile * BLOCKS + tl.arange(0, BLOCKS) + 1, key)  # NumPy's first is 1
    even = tl.interleave(words & 0xFFFF, (words >> 32) & 0xFFFF)
    odd = tl.interleave((words >> 16) & 0xFFFF, words >> 48)
    return tl.load(table + tl.interleave(even, odd).to(tl.int32))


@triton.jit
def _weights(column, tile, words_per_column, start, BLOCKS: tl.constexpr):
    """Which weights a tile's entries belong to, (16 BLOCKS,) int64; some lie outside the slice."""
    low = start // 4
    first = 4 * (low - (column * words_per_column + low) % 4)
    return first + tile * (16 * BLOCKS) + tl.arange(0, 16 * BLOCKS)


@triton.jit
def _forward_kernel(
    out, theta, norms, table, key, words_per_column, start, stop, dim, first, period,
    BLOCKS: tl.constexpr,
):  # fmt: skip
    """Add θ_j · column j for j = first, first + period, …, which lie alike in Philox's blocks."""
    tile = tl.program_id(0).to(tl.int64)
    row = tl.program_id(1).to(tl.int64)
    total = tl.zeros((16 * BLOCKS,), out.dtype.element_ty)
    for j in range(first, dim, period):
        column = tl.cast(j, tl.int64)
        entry = _entries(table, key, column, tile, words_per_column, start, BLOCKS)
        entry *= tl.load(norms + column)
        factor = tl.load(theta + row * dim + column)
        total += entry.to(factor.dtype).to(total.dtype) * factor.to(total.dtype)
    weight = _weights(tl.cast(first, tl.int64), tile, words_per_column, start, BLOCKS)
    inside = (weight >= start) & (weight < stop)
    place = out + row * (stop - start) + weight - start
    tl.store(place, tl.load(place, inside, 0.0) + total, inside)


@triton.jit
def _adjoint_kernel(
    out, v, norms, table, key, words_per_column, start, stop, dim, tiles, BLOCKS: tl.constexpr
):
    """out[row, span, j] = Σ entry · v over the weights of a span of tiles of column j."""
    column = tl.program_id(0).to(tl.int64)
    span = tl.program_id(1).to(tl.int64)
    row = tl.program_id(2).to(tl.int64)
    norm = tl.load(norms + column)
    total = tl.zeros((16 * BLOCKS,), out.dtype.element_ty)
    for i in range(tiles):
        tile = span * tiles + i
        weight = _weights(column, tile, words_per_column, start, BLOCKS)
        inside = (weight >= start) & (weight < stop)
        entry = _entries(table, key, column, tile, words_per_column, start, BLOCKS) * norm
        factor = tl.load(v + row * (stop - start) + weight - start, inside, 0.0)
        total += entry.to(factor.dtype).to(total.dtype) * factor.to(total.dtype)
    tl.store(out + (row * tl.num_programs(1) + span) * dim + column, tl.sum(total))


@triton.jit
def _squares_kernel(
    out, table, key, words_per_column, ambient_dim, tiles, BLOCKS: tl.constexpr
):  # fmt: skip
    """out[j] = Σ (entry of column j before scaling)², exact in int64."""
    column = tl.program_id(0).to(tl.int64)
    total = tl.zeros((16 * BLOCKS,), tl.int64)
    for i in range(tiles):
        tile = tl.cast(i, tl.int64)
        weight = _weights(column, tile, words_per_column, 0, BLOCKS)
        entry = _entries(table, key, column, tile, words_per_column, 0, BLOCKS).to(tl.int64)
        total += tl.where((weight >= 0) & (weight < ambient_dim), entry * entry, 0)
    tl.store(out + column, tl.sum(total))


class FusedGaussian:
    """A of a `GaussianMap`, or its rows `start … stop-1`, applied by the kernels.

    Args:
        dim: d.
        ambient_dim: D.
        key: of Philox, two words, uint64.
        table: quantiles in fixed point, (2¹⁶,).
        device: where θ and v live.
    """

    def __init__(
        self, dim: int, ambient_dim: int, key: np.ndarray, table: np.ndarray, device: torch.device
    ) -> None:
        self.dim, self._all, self._start, self._stop = dim, ambient_dim, 0, ambient_dim
        self._words = -(-ambient_dim // 4)
        self._key = torch.from_numpy(key.view(np.int64)).to(device)
        self._table = torch.from_numpy(table.astype(np.float32)).to(device)  # whole, below 2²⁴
        self._norms = torch.empty(0, device=device)

    def squares(self) -> np.ndarray:
        """Return Σ entry² of each column before scaling, (d,) int64: exact."""
        out = torch.empty(self.dim, dtype=torch.int64, device=self._key.device)
        args = (self._table, self._key, self._words, self._all, self._tiles())
        _squares_kernel[(self.dim,)](out, *args, BLOCKS=_BLOCKS)
        return out.cpu().numpy()

    def scaled(self, inverse_norms: np.ndarray) -> Self:
        """Return this with the factors of the columns, (d,) float32."""
        new = copy.copy(self)
        new._norms = torch.from_numpy(inverse_norms).to(self._key.device)
        return new

    def rows(self, start: int, stop: int) -> Self:
        """Return the map to the weights `start … stop-1` alone."""
        new = copy.copy(self)
        new._start, new._stop = start, stop
        return new

    def __call__(self, theta: torch.Tensor) -> torch.Tensor:
        """Return A θ, (..., d) → (..., stop - start); differentiable."""
        return applied(theta, self, False)

    def _forward(self, theta: torch.Tensor) -> torch.Tensor:
        flat = theta.reshape(-1, self.dim).contiguous()
        out = torch.zeros(
            len(flat), self._stop - self._start, dtype=_sum_dtype(theta), device=theta.device
        )
        period = 4 // math.gcd(self._words, 4)
        for first in range(min(period, self.dim)):
            _forward_kernel[(self._tiles(), len(flat))](
                out, flat, *self._arguments(), first, period, BLOCKS=_BLOCKS
            )
        return out.to(theta.dtype).view(*theta.shape[:-1], -1)

    def _adjoint(self, v: torch.Tensor) -> torch.Tensor:
        flat = v.reshape(-1, self._stop - self._start).contiguous()
        tiles = min(self._tiles(), _SPAN // (16 * _BLOCKS))
        spans = -(-self._tiles() // tiles)
        out = torch.empty(len(flat), spans, self.dim, dtype=_sum_dtype(v), device=v.device)
        _adjoint_kernel[(self.dim, spans, len(flat))](
            out, flat, *self._arguments(), tiles, BLOCKS=_BLOCKS
        )
        return out.sum(1).to(v.dtype).view(*v.shape[:-1], self.dim)

    def _arguments(self) -> tuple[Any, ...]:
        return (
            self._norms,
            self._table,
            self._key,
            self._words,
            self._start,
            self._stop,
            self.dim,
        )

    def _tiles(self) -> int:
        words = -(-self._stop // 4) - self._start // 4 + 3  # a column begins up to 3 into a block
        return -(-words // (4 * _BLOCKS))


def _sum_dtype(x: torch.Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32
