"""`Workspace`: where `Strips` mixes one vector that a cache holds, without making memory or views.

At 200,000 numbers each product with the matrix of order 16 takes 0.04 ms, and so half of the time
went into some forty small calls, copies and fresh memory. Here both vectors between the steps and
every view of them are made once for a shape, kept by the thread, and shared by all maps of that
shape. The numbers are to the bit those of `Strips._across` and `Strips._join`
(`tests/maps/test_large_maps.py`).
"""

from __future__ import annotations

import threading
from typing import NamedTuple

import torch

_KEPT = 4
"""How many shapes a thread keeps memory for: two vectors of n numbers each."""


class Shape(NamedTuple):
    """What fixes the views: sizes of a `Strips`.

    Args:
        dim: d.
        size: n.
        line: numbers of a line.
        every: lines in a hand.
        hands: whole hands in n.
        dealt: places of whole lines.
        strips: order of the Walsh–Hadamard matrix.
        length: numbers of a strip.
        apart: how far the places lie from one another that U joins.
    """

    dim: int
    size: int
    line: int
    every: int
    hands: int
    dealt: int
    strips: int
    length: int
    apart: int


class Deal(NamedTuple):
    """What a seed fixes: which line lies where, (m,), its factor, (m, 1), and D's signs.

    `first` says where each line lies in the first hand, which has all of them.
    """

    line: torch.Tensor
    first: torch.Tensor
    factor: torch.Tensor
    sign: torch.Tensor


class Workspace:
    """Two vectors of n numbers, and the views of them that each step reads and writes.

    Args:
        shape: of the strips.
        matrix: the Walsh–Hadamard matrix; its dtype is that of the numbers.
    """

    def __init__(self, shape: Shape, matrix: torch.Tensor) -> None:
        self._shape, self._matrix = shape, matrix
        size, block = shape.size, shape.strips * shape.apart
        before, after = matrix.new_zeros(size), matrix.new_zeros(size)
        skipped = size - shape.strips * shape.length
        self._strips = [x[skipped:].view(shape.strips, -1) for x in (before, after)]
        self._skipped = before[:skipped], after[:skipped]
        self._whole_lines = shape.every * shape.line
        rest = shape.hands * (shape.dim - self._whole_lines)
        self._dealt = before[: shape.dealt].view(-1, shape.line)
        self._rest = before[shape.dealt : shape.dealt + rest].view(shape.hands, -1)
        self._none = before[shape.dealt + rest :]
        self._count = size // block
        self._whole = self._count * block
        self._blocks = after[: self._whole].view(self._count, shape.strips, shape.apart)
        self._after_blocks = after[self._whole :]
        self._matrices = matrix.expand(self._count, shape.strips, shape.strips)
        # U's last block ends with the last place and overlaps with the one before. An adjoint
        # starts with it, and leaves the vector that it is given as it is: it has a copy of both.
        self._start = self._whole - block
        end = matrix.new_zeros(size - self._start)
        self._end, self._end_rest = end, end[block:]
        self._end_block = end[:block].view(1, shape.strips, shape.apart)
        self._last = end[len(end) - block :].view(shape.strips, shape.apart)
        self._joined = torch.empty_like(self._last)

    def mix(self, theta: torch.Tensor, deal: Deal, out: torch.Tensor | None) -> torch.Tensor:
        """Return U D T S θ, (d,) → (n,), in the memory of `out` if given."""
        shape, (before, after) = self._shape, self._strips
        x = theta.new_empty(shape.size) if out is None else out
        lines = theta[: self._whole_lines].view(-1, shape.line)
        torch.index_select(lines, 0, deal.line, out=self._dealt).mul_(deal.factor)
        if self._rest.numel():
            self._rest.copy_(theta[self._whole_lines :] * shape.hands**-0.5)
        self._none.zero_()
        torch.mm(self._matrix, before, out=after).mul_(deal.sign)
        if len(self._skipped[0]):
            self._skipped[1].copy_(self._skipped[0])
        torch.bmm(self._matrices, self._blocks, out=x[: self._whole].view_as(self._blocks))
        x[self._whole :] = self._after_blocks
        last = x[shape.size - self._last.numel() :].view_as(self._last)
        last.copy_(torch.mm(self._matrix, last, out=self._joined))
        return x

    def unmix(self, x: torch.Tensor, deal: Deal) -> torch.Tensor:
        """Return Sᵀ Tᵀ D Uᵀ x, (n,) → (d,); x stays as it is."""
        shape, (before, after) = self._shape, self._strips
        self._end.copy_(x[self._start :])
        self._last.copy_(torch.mm(self._matrix, self._last, out=self._joined))
        blocks = x[: self._start].view(-1, shape.strips, shape.apart)
        torch.bmm(self._matrices[:-1], blocks, out=self._blocks[:-1])
        torch.bmm(self._matrices[-1:], self._end_block, out=self._blocks[-1:])
        self._after_blocks.copy_(self._end_rest)
        torch.mm(self._matrix, after.mul_(deal.sign), out=before)
        if len(self._skipped[0]):
            self._skipped[0].copy_(self._skipped[1])
        theta = x.new_empty(shape.dim)
        lines = theta[: self._whole_lines].view(-1, shape.line)
        torch.index_select(self._dealt.mul_(deal.factor), 0, deal.first, out=lines)
        lines.index_add_(0, deal.line[shape.every :], self._dealt[shape.every :])
        if self._rest.numel():
            torch.mul(self._rest.sum(0), shape.hands**-0.5, out=theta[self._whole_lines :])
        return theta


class _Kept(threading.local):
    def __init__(self) -> None:
        self.spaces: dict[tuple[Shape, torch.dtype], Workspace] = {}


_kept = _Kept()


def workspace(shape: Shape, matrix: torch.Tensor) -> Workspace:
    """Return this thread's workspace for a shape; the one longest unused makes room for it."""
    key = shape, matrix.dtype
    space = _kept.spaces.pop(key, None)
    if space is None:
        if len(_kept.spaces) >= _KEPT:
            del _kept.spaces[next(iter(_kept.spaces))]
        with torch.inference_mode(False):  # else training may not write to it later
            space = Workspace(shape, matrix)
    _kept.spaces[key] = space
    return space


def fits(x: torch.Tensor) -> bool:
    """Whether a tensor is one plain vector on the CPU, and nobody listens to operations on it."""
    plain = type(x) in (torch.Tensor, torch.nn.Parameter) and x.device.type == "cpu"
    return (
        plain
        and x.dim() == 1
        and x.is_contiguous()
        and not torch._C._len_torch_dispatch_stack()  # such as make_fx, for which it is no input
    )
