"""`ColumnsMap`: a given matrix as a map, e.g. the singular vectors of a training trajectory."""

from __future__ import annotations

from typing import Self

import torch

from subspan.canonical import tensor_digest
from subspan.errors import invalid
from subspan.maps.base import LinearMap, check_dims


class ColumnsMap(LinearMap):
    """A given as its rows of Aᵀ, shape (d, D). It is data, not a seed: its checksum hashes it.

    Args:
        rows: Aᵀ, shape (d, D); kept as it is, not copied, so several maps can share one basis.
        scales: factors of the columns, shape (d,), so that A = rowsᵀ · diag(scales); None: ones.
    """

    def __init__(self, rows: torch.Tensor, scales: torch.Tensor | None = None) -> None:
        if rows.ndim != 2:
            raise invalid("rows", expected="shape (d, D)", got=f"shape {tuple(rows.shape)}")
        if not all(bool(torch.isfinite(row).all()) for row in rows):  # no temporary of size d · D
            raise invalid("rows", expected="finite numbers", got="NaN or infinity")
        if scales is not None and (
            scales.shape != rows.shape[:1]
            or not bool((torch.isfinite(scales) & (scales > 0)).all())
        ):
            raise invalid("scales", expected=f"{len(rows)} positive numbers", got="others")
        self.dim, self.ambient_dim = rows.shape
        check_dims(self.dim, self.ambient_dim)
        self.device, self.dtype, self._rows = rows.device, rows.dtype, rows.contiguous()
        self.scales = None if scales is None else scales.to(rows.device, rows.dtype)

    @property
    def dense_rows(self) -> torch.Tensor:
        """Aᵀ, shape (d, D), without the scales."""
        return self._rows

    def _forward(self, theta: torch.Tensor) -> torch.Tensor:
        return (theta if self.scales is None else theta * self.scales) @ self._rows

    def _adjoint(self, v: torch.Tensor) -> torch.Tensor:
        pulled = v @ self._rows.T
        return pulled if self.scales is None else pulled * self.scales

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Return this map on another device or in another dtype."""
        return type(self)(self._rows.to(device or self.device, dtype or self.dtype), self.scales)

    def checksum(self) -> str:
        """Return a hash of A."""
        parts = [self._rows] if self.scales is None else [self._rows, self.scales]
        return tensor_digest(*parts)
