"""What training takes of memory, beyond the data: worked out on a few rows, before it begins."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from subspan.problems.base import AbstractProblem
from subspan.problems.precision import full_precision
from subspan.streams import scoped_torch_rng

_ROWS = 8  # on which it is tried; and twice as many
_WEIGHT_VECTORS = 6  # offset, weights, gradient, and as much while a map makes or takes them
_KEPT = 1.75  # of the peak, that a process holds which keeps what it frees, in pieces


class _Peak(TorchDispatchMode):
    """Counts bytes of the tensors that live at once of those that are made within."""

    def __init__(self) -> None:
        super().__init__()
        self._alive: dict[int, weakref.ref[Any]] = {}
        self._now = self.bytes = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        given = {id(t.untyped_storage()) for t in _tensors((args, kwargs))}
        made = function(*args, **(kwargs or {}))
        for tensor in _tensors(made):
            storage = tensor.untyped_storage()
            if id(storage) not in given and id(storage) not in self._alive:
                self._born(storage)
        self.bytes = max(self.bytes, self._now)
        return made

    def _born(self, storage: Any) -> None:
        key, size = id(storage), storage.nbytes()

        def died(_: object) -> None:
            del self._alive[key]
            self._now -= size

        self._alive[key] = weakref.ref(storage, died)
        self._now += size


def _tensors(value: Any) -> list[torch.Tensor]:
    leaves = torch.utils._pytree.tree_leaves(value)
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


@full_precision()
def training_bytes(problem: AbstractProblem, trials: int, batch_size: int | None) -> int:
    """Return about how many bytes a process takes to train, beyond the data and its imports.

    A gradient and an evaluation of one trial are worked out on a few rows and on twice as many; the
    bytes of tensors that live at once are a line in the rows. What the operations need within
    themselves, and maps that are kept as a matrix, are not seen.

    Args:
        problem: what is trained.
        trials: how many at once.
        batch_size: rows of a step; None: all.
    """
    vectors = _WEIGHT_VECTORS * problem.ambient_dim * problem.dtype.itemsize * trials
    if not problem.train_size:
        return vectors
    together = trials if getattr(problem, "vectorized", True) else 1
    rows = min(batch_size or problem.train_size, problem.train_size)
    looked_at = max(problem.rows_at_once(split) for split in problem.splits)
    taken = 0.0
    with contextlib.suppress(Exception), scoped_torch_rng(0):  # a forward that may fail later too
        taken += _line(lambda n: _peak(problem, n, gradient=True), rows)
        taken += _line(lambda n: _peak(problem, n, gradient=False), looked_at)
    return int(_KEPT * taken * together) + vectors


def _line(peak: Callable[[int], int], rows: int) -> float:
    """Return the peak for so many rows, of those for two smaller numbers of them."""
    if rows <= 2 * _ROWS:
        return peak(rows)
    few, more = peak(_ROWS), peak(2 * _ROWS)
    return few + (more - few) / _ROWS * (rows - _ROWS)


def _peak(problem: AbstractProblem, rows: int, *, gradient: bool) -> int:
    """Return the bytes that live at once in a gradient or a loss of a trial on some rows."""
    indices = torch.arange(rows, device=problem.device) % problem.train_size
    batch = problem.batch(indices)
    weights = problem.init(0).requires_grad_(gradient)
    with _Peak() as peak, torch.set_grad_enabled(gradient):
        loss = problem.loss(weights, batch)
        if gradient:
            torch.autograd.grad(loss, weights)
    return peak.bytes
