"""What makes `module.weight` read base + A θ: a subclass of the module's own class.

The module keeps its identity, name and methods; its class is replaced, as
`torch.nn.utils.parametrize` does, by a subclass with a property for each tensor in a subspace. The
weights at θ = 0 stand among the module's buffers under their own names, so that `to`, `deepcopy`
and `state_dict` treat them as ever.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from subspan.adapters.tables import one_pass
from subspan.errors import InputError

SITE = "_subspan_site"  # instance attribute: attribute name → (handle, number of the weight)
ROOT = "_subspan_root"  # instance attribute of the module that `attach` was called on


def plain_class(module: nn.Module) -> type[nn.Module]:
    """Return the module's own class."""
    return getattr(type(module), "_subspan_plain", type(module))


def dress(module: nn.Module) -> None:
    """Give a module the subclass that fits its present state; its own class if it needs none."""
    names = tuple(module.__dict__.get(SITE, ()))
    is_root = ROOT in module.__dict__
    plain = plain_class(module)
    if names or is_root:
        plain = subclass(plain, names, is_root)  # type: ignore[arg-type]
    module.__class__ = plain


@functools.cache
def subclass(plain: type[nn.Module], names: tuple[str, ...], is_root: bool) -> type[nn.Module]:
    """Return the subclass of `plain` with properties for `names`; with a root's methods too."""
    body: dict[str, Any] = {name: _property(name) for name in names}
    body |= {
        "__module__": plain.__module__,
        "__qualname__": plain.__qualname__,
        "__doc__": plain.__doc__,
        "_subspan_plain": plain,
        "_subspan_key": (names, is_root),
        "__setattr__": _setattr,
        "__reduce_ex__": _reduce_ex,
    }
    if is_root:
        body |= {
            "__call__": _call_of(plain),
            "_apply": _apply,
            "_save_to_state_dict": _save_to_state_dict,
            "_load_from_state_dict": _load_from_state_dict,
        }
        if hasattr(plain, "save_pretrained"):
            body["save_pretrained"] = _save_pretrained
    if issubclass(plain, nn.RNNBase):
        body |= {
            "_flat_weights": property(_flat_weights, _ignore),
            "_flat_weight_refs": property(_no_references, _ignore),
            "__setstate__": _set_state,
        }
    return type(plain.__name__, (plain,), body)


def _property(name: str) -> property:
    def get(self: nn.Module) -> torch.Tensor:
        handle, number = self.__dict__[SITE][name]
        result: torch.Tensor = handle.weight(number, self._buffers[name])
        return result

    return property(get)


def _call_of(plain: type[nn.Module]) -> Callable[..., Any]:
    def call(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if not torch.compiler.is_compiling():
            with one_pass():
                return plain.__call__(self, *args, **kwargs)
        root = self.__dict__.get(ROOT)
        if root is None:  # a part built anew from this class, e.g. a slice of a Sequential
            return plain.__call__(self, *args, **kwargs)
        root.compiling(True)
        try:
            return plain.__call__(self, *args, **kwargs)
        finally:
            root.compiling(False)

    return call


def _setattr(self: nn.Module, name: str, value: Any) -> None:
    site = self.__dict__.get(SITE, {})
    if name not in site:
        plain_class(self).__setattr__(self, name, value)
    elif getattr(value, "_subspan_tie", None) != (id(site[name][0]), site[name][1]):
        raise InputError(
            f"{name}: expected no assignment to a weight that lies in a subspace. "
            "Call handle.merge() or handle.detach() first."
        )


def _reduce_ex(self: nn.Module, protocol: Any) -> Any:
    """Copy and send between processes by the module's own class and the names of its weights."""
    reduced: Any = object.__reduce_ex__(self, 2)
    plain, (names, is_root) = plain_class(self), type(self)._subspan_key  # type: ignore[attr-defined]
    return (_new, (plain, names, is_root, *reduced[1][1:]), *reduced[2:])


def _new(plain: type[nn.Module], names: tuple[str, ...], is_root: bool, *rest: Any) -> nn.Module:
    kind = subclass(plain, names, is_root)  # type: ignore[arg-type]
    return kind.__new__(kind, *rest)


def _apply(self: nn.Module, fn: Any, recurse: bool = True) -> nn.Module:
    """Move the module; θ stays float32 where a lower precision is asked for."""
    root = self.__dict__.get(ROOT)
    if root is None:  # a part built anew from this class, e.g. a slice of a Sequential
        return plain_class(self)._apply(self, fn, recurse)
    own = {id(t) for p in root.numbers() for t in (p, p.grad) if t is not None}

    def careful(tensor: torch.Tensor) -> torch.Tensor:
        moved = fn(tensor)
        lower = id(tensor) in own and moved.dtype.itemsize < torch.float32.itemsize
        return tensor.to(moved.device, torch.float32) if lower else moved

    plain_class(self)._apply(self, careful, recurse)
    root.moved()
    return self


def _save_to_state_dict(
    self: nn.Module, destination: dict[str, Any], prefix: str, keep_vars: bool
) -> None:
    plain_class(self)._save_to_state_dict(self, destination, prefix, keep_vars)
    if ROOT in self.__dict__:
        self.__dict__[ROOT].write_headers(destination, prefix)


def _load_from_state_dict(
    self: nn.Module, state_dict: dict[str, Any], prefix: str, *rest: Any
) -> None:
    if ROOT in self.__dict__:
        metadata, missing = rest[0], rest[2]
        if metadata.get("assign_to_params_buffers", False):
            raise InputError(
                "load_state_dict: expected assign=False on a module with a subspace, got "
                "assign=True. Load with assign=False, or before attaching."
            )
        self.__dict__[ROOT].check_headers(state_dict, prefix, missing)
    plain_class(self)._load_from_state_dict(self, state_dict, prefix, *rest)


def _save_pretrained(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
    if ROOT in self.__dict__:
        warnings.warn(
            "save_pretrained: it writes the weights at θ = 0, so that from_pretrained reads the "
            "untuned model. Call handle.merge() first, or subspan.save(handle, …) beside it.",
            stacklevel=2,
        )
    return plain_class(self).save_pretrained(self, *args, **kwargs)  # type: ignore[attr-defined]


# A recurrent layer keeps a list of its weights, and of references to see whether they changed.


def _flat_weights(self: nn.RNNBase) -> list[torch.Tensor | None]:
    return [getattr(self, n, None) for n in self._flat_weights_names]


def _no_references(self: nn.RNNBase) -> list[None]:
    return [None] * len(self._flat_weights_names)


def _ignore(self: nn.Module, value: Any) -> None:
    pass


def _set_state(self: nn.Module, state: dict[str, Any]) -> None:
    self.__dict__.update(state)
    self.__dict__["_flat_weight_refs"] = []
