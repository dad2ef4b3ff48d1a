"""What makes `module.weight` read base + A θ: a subclass of the module's own class.

The module keeps its identity, name and methods; its class is replaced, as
`torch.nn.utils.parametrize` does, by a subclass with a property for each tensor in a subspace. The
weights at θ = 0 stand among the module's buffers under their own names, so that `to`, `deepcopy`
and `state_dict` treat them as ever.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

from subspan.adapters import calls
from subspan.adapters.calls import ROOTS
from subspan.adapters.guard import unguarded
from subspan.adapters.plain import (
    HIDDEN,
    ROOT,
    SITE,
    Hidden,
    PlainBuffers,
    PlainParameters,
    is_tie,
    own_buffers,
    taken,
)
from subspan.adapters.tables import one_pass, shown
from subspan.errors import InputError


class Dress(NamedTuple):
    """What of a module the subclass must serve.

    Attributes:
        names: its weights in a subspace.
        is_root: whether `attach` was called on it.
        hides: whether it owns hidden weights, or θ.
    """

    names: tuple[str, ...]
    is_root: bool
    hides: bool


def plain_class(module: nn.Module) -> type[nn.Module]:
    """Return the module's own class."""
    return getattr(type(module), "_subspan_plain", type(module))


def dress(module: nn.Module) -> None:
    """Give a module the subclass that fits its present state; its own class if it needs none."""
    state = module.__dict__
    plain = plain_class(module)
    if ROOTS in state:
        kind = Dress(tuple(state.get(SITE, ())), ROOT in state, HIDDEN in state)
        plain = subclass(plain, kind)  # type: ignore[arg-type]
    module.__class__ = plain


@functools.cache
def subclass(plain: type[nn.Module], dress: Dress) -> type[nn.Module]:
    """Return the subclass of `plain` for a module at or below one that was attached."""
    body: dict[str, Any] = {name: _property(name) for name in dress.names}
    body |= {
        "__module__": plain.__module__,
        "__qualname__": plain.__qualname__,
        "__doc__": plain.__doc__,
        "_subspan_plain": plain,
        "_subspan_key": dress,
        "__call__": _call_of(plain, dress.is_root),
        "__reduce_ex__": _reduce_ex,
        "_apply": _apply_of(dress.is_root),
    }
    if dress.hides:
        body |= {
            "_parameters": property(_parameters, functools.partial(_put, "_parameters")),
            "_buffers": property(_buffers, functools.partial(_put, "_buffers")),
            "__setattr__": _setattr,
            "__delattr__": _delattr,
            "register_parameter": _register_parameter,
        }
        if plain.__getattr__ is nn.Module.__getattr__:
            body["__getattr__"] = _getattr
        body["_load_from_state_dict"] = _load_part
    if dress.is_root:
        body |= {
            "_save_to_state_dict": _save_to_state_dict,
            "_load_from_state_dict": _load_from_state_dict,
        }
        if hasattr(plain, "save_pretrained"):
            body["save_pretrained"] = _save_pretrained
    for name in ("device", "dtype"):
        own = inspect.getattr_static(plain, name, None)
        if isinstance(own, property):
            body[name] = _answer(own)
    if hasattr(plain, "generate"):
        body["generate"] = _generate_of(plain)
    for name in ("resize_token_embeddings", "resize_position_embeddings"):
        if hasattr(plain, name):
            body[name] = _resize_of(plain, name)
    if (dress.names or dress.is_root) and issubclass(plain, nn.RNNBase):
        body |= {
            "_flat_weights": property(_flat_weights, _ignore),
            "_flat_weight_refs": property(_no_references, _ignore),
            "__setstate__": _set_state,
        }
    return type(plain.__name__, (plain,), body)


def _property(name: str) -> property:
    def get(self: nn.Module) -> Any:
        swapped = self.__dict__[HIDDEN].swapped
        if name in swapped:
            return swapped[name]
        handle, number = self.__dict__[SITE][name]
        base = self.__dict__["_buffers"].get(name)
        if base is None or name in self.__dict__["_parameters"]:
            raise InputError(
                f"{name}: expected the weight where attach put it, got another in its place. "
                "Call handle.merge() or handle.detach() before replacing weights."
            )
        if not torch.compiler.is_compiling():
            known = shown(handle, number, handle.theta)
            if known is not None:
                return known
        return handle.weight(number, base)

    return property(get)


