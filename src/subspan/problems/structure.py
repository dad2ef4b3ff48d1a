"""Rows that come as one tensor, or as a tuple or a mapping of tensors, one row of each together.

What a module takes: a tensor as its one argument, a tuple as its arguments in order, a mapping as
its arguments by name. Nested ones are legal inside. What a module returns may
be a named tuple or a dataclass too, and hold what is no tensor.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

Tensors = Any
"""A tensor, or a tuple or dict of `Tensors`."""


def mapped(function: Callable[[torch.Tensor], Any], value: Tensors) -> Any:
    """Return the same structure with each tensor replaced by `function` of it."""
    if isinstance(value, torch.Tensor):
        return function(value)
    if isinstance(value, dict):
        named = {key: mapped(function, part) for key, part in value.items()}
        return type(value)(**named) if dataclasses.is_dataclass(value) else named
    if _is_record(value):
        changed = {key: mapped(function, part) for key, part in vars(value).items()}
        record = copy.copy(value)
        vars(record).update(changed)
        return record
    if not isinstance(value, tuple | list):
        return value
    parts = [mapped(function, part) for part in value]
    return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)


def leaves(value: Tensors) -> list[torch.Tensor]:
    """Return the tensors of a structure, in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    if _is_record(value):
        value = vars(value)
    elif not isinstance(value, dict | tuple | list):
        return []
    parts = value.values() if isinstance(value, dict) else value
    return [leaf for part in parts for leaf in leaves(part)]


def _is_record(value: Any) -> bool:
    """Whether a value is a dataclass's, as modules return them, other than a mapping."""
    found = dataclasses.is_dataclass(value) and not isinstance(value, type | dict)
    return found and hasattr(value, "__dict__")


def rebuilt(like: Tensors, tensors: Iterator[torch.Tensor]) -> Tensors:
    """Return a structure like another one, of the tensors that come next."""
    return mapped(lambda _: next(tensors), like)


def names(value: Tensors) -> Any:
    """Return a structure's names and places as plain JSON; "" stands for a tensor."""
    if isinstance(value, torch.Tensor):
        return ""
    if isinstance(value, dict):
        return {str(key): names(part) for key, part in value.items()}
    return [names(part) for part in value]


def vmapped(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """Return `torch.func.vmap` of a function that may return structures of any kind."""

    def many(*arguments: Any) -> Any:
        tensors, closed = opened(function)
        return closed(torch.func.vmap(tensors, **options)(*arguments))

    return many


def opened(function: Callable[..., Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return a function that returns the tensors alone of what `function` returns, a tuple, and one
    that puts such tensors where they stood in its last call."""
    found: list[Any] = []

    def tensors(*arguments: Any) -> tuple[torch.Tensor, ...]:
        found[:] = [function(*arguments)]
        return tuple(leaves(found[0]))

    return tensors, lambda values: rebuilt(found[0], iter(values))


def row_count(value: Tensors) -> int:
    """Return how many rows there are."""
    return len(leaves(value)[0])


def row(value: Tensors, index: int) -> Tensors:
    """Return what stands at an index of the leading axis."""
    return mapped(lambda t: t[index], value)


def chunks(value: Tensors, size: int) -> Iterator[Tensors]:
    """Yield at most `size` rows at a time, in order."""
    parts = [leaf.split(size) for leaf in leaves(value)]
    for part in zip(*parts, strict=True):
        yield rebuilt(value, iter(part))


def expanded(value: Tensors, count: int) -> Tensors:
    """Return views with a leading axis of `count` equal entries."""
    return mapped(lambda t: t.expand(count, *t.shape), value)


def shown(value: Tensors) -> str:
    """Say the shapes of rows, without their number: `(5,)`, or with names or places."""
    if isinstance(value, torch.Tensor):
        return str(tuple(value.shape[1:]))
    if isinstance(value, dict):
        return ", ".join(f"{key} {shown(part)}" for key, part in value.items())
    return ", ".join(shown(part) for part in value)


def call(module: nn.Module | Callable[..., Any], x: Tensors) -> Any:
    """Return what a module makes of inputs: one argument, several, or several by name."""
    return module(*positional(x), **named(x))


def positional(x: Tensors) -> tuple[Any, ...]:
    """Return the arguments of a module by place."""
    if isinstance(x, torch.Tensor):
        return (x,)
    return () if isinstance(x, dict) else tuple(x)


def named(x: Tensors) -> dict[str, Any]:
    """Return the arguments of a module by name."""
    return x if isinstance(x, dict) else {}


def as_tensors(value: Any) -> Tensors:
    """Return a user's value as `Tensors`.

    A tuple holds fields, and so does a list of tensors that have an axis; any other list is one
    tensor.

    Raises:
        TypeError, ValueError, RuntimeError: it is none, as `torch.as_tensor` says.
    """
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, Mapping):
        return {key: as_tensors(part) for key, part in value.items()}
    if _is_fields(value):
        return tuple(as_tensors(part) for part in value)
    return torch.as_tensor(value)


def _is_fields(value: Any) -> bool:
    if not isinstance(value, tuple | list) or not value:
        return False
    if isinstance(value, list):
        return all(isinstance(part, torch.Tensor) and part.ndim for part in value)
    return any(isinstance(part, Mapping) or getattr(part, "ndim", 0) for part in value)


def moved(tensor: torch.Tensor, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Return a tensor on a device: real numbers in `dtype`, complex ones in the complex dtype of
    that precision, integers as they are."""
    if tensor.is_floating_point():
        return tensor.to(device, dtype)
    return tensor.to(device, dtype.to_complex()) if tensor.is_complex() else tensor.to(device)
