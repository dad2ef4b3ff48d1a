"""What a module's `_parameters` and `_buffers` show within a call: those of the plain module."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

import torch
from torch import nn
from torch.utils.weak import TensorWeakRef

from subspan.adapters import calls
from subspan.errors import InputError

HIDDEN = "_subspan_hidden"  # instance attribute: the `Hidden` of a module that owns hidden weights
SITE = "_subspan_site"  # instance attribute: attribute name → (handle, number of the weight)
ROOT = "_subspan_root"  # instance attribute of the module that `attach` was called on


class Hidden:
    """Which parameters of one module stand among its buffers.

    Attributes:
        order: names of the module's parameters before any was hidden.
        tensors: the hidden ones by name, as `attach`, or a move of the module, left them.
        swapped: what the forward pass has put in place of weights of a subspace, by name.
        originals: of what is swapped, what was read before, which puts the weight back.
        shown: the weights last read as parameters, weakly.
    """

    def __init__(self, order: list[str]) -> None:
        self.order = order
        self.tensors: dict[str, torch.Tensor] = {}
        self.swapped: dict[str, Any] = {}
        self.originals: dict[str, Any] = {}
        self.shown: dict[str, Callable[[], Any]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "swapped": {}, "originals": {}, "shown": {}}


def own_parameters(module: nn.Module) -> dict[str, Any]:
    """Return the module's own dictionary of parameters, whether a call is running or not."""
    result: dict[str, Any] = module.__dict__["_parameters"]
    return result


def own_buffers(module: nn.Module) -> dict[str, Any]:
    """Return the module's own dictionary of buffers, the hidden weights among them."""
    result: dict[str, Any] = module.__dict__["_buffers"]
    return result


def _nothing() -> None:
    return None


def is_tie(value: Any, site: tuple[Any, int]) -> bool:
    """Return whether a tensor is what reading a weight of a subspace gave."""
    return getattr(value, "_subspan_tie", None) == (id(site[0]), site[1])


def taken(name: str) -> InputError:
    """Return the error for a weight that somebody wants to take out or parametrise."""
    return InputError(
        f"{name}: expected a weight in a subspace to stay where it is, got a removal or a "
        "parametrisation of it. Parametrise before attaching, or call handle.detach() first."
    )


class PlainParameters(MutableMapping[str, Any]):
    """Parameters of the plain module: weights at the present θ, hidden ones, kept ones; not θ."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._hidden: Hidden = module.__dict__[HIDDEN]
        self._sites = module.__dict__.get(SITE, {})

    def _names(self) -> list[str]:
        module, hidden = self._module, self._hidden
        own, buffers = own_parameters(module), own_buffers(module)
        root = module.__dict__.get(ROOT)
        theirs = () if root is None else root.number_names()
        known = [n for n in hidden.order if n in own or (n in hidden.tensors and n in buffers)]
        return known + [n for n in own if n not in hidden.order and n not in theirs]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    def __contains__(self, name: object) -> bool:
        return name in self._names()

    def __getitem__(self, name: str) -> Any:
        hidden = self._hidden
        if name in hidden.swapped:
            return hidden.swapped[name]
        if name in own_parameters(self._module):
            return own_parameters(self._module)[name]
        if name not in hidden.tensors:
            raise KeyError(name)
        if name not in self._sites or calls.asking(self._module):
            return own_buffers(self._module)[name]
        found = _shared(self._module, name, self._sites[name])
        if torch.compiler.is_compiling():
            hidden.shown[name] = lambda: found
            self._note(True)
        else:
            hidden.shown[name] = TensorWeakRef(found)
        return found

    def __setitem__(self, name: str, value: Any) -> None:
        hidden = self._hidden
        if name in hidden.swapped and value is hidden.originals[name]:
            del hidden.swapped[name], hidden.originals[name]
            self._note(False)
        elif name in self._sites:
            if name not in hidden.swapped:
                hidden.originals[name] = hidden.shown.get(name, _nothing)()
                self._note(True)
            hidden.swapped[name] = value
        elif name in self._hidden.tensors:
            own_buffers(self._module)[name] = value
        else:
            own_parameters(self._module)[name] = value

    def __delitem__(self, name: str) -> None:
        if name in self._sites:
            raise taken(name)
        if name in self._hidden.tensors:
            del own_buffers(self._module)[name]
        else:
            del own_parameters(self._module)[name]

    def copy(self) -> dict[str, Any]:
        """Return a dictionary of them."""
        return dict(self)

    def _note(self, swapped: bool) -> None:
        for root in self._module.__dict__[calls.ROOTS]:
            if swapped:
                root.swapping.append(self._module)
            else:
                root.swapping.remove(self._module)


class PlainBuffers(MutableMapping[str, Any]):
    """Buffers of the plain module: without the hidden weights."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._hidden: Hidden = module.__dict__[HIDDEN]

    def __iter__(self) -> Iterator[str]:
        return iter([n for n in own_buffers(self._module) if n not in self._hidden.tensors])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __getitem__(self, name: str) -> Any:
        if name in self._hidden.tensors:
            raise KeyError(name)
        return own_buffers(self._module)[name]

    def __setitem__(self, name: str, value: Any) -> None:
        if name in self._hidden.tensors:
            raise taken(name)
        own_buffers(self._module)[name] = value

    def __delitem__(self, name: str) -> None:
        if name in self._hidden.tensors:
            raise KeyError(name)
        del own_buffers(self._module)[name]

    def copy(self) -> dict[str, Any]:
        """Return a dictionary of them."""
        return dict(self)


def _shared(module: nn.Module, name: str, site: tuple[Any, int]) -> torch.Tensor:
    """Return a weight; of a tied one the same tensor as at its other places, while it lives."""
    handle, number = site
    if len(handle.weights[number].sites) < 2:
        result: torch.Tensor = getattr(module, name)
        return result
    shared = handle.tables.shared
    key = (number, torch.is_grad_enabled())
    theta = handle.theta
    if torch.compiler.is_compiling():
        if key not in shared:
            shared[key] = getattr(module, name)
        return shared[key]
    version = -1 if theta.is_inference() else theta._version
    known = shared.get(key)
    found: torch.Tensor | None = None
    if known is not None and known[0] is theta and known[1] == version:
        found = known[2]()
    if found is None:
        found = getattr(module, name)
        shared[key] = (theta, version, TensorWeakRef(found))
    return found
