"""`ComposedMap`: one map after another, e.g. a random map into the weights of the last layer."""

from __future__ import annotations

from typing import Self

import torch

from subspan.canonical import digest
from subspan.errors import invalid
from subspan.maps.base import LinearMap, check_dims


class ComposedMap(LinearMap):
    """A = outer · inner, R^d → R^m → R^D. Orthonormal where both are.

    Args:
        outer: R^m → R^D.
        inner: R^d → R^m.
    """

    def __init__(self, outer: LinearMap, inner: LinearMap) -> None:
        if inner.ambient_dim != outer.dim:
            raise invalid("inner", expected=f"a map into R^{outer.dim}", got=inner.ambient_dim)
        self.outer, self.inner = outer, inner
        self.dim, self.ambient_dim = inner.dim, outer.ambient_dim
        check_dims(self.dim, self.ambient_dim)
        self.device, self.dtype = outer.device, outer.dtype

    def _forward(self, theta: torch.Tensor) -> torch.Tensor:
        return self.outer._forward(self.inner._forward(theta))

    def _adjoint(self, v: torch.Tensor) -> torch.Tensor:
        return self.inner._adjoint(self.outer._adjoint(v))

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Return this map on another device or in another dtype."""
        return type(self)(self.outer.to(device, dtype), self.inner.to(device, dtype))

    def checksum(self) -> str:
        """Return a hash of both maps' checksums."""
        return digest([self.outer.checksum(), self.inner.checksum()])
