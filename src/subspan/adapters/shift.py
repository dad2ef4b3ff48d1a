"""base + λ (A θ)[slice] for one tensor, in chunks: nothing of its size is stored for backward."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch

from subspan.adapters.tables import SharedGradient, Table
from subspan.maps.base import at_full_precision, looked_into, traced
from subspan.maps.sliced.base import SlicedMap


def shift(
    base: torch.Tensor,
    table: Table,
    scale: torch.Tensor | None,
    sliced: SlicedMap,
    start: int,
    still: int | None = None,
) -> torch.Tensor:
    """Return base + λ (A θ)[start : start + n], in base's shape, strides and dtype.

    The sum is taken in θ's dtype and rounded to base's once. Differentiable, twice too.

    Args:
        base: weights at θ = 0, n of them.
        table: of `sliced` at θ.
        scale: λ, shape (), or None for 1.
        sliced: A.
        start: where the tensor begins in the flat weight vector.
        still: row of base that is not shifted, if any.
    """
    if traced():
        return _plain(base, table.values, scale, sliced, start, still)
    table.saved |= scale is not None
    result: torch.Tensor = _Shift.apply(
        table.values, scale, base, table.gradient, sliced, start, still
    )
    return result


def _plain(
    base: torch.Tensor,
    table: torch.Tensor,
    scale: torch.Tensor | None,
    sliced: SlicedMap,
    start: int,
    still: int | None,
) -> torch.Tensor:
    delta = sliced.read(table, start, start + base.numel()).view(base.shape)
    if scale is not None:
        delta = delta * scale
    delta = _without(delta, still)
    return (base + delta).to(base.dtype)


class _Shift(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        table: torch.Tensor,
        scale: torch.Tensor | None,
        base: torch.Tensor,
        gradient: SharedGradient | None,
        sliced: SlicedMap,
        start: int,
        still: int | None,
    ) -> torch.Tensor:
        # On ctx and not saved: a weight is a parameter to the user, so that a second backward pass
        # from it must find what the first one used.
        ctx.table, ctx.scale = (None, None) if scale is None else (table, scale)
        ctx.versions = _versions(ctx.table, ctx.scale)
        ctx.gradient, ctx.size, ctx.dtype = gradient, len(table), table.dtype
        ctx.sliced, ctx.start, ctx.still = sliced, start, still
        out = torch.empty_like(base)
        if still is not None:
            out[still] = base[still]
        for first, source, target in _moving(sliced.chunk, still, base, out):
            delta = sliced.read(table, start + first, start + first + source.numel())
            if scale is not None:
                delta = delta * scale
            delta = delta.view(source.shape)
            if source.dtype == delta.dtype:
                torch.add(source, delta, out=target)
            else:
                target.copy_(source + delta)
        return out

    @staticmethod
    @at_full_precision
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        table, scale = ctx.table, ctx.scale
        if _versions(table, scale) != ctx.versions:
            raise RuntimeError(
                "scales: one of the variables needed for gradient computation has been modified by "
                "an inplace operation after the forward pass. Call backward before the step."
            )
        v = grads[0].to_dense() if grads[0].layout != torch.strided else grads[0]
        base = v if ctx.needs_input_grad[2] else None
        if torch.is_grad_enabled() or looked_into(v):
            v = _without(v, ctx.still)
            flat = v.reshape(-1).to(ctx.dtype)
            pulls = _plain_backward(flat, table, scale, ctx.sliced, ctx.start, ctx.size)
            return *pulls, base, None, None, None, None
        if ctx.gradient is None:
            pulled, new = v.new_zeros(ctx.size, dtype=ctx.dtype), True
        else:
            pulled, new = ctx.gradient.buffer(ctx.size, ctx.dtype, v.device)
        slope = None if scale is None else torch.zeros_like(scale)
        for first, piece in _moving(ctx.sliced.chunk, ctx.still, v):
            flat = piece.reshape(-1).to(ctx.dtype)
            a = ctx.start + first
            if scale is not None and slope is not None:
                slope += flat @ ctx.sliced.read(table, a, a + len(flat))
                flat = flat * scale
            ctx.sliced.collect(flat, a, a + len(flat), pulled)
        return pulled if new else None, slope, base, None, None, None, None


def _versions(*tensors: torch.Tensor | None) -> list[int]:
    return [-1 if t is None or t.is_inference() else t._version for t in tensors]


def _plain_backward(
    flat: torch.Tensor,
    table: torch.Tensor | None,
    scale: torch.Tensor | None,
    sliced: SlicedMap,
    start: int,
    size: int,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the gradients as differentiable functions of a weight's own, the table and λ."""
    slope = None
    if scale is not None and table is not None:
        slope = flat @ sliced.read(table, start, start + len(flat))
        flat = flat * scale
    if looked_into(flat):  # into a table of its own, in plain operations
        stop = start + len(flat)
        zero = torch.zeros(size, dtype=flat.dtype, device=flat.device)
        pull = torch.func.vjp(lambda t: sliced.read(t, start, stop), zero)[1]
        return pull(flat)[0], slope
    return _Collect.apply(flat, sliced, start, size), slope


class _Collect(torch.autograd.Function):
    """The adjoint of reading a slice. Linear, so its own backward reads the slice."""

    @staticmethod
    def forward(
        ctx: Any, flat: torch.Tensor, sliced: SlicedMap, start: int, size: int
    ) -> torch.Tensor:
        ctx.sliced, ctx.start, ctx.count = sliced, start, len(flat)
        into = flat.new_zeros(size)
        sliced.collect(flat, start, start + len(flat), into)
        return into

    @staticmethod
    @at_full_precision
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        slice = ctx.sliced.read(grads[0], ctx.start, ctx.start + ctx.count)
        return slice.clone() if slice._is_view() else slice, None, None, None


def _without(values: torch.Tensor, row: int | None) -> torch.Tensor:
    """Return values with zeros in a row, differentiable."""
    if row is None:
        return values
    rows = torch.arange(len(values), device=values.device).view(-1, *[1] * (values.ndim - 1))
    return torch.where(rows == row, 0.0, values)


def _moving(chunk: int, still: int | None, *tensors: torch.Tensor) -> Iterator[tuple[Any, ...]]:
    """Yield `_pieces` of all rows but one."""
    if still is None:
        yield from _pieces(chunk, *tensors)
        return
    yield from _pieces(chunk, *(t[:still] for t in tensors))
    skipped = (still + 1) * math.prod(tensors[0].shape[1:])
    for first, *parts in _pieces(chunk, *(t[still + 1 :] for t in tensors)):
        yield skipped + first, *parts


def _pieces(chunk: int, *tensors: torch.Tensor) -> Iterator[tuple[Any, ...]]:
    """Yield (first weight, a view of each tensor) in runs of about `chunk` weights.

    The order of weights is that of the indices, whatever the strides.
    """
    if all(t.is_contiguous() for t in tensors):
        tensors = tuple(t.view(-1) for t in tensors)
    rows = len(tensors[0])
    width = math.prod(tensors[0].shape[1:])
    step = max(1, chunk // max(1, width))
    for row in range(0, rows, step):
        yield row * width, *(t[row : row + step] for t in tensors)