def _call_of(plain: type[nn.Module], is_root: bool) -> Callable[..., Any]:
    def call(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():
            return compiled_call(self, *args, **kwargs)
        if calls.is_running(self):
            return plain.__call__(self, *args, **kwargs)
        with calls.call(self), one_pass() if is_root else contextlib.nullcontext():
            return plain.__call__(self, *args, **kwargs)

    def compiled_call(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        new = [root for root in self.__dict__.get(ROOTS, ()) if not root.inside]
        for root in new:
            root.compiling(True)
        try:
            return plain.__call__(self, *args, **kwargs)
        finally:
            for root in new:
                root.compiling(False)

    return call


def _parameters(self: nn.Module) -> Any:
    if HIDDEN in self.__dict__ and calls.within(self):
        return PlainParameters(self)
    return self.__dict__["_parameters"]


def _buffers(self: nn.Module) -> Any:
    if HIDDEN in self.__dict__ and calls.within(self):
        return PlainBuffers(self)
    return self.__dict__["_buffers"]


def _put(key: str, self: nn.Module, value: Any) -> None:
    self.__dict__[key] = value


def _getattr(self: nn.Module, name: str) -> Any:
    """Find what `nn.Module` finds, in words that a compiler follows past the properties above."""
    state = self.__dict__
    for key in ("_parameters", "_modules", "_buffers"):
        if key in state and name in state[key]:
            return state[key][name]
    return nn.Module.__getattr__(self, name)


def _setattr(self: nn.Module, name: str, value: Any) -> None:
    hidden: Hidden | None = self.__dict__.get(HIDDEN)
    if hidden is None or name not in hidden.tensors or not isinstance(value, torch.Tensor | None):
        plain_class(self).__setattr__(self, name, value)
        return
    site = self.__dict__.get(SITE, {}).get(name)
    if value is own_buffers(self).get(name) or (site is not None and is_tie(value, site)):
        return
    where = "a weight that lies in a subspace" if site else "a weight frozen beside a subspace"
    raise InputError(
        f"{name}: expected no assignment to {where}. Call handle.merge() or handle.detach() first."
    )


def _delattr(self: nn.Module, name: str) -> None:
    if name in self.__dict__.get(SITE, {}):
        raise taken(name)
    plain_class(self).__delattr__(self, name)


def _register_parameter(self: nn.Module, name: str, param: nn.Parameter | None) -> None:
    """Put a frozen weight that was taken out, to be parametrised in a forward pass, back in."""
    hidden: Hidden | None = self.__dict__.get(HIDDEN)
    if hidden is None or name not in hidden.tensors:
        plain_class(self).register_parameter(self, name, param)
    elif param is hidden.tensors[name] and name not in self.__dict__.get(SITE, {}):
        own_buffers(self)[name] = param
    else:
        _setattr(self, name, param)


def _answer(own: property) -> property:
    """Return a property that says the device or dtype of the weights, of hidden ones too."""

    def get(self: nn.Module) -> Any:
        if torch.compiler.is_compiling():
            return compiled_get(self)
        with calls.question():
            return own.__get__(self)

    def compiled_get(self: nn.Module) -> Any:
        roots = self.__dict__.get(ROOTS, ())
        for root in roots:
            root.asking = True
        try:
            return own.__get__(self)
        finally:
            for root in roots:
                root.asking = False

    return property(get, own.fset, own.fdel, own.__doc__)


def _generate_of(plain: Any) -> Callable[..., Any]:
    @functools.wraps(plain.generate)
    def generate(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        with calls.call(self):
            return plain.generate(self, *args, **kwargs)

    return generate


def _resize_of(plain: Any, name: str) -> Callable[..., Any]:
    own = getattr(plain, name)

    @functools.wraps(own)
    def resize(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        asked = [v for v in (*args, *kwargs.values()) if v is not None]
        if asked and any(HIDDEN in m.__dict__ for m in self.modules()):
            raise InputError(
                f"{name}: expected a model without a subspace, got one with a subspace attached. "
                "Resize before attaching, or call handle.merge() or handle.detach() first."
            )
        return own(self, *args, **kwargs)

    return resize


def _reduce_ex(self: nn.Module, protocol: Any) -> Any:
    """Copy and send between processes by the module's own class and the names of its weights."""
    reduced: Any = object.__reduce_ex__(self, 2)
    key = type(self)._subspan_key  # type: ignore[attr-defined]
    return (_new, (plain_class(self), tuple(key), *reduced[1][1:]), *reduced[2:])


def _new(plain: type[nn.Module], key: tuple[Any, ...], *rest: Any) -> nn.Module:
    kind = subclass(plain, Dress(*key))  # type: ignore[arg-type]
    return kind.__new__(kind, *rest)


def _apply_of(is_root: bool) -> Callable[..., nn.Module]:
    def apply(self: nn.Module, fn: Any, recurse: bool = True) -> nn.Module:
        """Move the module; θ stays float32 where a lower precision is asked for."""
        root = self.__dict__.get(ROOT) if is_root else None
        with calls.outside():
            plain_class(self)._apply(self, fn if root is None else root.careful(fn), recurse)
        hidden: Hidden | None = self.__dict__.get(HIDDEN)
        if hidden is not None:
            own = own_buffers(self)
            hidden.tensors = {n: own.get(n, t) for n, t in hidden.tensors.items()}
        if root is not None:
            root.moved()
        return self

    return apply


def _save_to_state_dict(
    self: nn.Module, destination: dict[str, Any], prefix: str, keep_vars: bool
) -> None:
    plain_class(self)._save_to_state_dict(self, destination, prefix, keep_vars)
    if ROOT in self.__dict__ and not calls.within(self):
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


def _load_part(self: nn.Module, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
    """Load what the attached module loads; refuse weights that are given to a part of it alone."""
    hidden: Hidden | None = self.__dict__.get(HIDDEN)
    given = [n for n in (hidden.tensors if hidden else ()) if f"{prefix}{n}" in state_dict]
    roots = self.__dict__.get(ROOTS, ())
    if given and roots and not any(root.loads(self, prefix) for root in roots):
        raise InputError(
            f"load_state_dict: expected the attached module, whose subspace holds {given[0]!r} as "
            "base + A θ, got a part of it, whose weights would not be what was loaded. Load into "
            "the attached module, or call handle.merge() or handle.detach() first."
        )
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
    found = [getattr(self, n, None) for n in self._flat_weights_names]
    return [None if w is None else unguarded(w) for w in found]


def _no_references(self: nn.RNNBase) -> list[None]:
    return [None] * len(self._flat_weights_names)


def _ignore(self: nn.Module, value: Any) -> None:
    pass


def _set_state(self: nn.Module, state: dict[str, Any]) -> None:
    self.__dict__.update(state)
    self.__dict__["_flat_weight_refs"] = []
