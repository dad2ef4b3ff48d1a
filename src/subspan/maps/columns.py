"""`ColumnsMap`: a given matrix as a map, e.g. the singular vectors of a training trajectory."""

from __future__ import annotations

from typing import Self

import torch

from subspan.canonical import tensor_digest
from subspan.errors import invalid
from subspan.maps.base import LinearMap, check_dims


class ColumnsMap(LinearMap):
    """A given as its rows of Aᵀ, shape (d, D). It is data, not a seed: its checksum hashes it."""

    def __init__(self, rows: torch.Tensor) -> None:
        if rows.ndim != 2:
            raise invalid("rows", expected="shape (d, D)", got=f"shape {tuple(rows.shape)}")
        if not torch.isfinite(rows).all():
            raise invalid("rows", expected="finite numbers", got="NaN or infinity")
        self.dim, self.ambient_dim = rows.shape
        check_dims(self.dim, self.ambient_dim)
        self.device, self.dtype, self._rows = rows.device, rows.dtype, rows.contiguous()

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
        """Return this map on another device or in another dtype."""
        return type(self)(self._rows.to(device or self.device, dtype or self.dtype))

    def checksum(self) -> str:
        """Return a hash of A."""
        return tensor_digest(self._rows)
