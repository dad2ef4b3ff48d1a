"""`Batches`: the order in which a trial sees its rows, from a named stream."""

from __future__ import annotations

import numpy as np
import torch

from subspan.streams import words


class Batches:
    """Row indices of each step: every epoch is a fresh permutation, cut into full batches.

    The rows that do not fill a last batch are left out of that epoch. Step s of a given seed is
    the same whichever step is asked for first.
    """

    def __init__(self, seed: int, train_size: int, batch_size: int) -> None:
        self._seed, self._train_size = seed, train_size
        self._batch_size = min(batch_size, train_size)
        self._per_epoch = max(1, train_size // self._batch_size)
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    def at(self, step: int) -> torch.Tensor:
        """Return the rows of step `step`, shape (batch_size,), int64."""
        epoch, position = divmod(step, self._per_epoch)
        if epoch != self._epoch:
            keys = words(self._seed, "epoch", epoch, start=0, count=self._train_size)
            self._order = torch.from_numpy(np.argsort(keys, kind="stable"))
            self._epoch = epoch
        return self._order[position * self._batch_size : (position + 1) * self._batch_size]
