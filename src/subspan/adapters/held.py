"""Weights that a module holds beside its parameters, in an attribute, and would read there as old.

A list of weights that the user keeps to read in `forward` is not among the module's parameters, so
that attaching cannot move it. It is looked for, and refused.
"""

from __future__ import annotations

import bisect
import functools
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from subspan.adapters.memory import in_memory, span
from subspan.adapters.selection import Weight
from subspan.errors import invalid

_LEAVES = (str, bytes, int, float, complex, bool, type(None), torch.dtype, torch.device, torch.Size)
_CLOSED = (
    nn.Module,  # those of the module are looked at one by one
    torch.optim.Optimizer,  # holds parameters to train them, and reads none in a forward pass
    types.ModuleType,
)
_FLAT = ("_flat_weights", "_flat_weight_refs")  # what a recurrent layer keeps, and `attach` empties


def check_held(module: nn.Module, chosen: Sequence[Weight]) -> None:
    """Refuse weights of a subspace that an attribute of the module, or of a part, holds too.

    Looked at are attributes of instances and classes, what lists, dictionaries, sets, objects,
    partials and closures in them hold, and views and detached tensors. Not seen is what the module
    reaches by a global name.

    Raises:
        InputError: as said, with the attribute's name.
    """
    find = _finder(chosen)
    seen: set[int] = set()
    for path, part in module.named_modules():
        prefix = f"{path}." if path else ""
        for name, value in _attributes(part):
            for where, tensor in _tensors(f"{prefix}{name}", value, seen):
                weight = find(tensor)
                if weight is not None:
                    raise invalid(
                        where,
                        expected="weights read by their own names",
                        got=f"an attribute that holds {weight} beside the module's parameters",
                        remedy="It would be read at θ = 0. Delete the attribute, or read "
                        f"self.{weight} in forward, or leave the weight out by modules=[…].",
                    )


def _attributes(part: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield (name, value) of what stands in a module beside parameters, buffers and modules."""
    known = {"_parameters", "_buffers", "_modules"}
    if isinstance(part, nn.RNNBase):
        known.update(_FLAT)
    for name, value in part.__dict__.items():
        if name not in known and not name.startswith("_subspan"):
            yield name, value
    for kind in type(part).__mro__:
        if kind.__module__.partition(".")[0] not in ("torch", "builtins", "subspan"):
            for name, value in vars(kind).items():
                if isinstance(value, torch.Tensor | list | tuple | dict | set):
                    yield name, value


def _tensors(where: str, value: Any, seen: set[int]) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the tensors within a value, each with a name of where it stands."""
    waiting: list[tuple[str, Any]] = [(where, value)]
    while waiting:
        where, value = waiting.pop()
        if isinstance(value, _LEAVES):
            continue
        if isinstance(value, torch.Tensor):
            yield where, value
            continue
        if id(value) in seen or isinstance(value, (*_CLOSED, type)):
            continue
        seen.add(id(value))
        waiting += reversed(_within(where, value))


def _within(where: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        pairs = list(value.items())
        return [(f"{where}[{k!r}]", v) for k, v in pairs] + [(where, k) for k, _ in pairs]
    if isinstance(value, list | tuple | set | frozenset) or type(value).__name__ == "deque":
        return [(f"{where}[{i}]", v) for i, v in enumerate(value)]
    if isinstance(value, functools.partial):
        return [(where, value.func), (where, value.args), (where, value.keywords)]
    if isinstance(value, types.MethodType):
        return [(where, value.__self__), (where, value.__func__)]
    if isinstance(value, types.FunctionType):
        return [(where, v) for v in (value.__defaults__, value.__kwdefaults__, *_cells(value))]
    state = getattr(value, "__dict__", None)
    found = list(state.items()) if isinstance(state, dict) else []
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if not name.startswith("__") and hasattr(value, name):
                found.append((name, getattr(value, name)))
    return [(f"{where}.{name}", v) for name, v in found]


def _cells(function: types.FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not filled yet
            continue


def _finder(chosen: Sequence[Weight]) -> Callable[[torch.Tensor], str | None]:
    """Return what names the weight that a tensor shares memory with, if any."""
    spans = sorted((*span(w.value), w.name) for w in chosen if in_memory(w.value))
    starts = [start for start, _, _ in spans]

    def find(tensor: torch.Tensor) -> str | None:
        if not in_memory(tensor):
            return None
        start, stop = span(tensor)
        before = bisect.bisect_left(starts, stop)  # weights of a subspace do not overlap
        return spans[before - 1][2] if before and spans[before - 1][1] > start else None

    return find
