"""`ZeroSlices`: any map at d = 0, where A θ is 0 and nothing is trained."""

from __future__ import annotations

import copy
from typing import Self

import torch

from subspan.canonical import digest
from subspan.maps.sliced.base import SlicedMap


class ZeroSlices(SlicedMap):
    """The map R^0 → R^D: of no columns, so the same whatever its name and seed."""

    dim = 0

    def __init__(self, name: str, ambient_dim: int) -> None:
        self.name, self.ambient_dim = name, ambient_dim
        self.device = torch.device("cpu")

    def read(self, table: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        """Return zeros (stop - start,), which hang on θ as those of other maps do."""
        return table.sum(-1, keepdim=True).expand(*table.shape[:-1], stop - start)

    def collect(self, v: torch.Tensor, start: int, stop: int, into: torch.Tensor) -> None:
        """Add nothing: the gradient has no entries."""

    def to(self, device: torch.device) -> Self:
        """Return this map on another device."""
        new = copy.copy(self)
        new.device = device
        return new

    def checksum(self) -> str:
        """Return a digest of name, d and D: there is no map whole to have one."""
        return digest([self.name, self.dim, self.ambient_dim])
