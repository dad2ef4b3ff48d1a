"""Maps cut along the weights that are read from θ itself: `sparse`, and those kept as rows."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Self

import torch

from subspan.maps.base import LinearMap, traced
from subspan.maps.gaussian import GaussianMap
from subspan.maps.segments import SegmentSum
from subspan.maps.sliced.base import SlicedMap
from subspan.maps.sparse import SparseMap


class SparseSlices(SlicedMap):
    """`sparse`: the entries of A in order of their rows."""

    def __init__(self, whole: SparseMap) -> None:
        self.name, self.dim, self.ambient_dim = "sparse", whole.dim, whole.ambient_dim
        self.device = torch.device("cpu")
        self._whole = whole
        rows = whole.rows.flatten()
        order = torch.argsort(rows, stable=True)
        self._rows, self._entry = rows[order], whole.entry.flatten()[order]
        self._column = order // whole.nnz

    def _slice(self, start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        edges = torch.tensor([start, stop], device=self.device)
        a, b = torch.searchsorted(self._rows, edges).tolist()
        return self._rows[a:b] - start, self._column[a:b], self._entry[a:b]

    def read(self, table: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        """Return (A θ)[start:stop]."""
        rows, column, entry = self._slice(start, stop)
        values = table.index_select(-1, column) * entry.to(table.dtype)
        if traced():
            return table.new_zeros(*table.shape[:-1], stop - start).index_add(-1, rows, values)
        return SegmentSum(rows, stop - start)(values)

    def collect(self, v: torch.Tensor, start: int, stop: int, into: torch.Tensor) -> None:
        """Add the entries of these rows."""
        rows, column, entry = self._slice(start, stop)
        SegmentSum(column, len(into)).add_to(into, v.index_select(-1, rows) * entry.to(v.dtype))

    def to(self, device: torch.device) -> Self:
        """Return this map on another device."""
        new = copy.copy(self)
        new.device = device
        for name in ("_rows", "_column", "_entry"):
            setattr(new, name, getattr(self, name).to(device))
        return new

    def checksum(self) -> str:
        """Return the checksum of the map."""
        return self._whole.checksum()


class RowSlices(SlicedMap):
    """Any map, kept as the rows of Aᵀ, (d, D), or a `gaussian` one generated again at each use.

    For small d or small modules: O(d) time per weight.
    """

    def __init__(self, name: str, whole: LinearMap) -> None:
        self.name, self.dim, self.ambient_dim = name, whole.dim, whole.ambient_dim
        self.device, self._whole = torch.device("cpu"), whole
        self._rows: torch.Tensor | None = getattr(whole, "dense_rows", None)
        if self._rows is None and not isinstance(whole, GaussianMap):
            self._rows = whole.dense().T.contiguous()
        self._fused = getattr(whole, "fused", None)

    def _parts(self, start: int, stop: int) -> Iterator[tuple[int, int, torch.Tensor]]:
        if self._rows is not None:
            yield 0, self.dim, self._rows[:, start:stop]
            return
        assert isinstance(self._whole, GaussianMap)
        for first, last, rows in self._whole.slice_rows(start, stop):
            yield first, last, rows.to(self.device)

    def read(self, table: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        """Return (A θ)[start:stop]."""
        if self._fused is not None:
            return self._fused.rows(start, stop)(table)
        parts = [table[..., a:b] @ rows.to(table.dtype) for a, b, rows in self._parts(start, stop)]
        return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)

    def collect(self, v: torch.Tensor, start: int, stop: int, into: torch.Tensor) -> None:
        """Add Aᵀ v of these rows."""
        if self._fused is not None:
            into += self._fused.rows(start, stop)._adjoint(v)
            return
        for a, b, rows in self._parts(start, stop):
            into[a:b] += rows.to(v.dtype) @ v

    def to(self, device: torch.device) -> Self:
        """Return this map on another device."""
        new = copy.copy(self)
        new.device = device
        if self._rows is None:  # a map generated again at each use chooses how by its device
            new._whole = self._whole.to(device)
            new._fused = getattr(new._whole, "fused", None)
        else:
            new._rows = self._rows.to(device)
        return new

    def checksum(self) -> str:
        """Return the checksum of the map."""
        return self._whole.checksum()
