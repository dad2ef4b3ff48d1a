"""`OrthonormalMap`: Haar-distributed orthonormal columns.

The Q factor of a Gaussian matrix with positive R diagonal is Haar (Mezzadri, 2007, "How to
generate random matrices from the classical compact groups"). LAPACK's QR differs in the last
bits between machines, so the factor is made here by modified Gram–Schmidt in float64 whose sums
run in a fixed order: the bits depend on the seed alone.
"""

from __future__ import annotations

from typing import Self

import numpy as np
import torch

from subspan.canonical import tensor_digest
from subspan.maps.base import LinearMap, check_dims
from subspan.maps.gaussian import integer_columns


def _fixed_order_dots(q: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return columnsᵀ q with sums in row order: (D,), (D, m) → (m,). One column would coalesce."""
    if columns.shape[1] == 1:
        return np.cumsum(columns[:, 0] * q)[-1:]
    return np.add.reduce(columns * q[:, None], axis=0)


def gram_schmidt(columns: np.ndarray) -> np.ndarray:
    """Orthonormalise columns (D, d) by modified Gram–Schmidt in a fixed order of operations."""
    z = np.array(columns, dtype=np.float64, order="C")
    for j in range(z.shape[1]):
        z[:, j] /= np.sqrt(np.cumsum(z[:, j] * z[:, j])[-1])
        if j + 1 < z.shape[1]:
            rest = z[:, j + 1 :]
            rest -= z[:, j, None] * _fixed_order_dots(z[:, j], rest)
    return z


class OrthonormalMap(LinearMap):
    """A with Haar-distributed orthonormal columns: AᵀA = I.

    Costs O(D d²) to make and O(D d) memory: for small problems, where it is the exact object of
    the theory. `hadamard` and `partition` are exactly orthonormal too, at O(D).
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
        columns = gram_schmidt(integer_columns(seed, ambient_dim, 0, dim).T)
        rows = torch.from_numpy(np.ascontiguousarray(columns.T))
        self._init(dim, ambient_dim, rows, torch.device(device), dtype)

    def _init(
        self,
        dim: int,
        ambient_dim: int,
        exact: torch.Tensor,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.dim, self.ambient_dim, self.device, self.dtype = dim, ambient_dim, device, dtype
        self._exact = exact
        self._rows = exact.to(device, dtype)

    @property
    def dense_rows(self) -> torch.Tensor:
        """Aᵀ, shape (d, D)."""
        return self._rows

    def _forward(self, theta: torch.Tensor) -> torch.Tensor:
        return theta @ self._rows

    def _adjoint(self, v: torch.Tensor) -> torch.Tensor:
        return v @ self._rows.T

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Return this map on another device or in another dtype: the same bits, cast."""
        new = type(self).__new__(type(self))
        new._init(
            self.dim,
            self.ambient_dim,
            self._exact,
            torch.device(device or self.device),
            dtype or self.dtype,
        )
        return new

    def checksum(self) -> str:
        """Return a hash of A in float32."""
        return tensor_digest(self._exact.to(torch.float32))
