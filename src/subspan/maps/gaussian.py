"""`GaussianMap`: i.i.d. Gaussian entries, each column scaled to unit norm: the paper's map.

Entry (i, j) is a pure function of the seed, i and j. Sixteen random bits index a table of the
normal's quantiles in fixed point, so that all arithmetic up to the column's norm is on integers
and no transcendental function is evaluated: the bits are the same on every device, in any
chunking and in later releases. The table's Kolmogorov distance to N(0, 1) is below 2⁻¹⁶; its
largest value is 4.17. The first d' columns of a map are the map of dimension d'.

A map too large to keep is generated again at each use: on a GPU inside a Triton kernel
(`gaussian_triton`), elsewhere, or where Triton is not installed, by NumPy in chunks.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterator
from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from subspan.canonical import tensor_digest
from subspan.maps.base import LinearMap, check_dims
from subspan.streams import stream, words

if TYPE_CHECKING:
    from subspan.maps.gaussian_triton import FusedGaussian

_FIXED_POINT = 2**16
_ENTRIES_PER_WORD = 4
_CHUNK_ENTRIES = 2**24
_CHECKSUM_COLUMNS = 8
DENSE_BYTES = 2**29  # up to here A is kept; above, it is generated again at each use


@functools.cache
def quantile_table() -> np.ndarray:
    """Return the 2¹⁶ mid-point quantiles of N(0, 1) times 2¹⁶, unit variance, int32."""
    from scipy.special import ndtri

    z = ndtri((np.arange(2**16) + 0.5) / 2**16)
    return np.rint(z / np.sqrt(np.mean(z**2)) * _FIXED_POINT).astype(np.int32)


def integer_columns(seed: int, ambient_dim: int, first: int, last: int) -> np.ndarray:
    """Return columns `first … last-1` before scaling, as rows: (last - first, D), int32."""
    per_column = -(-ambient_dim // _ENTRIES_PER_WORD)
    raw = words(
        seed, "map", "gaussian", start=first * per_column, count=(last - first) * per_column
    )
    levels = raw.astype("<u8", copy=False).view("<u2").reshape(last - first, -1)[:, :ambient_dim]
    return quantile_table()[levels]


def has_kernels(device: torch.device) -> bool:
    """Whether a map too large to keep is generated inside a Triton kernel on this device."""
    return device.type == "cuda" and importlib.util.find_spec("triton") is not None


def _kernels(dim: int, ambient_dim: int, seed: int, device: torch.device) -> FusedGaussian:
    from subspan.maps.gaussian_triton import FusedGaussian

    key = stream(seed, "map", "gaussian").bit_generator.state["state"]["key"]
    return FusedGaussian(dim, ambient_dim, key, quantile_table(), device)


class GaussianMap(LinearMap):
    """A with i.i.d. Gaussian entries and unit-norm columns, not orthogonalised.

    Source: Larsen et al. (2022), official code. Kept dense while it fits `dense_bytes`, else
    generated again at each use: O(D) memory, O(D d) time.

    Attributes:
        fused: the map as Triton kernels, where it is generated in them; else None.
    """

    def __init__(
        self,
        dim: int,
        ambient_dim: int,
        seed: int,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        dense_bytes: int = DENSE_BYTES,
    ) -> None:
        check_dims(dim, ambient_dim)
        self.dim, self.ambient_dim, self.seed = dim, ambient_dim, seed
        self.device, self.dtype, self.dense_bytes = torch.device(device), dtype, dense_bytes
        self._inverse_norms = np.empty(dim, np.float32)
        self._rows: torch.Tensor | None = None
        self.fused: FusedGaussian | None = None
        keep = dim * ambient_dim * dtype.itemsize <= dense_bytes
        if not keep and has_kernels(self.device):
            kernels = _kernels(dim, ambient_dim, seed, self.device)
            self._inverse_norms[:] = 1.0 / np.sqrt(kernels.squares().astype(np.float64))
            self.fused = kernels.scaled(self._inverse_norms)
            return
        rows = torch.empty(dim, ambient_dim, dtype=torch.float32) if keep else None
        for first, last in self._chunks():
            chunk = integer_columns(seed, ambient_dim, first, last)
            squares = np.array([np.dot(c, c) for c in chunk.astype(np.int64)])
            self._inverse_norms[first:last] = 1.0 / np.sqrt(squares.astype(np.float64))
            if rows is not None:
                rows[first:last] = self._scaled(chunk, first, last)
        self._rows = None if rows is None else rows.to(self.device, dtype)

    def _chunks(self) -> list[tuple[int, int]]:
        step = max(1, _CHUNK_ENTRIES // self.ambient_dim)
        return [(j, min(j + step, self.dim)) for j in range(0, self.dim, step)]

    def _scaled(self, chunk: np.ndarray, first: int, last: int) -> torch.Tensor:
        return torch.from_numpy(chunk.astype(np.float32) * self._inverse_norms[first:last, None])

    def rows(self, first: int, last: int) -> torch.Tensor:
        """Return columns `first … last-1` of A as rows, shape (last - first, D)."""
        if self._rows is not None:
            return self._rows[first:last]
        chunk = integer_columns(self.seed, self.ambient_dim, first, last)
        return self._scaled(chunk, first, last).to(self.device, self.dtype)

    def slice_rows(self, start: int, stop: int) -> Iterator[tuple[int, int, torch.Tensor]]:
        """Yield (first, last, rows (last - first, stop - start)) of weights `start …`."""
        step = max(1, _CHUNK_ENTRIES // max(1, stop - start))
        per_column = -(-self.ambient_dim // _ENTRIES_PER_WORD)
        low, skip = divmod(start, _ENTRIES_PER_WORD)
        count = -(-stop // _ENTRIES_PER_WORD) - low
        for first in range(0, self.dim, step):
            last = min(first + step, self.dim)
            raw = np.stack(
                [
                    words(self.seed, "map", "gaussian", start=j * per_column + low, count=count)
                    for j in range(first, last)
                ]
            )
            levels = raw.astype("<u8", copy=False).view("<u2")[:, skip : skip + stop - start]
            rows = self._scaled(quantile_table()[levels], first, last)
            yield first, last, rows.to(self.device, self.dtype)

    @property
    def dense_rows(self) -> torch.Tensor | None:
        """Aᵀ, shape (d, D), where it is kept; else None."""
        return self._rows

    def _forward(self, theta: torch.Tensor) -> torch.Tensor:
        if self._rows is not None:
            return theta @ self._rows
        if self.fused is not None:
            return self.fused._forward(theta)
        out = theta.new_zeros(*theta.shape[:-1], self.ambient_dim)
        for first, last in self._chunks():
            out += theta[..., first:last] @ self.rows(first, last)
        return out

    def _adjoint(self, v: torch.Tensor) -> torch.Tensor:
        if self._rows is not None:
            return v @ self._rows.T
        if self.fused is not None:
            return self.fused._adjoint(v)
        return torch.cat([v @ self.rows(*chunk).T for chunk in self._chunks()], dim=-1)

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Return this map on another device or in another dtype: the same bits, cast."""
        device, dtype = torch.device(device or self.device), dtype or self.dtype
        if (device, dtype) == (self.device, self.dtype):
            return self
        return type(self)(
            self.dim,
            self.ambient_dim,
            self.seed,
            device=device,
            dtype=dtype,
            dense_bytes=self.dense_bytes,
        )

    def checksum(self) -> str:
        """Return a hash of all column norms and of the first eight columns' entries."""
        last = min(self.dim, _CHECKSUM_COLUMNS)
        head = integer_columns(self.seed, self.ambient_dim, 0, last).astype("<i4")
        norms = self._inverse_norms.astype("<f4")
        return tensor_digest(head, norms)
