"""Which tensors share memory: ties count once, all other sharing is refused."""

from __future__ import annotations

import gc
import sys
from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import nn

from subspan.adapters.plain import own_parameters
from subspan.adapters.selection import Weight
from subspan.errors import invalid


def place(tensor: torch.Tensor) -> Hashable:
    """Return the same for tensors that are the same numbers in memory, seen the same way."""
    if not in_memory(tensor):
        return id(tensor)
    return (tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride())


def check_memory(module: nn.Module, chosen: Sequence[Weight]) -> None:
    """Refuse weights of a subspace that share memory otherwise than as a tie in the module.

    Raises:
        InputError: a weight is an expanded tensor, overlaps with another tensor, or is tied to a
            module outside `module`.
    """
    for weight in chosen:
        value = weight.value
        if any(k == 0 and n > 1 for k, n in zip(value.stride(), value.shape, strict=True)):
            raise invalid(
                weight.name,
                expected="weights with memory of their own",
                got="an expanded tensor",
                remedy="Clone it first: weight.data = weight.data.clone().",
            )
    _check_overlaps(module, {place(w.value) for w in chosen})
    if _tied_outside(chosen):
        gc.collect()  # a module that is gone holds nothing
    for name in _tied_outside(chosen)[:1]:
        raise invalid(
            name,
            expected="weights tied within the module that is attached",
            got="one that a module outside it has too",
            remedy="Attach to the whole module, with modules=[…] to select a part.",
        )


def _check_overlaps(module: nn.Module, chosen: set[Hashable]) -> None:
    tensors: dict[str, torch.Tensor] = {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }
    spans = sorted((*span(t), name) for name, t in tensors.items() if in_memory(t))
    end, last = 0, ""  # the span that reaches farthest so far
    for start, stop, name in spans:
        if start < end and place(tensors[name]) != place(tensors[last]):
            ours = {place(tensors[name]), place(tensors[last])} & chosen
            if ours:
                raise invalid(
                    name,
                    expected="weights that share no memory, or are the same tensor",
                    got=f"an overlap or another view of {last}",
                    remedy="Clone one of them, or assign the same Parameter to both.",
                )
        if stop > end:
            end, last = stop, name


def in_memory(tensor: torch.Tensor) -> bool:
    """Return whether a tensor is numbers in memory, at an address."""
    return tensor.layout is torch.strided and tensor.numel() > 0 and tensor.data_ptr() != 0


def span(tensor: torch.Tensor) -> tuple[int, int]:
    """Return the first byte and the one after the last."""
    steps = sum((n - 1) * k for n, k in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.data_ptr(), tensor.data_ptr() + (steps + 1) * tensor.itemsize


def _tied_outside(chosen: Sequence[Weight]) -> list[str]:
    """Return names of weights that a module holds which is no owner of them here.

    A module does not know what it is a part of, so this asks the garbage collector, and only about
    weights that somebody else holds at all.
    """
    values = [w.value for w in chosen]
    held = [len({id(owner) for owner, _ in w.sites}) for w in chosen]
    inside = {id(own_parameters(owner)) for w in chosen for owner, _ in w.sites}
    # beside the owners hold it: the list, the loop and the argument of getrefcount
    shared = [i for i, v in enumerate(values) if sys.getrefcount(v) > held[i] + 3]
    if not shared:
        return []
    found = [
        {id(v) for v in d.values()}
        for d in gc.get_referrers(*(values[i] for i in shared))
        if isinstance(d, dict) and id(d) not in inside and _is_of_a_module(d)
    ]
    return [chosen[i].name for i in shared if any(id(values[i]) in d for d in found)]


def _is_of_a_module(found: dict[Any, Any]) -> bool:
    """Whether a dictionary is the `_parameters` of some module."""
    return any(
        (r if isinstance(r, dict) else getattr(r, "__dict__", {})).get("_parameters") is found
        for r in gc.get_referrers(found)
    )
