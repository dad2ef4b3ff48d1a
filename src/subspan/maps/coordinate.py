"""`CoordinateMap`: a choice of weights, each its own coordinate: masks, layers, full space."""

from __future__ import annotations

from typing import Self

import torch

from subspan.canonical import tensor_digest
from subspan.errors import invalid
from subspan.maps.base import LinearMap, check_dims


class CoordinateMap(LinearMap):
    """A whose columns are the unit vectors of chosen weights: exactly orthonormal.

    Args:
        indices: positions in the flat weight vector, shape (d,), increasing, int64.
        ambient_dim: D.
    """

    def __init__(
        self, indices: torch.Tensor, ambient_dim: int, *, dtype: torch.dtype = torch.float32
    ) -> None:
        self.indices = indices.to(torch.int64)
        self.dim, self.ambient_dim = len(indices), ambient_dim
        check_dims(self.dim, ambient_dim)
        steps = torch.diff(self.indices)
        if self.indices[0] < 0 or self.indices[-1] >= ambient_dim or (steps <= 0).any():
            raise invalid(
                "indices", expected=f"increasing positions below {ambient_dim}", got="others"
            )
        self.device, self.dtype = indices.device, dtype

    @classmethod
    def identity(cls, ambient_dim: int, *, dtype: torch.dtype = torch.float32) -> CoordinateMap:
        """Return the full space: d = D, every weight its own coordinate."""
        return cls(torch.arange(ambient_dim), ambient_dim, dtype=dtype)

    def _forward(self, theta: torch.Tensor) -> torch.Tensor:
        if self.dim == self.ambient_dim:
            return theta.clone()
        out = theta.new_zeros(*theta.shape[:-1], self.ambient_dim)
        return out.index_copy_(-1, self.indices, theta)

    def _adjoint(self, v: torch.Tensor) -> torch.Tensor:
        return v.clone() if self.dim == self.ambient_dim else v.index_select(-1, self.indices)

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Return this map on another device or in another dtype."""
        moved = self.indices.to(device or self.device)
        return type(self)(moved, self.ambient_dim, dtype=dtype or self.dtype)

    def checksum(self) -> str:
        """Return a hash of the chosen positions."""
        return tensor_digest(self.indices)
