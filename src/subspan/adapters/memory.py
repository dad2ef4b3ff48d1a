"""Which tensors share memory: ties count once, all other sharing is refused."""

from __future__ import annotations

import gc
import sys
from collections.abc import Hashable, Iterator, Sequence

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
    for weight in chosen:  # and keep none of them by a name: `_tied_outside` counts who holds it
        if is_expanded(weight.value):
            raise invalid(
                weight.name,
                expected="weights with memory of their own",
                got="an expanded tensor",
                remedy="Clone it first: weight.data = weight.data.clone().",
            )
    _check_overlaps(module, {place(w.value) for w in chosen})
    outside = _tied_outside(chosen)
    if outside:
        gc.collect()  # a module that is gone holds nothing
        outside = _tied_outside(chosen)
    for name in outside[:1]:
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


def is_expanded(tensor: torch.Tensor) -> bool:
    """Return whether several places of a tensor are the same number in memory."""
    return any(k == 0 and n > 1 for k, n in zip(tensor.stride(), tensor.shape, strict=True))


def span(tensor: torch.Tensor) -> tuple[int, int]:
    """Return the first byte and the one after the last."""
    steps = sum((n - 1) * k for n, k in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.data_ptr(), tensor.data_ptr() + (steps + 1) * tensor.itemsize


def _tied_outside(chosen: Sequence[Weight]) -> list[str]:
    """Return names of weights that a module holds which is no owner of them here.

    A module does not know what it is a part of, so this looks through all modules that the garbage
    collector knows, once, and only where somebody else holds a weight at all.
    """
    values = [w.value for w in chosen]
    shared = {}
    for number, references in enumerate(_references(values)):
        value, sites = values[number], chosen[number].sites
        inside = sum(own_parameters(owner).get(name) is value for owner, name in sites)
        if references > _references([torch.empty(0)])[0] + inside:
            shared[id(value)] = number
    if not shared:
        return []
    owners = {id(own_parameters(owner)) for w in chosen for owner, _ in w.sites}
    found = set()
    for module in _modules():
        parameters = module.__dict__.get("_parameters")
        if isinstance(parameters, dict) and id(parameters) not in owners:
            found |= shared.keys() & {id(v) for v in parameters.values()}
    return [chosen[i].name for v, i in shared.items() if v in found]


def _references(tensors: list[torch.Tensor]) -> list[int]:
    """Count who holds each of the tensors, the list and this function among them."""
    return [sys.getrefcount(tensor) for tensor in tensors]


def _modules() -> Iterator[nn.Module]:
    """All modules of this process, by their types: asking each of millions of objects is slow."""
    kinds: set[type] = set()
    waiting: list[type] = [nn.Module]
    while waiting:
        kind = waiting.pop()
        if kind not in kinds:
            kinds.add(kind)
            waiting += type.__subclasses__(kind)
    return iter([thing for thing in gc.get_objects() if type(thing) in kinds])
