"""Sums by index, in an order that does not change from call to call.

On a CPU `index_add_` adds in the order of the entries. On a GPU it adds by atomics, in whatever
order threads arrive, so that the last bits differ between two runs; there the entries are sorted by
index first and each run of equal indices is summed by one reduction.
"""

from __future__ import annotations

import functools

import torch


def needs_order(device: torch.device) -> bool:
    """Whether `index_add_` on this device adds in an order of its own."""
    return device.type != "cpu"


class SegmentSum:
    """values (..., n) → sums (..., size): entry i is added to place `index[i]`.

    Args:
        index: places, (n,), in 0 … size - 1.
        size: number of sums.
    """

    def __init__(self, index: torch.Tensor, size: int) -> None:
        self.index, self.size = index, size

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sums; outside autograd."""
        return self.add_to(values.new_zeros(*values.shape[:-1], self.size), values)

    def add_to(self, sums: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Add the values to sums (..., size), in place."""
        if not needs_order(values.device):
            if values.ndim == 1:  # the same sums in the same order, a fifth faster
                return sums.scatter_add_(-1, self.index.long(), values)
            return sums.index_add_(-1, self.index, values)
        order, lengths = self._runs
        if not len(order):
            return sums
        rows = values.index_select(-1, order).reshape(-1, len(order))
        added = torch.segment_reduce(
            rows.flatten(), "sum", lengths=lengths.repeat(len(rows)), unsafe=True, initial=0
        )
        return sums.add_(added.view(sums.shape))

    @functools.cached_property
    def _runs(self) -> tuple[torch.Tensor, torch.Tensor]:
        places, order = torch.sort(self.index, stable=True)
        edges = torch.arange(self.size + 1, device=places.device, dtype=places.dtype)
        # As `bincount`, which on a GPU waits for the largest index.
        return order.int(), torch.searchsorted(places, edges).diff()
