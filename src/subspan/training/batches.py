"""`Batches`: the order in which a trial sees its rows, from a named stream."""

from __future__ import annotations

import numpy as np
import torch

from subspan.streams import words

_TOP = np.uint64(1 << 63)


class Batches:
    """Row indices of each step: every epoch is a fresh permutation, cut into full batches.

    The rows that do not fill a last batch are left out of that epoch. Step s of a given seed is
    the same whichever step is asked for first.

    An epoch's random words go to the device at once, which sorts them: no step copies indices.

    Args:
        seed: of the stream.
        train_size: rows that there are.
        batch_size: rows of a step.
        device: where the indices are wanted.
    """

    def __init__(
        self,
        seed: int,
        train_size: int,
        batch_size: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self._seed, self._train_size, self._device = seed, train_size, torch.device(device)
        self._batch_size = min(batch_size, train_size)
        self._per_epoch = max(1, train_size // self._batch_size)
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    def at(self, step: int) -> torch.Tensor:
        """Return the rows of step `step`, shape (batch_size,), int64."""
        epoch, position = divmod(step, self._per_epoch)
        if epoch != self._epoch:
            keys = words(self._seed, "epoch", epoch, start=0, count=self._train_size)
            signed = torch.from_numpy((keys ^ _TOP).view(np.int64))  # in the same order
            self._order = torch.argsort(sent(signed, self._device), stable=True)
            self._epoch = epoch
        return self._order[position * self._batch_size : (position + 1) * self._batch_size]


def sent(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a tensor of the CPU on a device, without waiting for what the device has to do."""
    pinned = tensor.pin_memory() if device.type == "cuda" else tensor
    return pinned.to(device, non_blocking=True)
