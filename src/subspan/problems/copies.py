"""Copies of a module that share nothing with it, and what two modules have in common."""

from __future__ import annotations

import copy
import types
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from subspan.problems.structure import moved


def duplicate(module: nn.Module, memo: dict[int, Any] | None = None) -> nn.Module:
    """Return a deep copy of a module.

    Tensors that a forward pass left in an attribute (`weight_norm`, `prune`) hang on a graph, which
    `copy.deepcopy` refuses: the copy has their values.

    Args:
        module: left as it is.
        memo: tensors by the `id` of what they stand for in the copy; None: none.
    """
    memo = {} if memo is None else memo
    for part in module.modules():
        for value in vars(part).values():
            if isinstance(value, torch.Tensor) and value.grad_fn is not None:
                memo.setdefault(id(value), value.detach().clone())
        for value in part._buffers.values():  # of lazy layers, which `copy.deepcopy` refuses too
            if value is not None and nn.parameter.is_lazy(value):
                given: dict[str, Any] = {"device": value.device, "dtype": value.dtype}
                memo.setdefault(id(value), nn.parameter.UninitializedBuffer(**given))
    return copy.deepcopy(module, memo)


def cast(module: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Move a module in place; complex constants stay complex."""
    if any(t.is_complex() for t in (*module.parameters(), *module.buffers())):
        return module._apply(lambda t: moved(t, device, dtype))
    return module.to(device, dtype)


def share(one: nn.Module, other: nn.Module) -> bool:
    """Return whether two modules are one, or hold a module or memory in common."""
    mine, theirs = _parts(one), _parts(other)
    return bool(mine & theirs)


def _parts(module: nn.Module) -> set[tuple[str, int]]:
    tensors = [t for t in (*module.parameters(), *module.buffers()) if _has_memory(t)]
    return {("module", id(part)) for part in module.modules()} | {
        ("memory", t.untyped_storage().data_ptr()) for t in tensors
    }


def _has_memory(tensor: torch.Tensor) -> bool:
    return (
        not nn.parameter.is_lazy(tensor)
        and tensor.layout is torch.strided
        and tensor.device.type != "meta"
        and tensor.untyped_storage().nbytes() > 0
    )


def closures(module: nn.Module) -> list[str]:
    """Return the attributes that are functions which keep a part or a parameter of the module.

    A copy of the module cannot follow them: the function goes on reading what it was made with.
    """
    own = {id(part) for part in module.modules()} | {id(p) for p in module.parameters()}
    return [
        f"{name}.{key}".lstrip(".")
        for name, part in module.named_modules()
        for key, value in vars(part).items()
        for function in _functions(value)
        if any(id(cell) in own for cell in _cells(function))
    ]


def _functions(value: Any) -> Iterator[types.FunctionType]:
    if isinstance(value, types.FunctionType):
        yield value
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from (_functions(part) if not isinstance(part, dict | list | tuple) else ())


def _cells(function: types.FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            content = cell.cell_contents
        except ValueError:  # not yet filled
            continue
        yield content
        if isinstance(content, types.FunctionType) and content is not function:
            yield from (c.cell_contents for c in content.__closure__ or ())
