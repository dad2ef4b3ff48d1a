"""`SparseMap`: a few ±1 entries per column, on disjoint supports where they fit."""

from __future__ import annotations

import math
from typing import Self

import numpy as np
import torch

from subspan.canonical import tensor_digest
from subspan.errors import invalid
from subspan.maps.base import LinearMap, check_dims
from subspan.maps.segments import SegmentSum
from subspan.streams import words


class SparseMap(LinearMap):
    """A with `nnz` entries ±1/√nnz in each column, at random rows without repetition.

    Where nnz · d ≤ D the supports are disjoint (the official code's option) and the columns
    orthonormal; else each column draws its rows by itself and columns have unit norm only.

    Args:
        nnz: entries per column; None takes ⌈√D⌉, the density 1/√D of Li et al. (2018).
    """

    def __init__(
        self,
        dim: int,
        ambient_dim: int,
        seed: int,
        *,
        nnz: int | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        check_dims(dim, ambient_dim)
        nnz = math.isqrt(ambient_dim - 1) + 1 if nnz is None else nnz
        if not isinstance(nnz, int) or not 1 <= nnz <= ambient_dim:
            raise invalid("nnz", expected=f"an integer in 1 … {ambient_dim}", got=repr(nnz))
        if nnz * dim <= ambient_dim:
            keys = words(seed, "map", "sparse", start=0, count=ambient_dim)
            rows = np.argsort(keys, kind="stable")[: nnz * dim].reshape(dim, nnz)
        else:
            rows = np.empty((dim, nnz), np.int64)
            for j in range(dim):
                keys = words(seed, "map", "sparse", start=j * ambient_dim, count=ambient_dim)
                rows[j] = np.argsort(keys, kind="stable")[:nnz]
        bits = words(seed, "map", "sparse", "sign", start=0, count=dim * nnz) & np.uint64(1)
        exact = np.where(bits.astype(bool), -1.0, 1.0).reshape(dim, nnz) / math.sqrt(nnz)
        self._init(
            ambient_dim,
            torch.from_numpy(rows),
            torch.from_numpy(exact),
            torch.device(device),
            dtype,
        )

    def _init(
        self,
        ambient_dim: int,
        rows: torch.Tensor,
        exact: torch.Tensor,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.dim, self.nnz = rows.shape
        self.ambient_dim, self.device, self.dtype = ambient_dim, device, dtype
        self._exact = exact
        self.rows, self.entry = rows.to(device), exact.to(device, dtype)
        self._sum = SegmentSum(self.rows.flatten(), ambient_dim)

    def _forward(self, theta: torch.Tensor) -> torch.Tensor:
        return self._sum((theta[..., None] * self.entry).flatten(-2))

    def _adjoint(self, v: torch.Tensor) -> torch.Tensor:
        picked = v.index_select(-1, self.rows.flatten()).unflatten(-1, (self.dim, self.nnz))
        return (picked * self.entry).sum(-1)

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Return this map on another device or in another dtype: the same bits, cast."""
        new = type(self).__new__(type(self))
        target = torch.device(device or self.device)
        new._init(self.ambient_dim, self.rows, self._exact, target, dtype or self.dtype)
        return new

    def checksum(self) -> str:
        """Return a hash of the rows and float32 entries of every column."""
        return tensor_digest(self.rows, self._exact.to(torch.float32))
