"""Maps cut along the weights: A θ and Aᵀ v for one tensor's slice [start, stop) at a time.

The same A as `subspan.maps.make` gives, bit for bit in float32.
"""

from __future__ import annotations

import abc
from typing import Any, Self

import torch

_CHUNK_CPU = 2**18  # stays in the second-level cache
_CHUNK_GPU = 2**22  # bounds what sorting needs


class SlicedMap(abc.ABC):
    """A linear map A: R^d → R^D in use slice by slice.

    Laws: `read(table(θ), a, b)` = (A θ)[a:b]; `collect` over slices that cover 0 … D gives, pulled
    back through `table`, Aᵀ v; `checksum()` is that of the map whole.

    Immutable, so that copies of a module share it.

    Attributes:
        name: as in `subspan.maps.names()`.
        dim: d.
        ambient_dim: D.
        device: where it is used.
        tabulates: whether the table is more than θ itself.
    """

    name: str
    dim: int
    ambient_dim: int
    device: torch.device
    tabulates = False

    def table(self, theta: torch.Tensor, memory: torch.Tensor | None = None) -> torch.Tensor:
        """Return the numbers that slices are read from, (d,) → (m,); differentiable.

        They are θ itself unless the map `tabulates`. They may be written over those of another
        table of this map that is given.
        """
        return theta

    @abc.abstractmethod
    def read(self, table: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        """Return (A θ)[start:stop], shape (stop - start,); differentiable."""

    @abc.abstractmethod
    def collect(self, v: torch.Tensor, start: int, stop: int, into: torch.Tensor) -> None:
        """Add the pull-back of v (stop - start,) to the gradient `into` (m,) of the table."""

    @abc.abstractmethod
    def to(self, device: torch.device) -> Self:
        """Return this map on another device."""

    @abc.abstractmethod
    def checksum(self) -> str:
        """Return the checksum of the map, as `LinearMap.checksum`."""

    @property
    def chunk(self) -> int:
        """The number of weights to handle at a time."""
        return _CHUNK_CPU if self.device.type == "cpu" else _CHUNK_GPU

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self
