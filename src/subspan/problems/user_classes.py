"""What classes and their objects hold, as `identity_of` reads it."""

from __future__ import annotations

import copyreg
import enum
import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any

import torch

from subspan.canonical import chunked_digest

# What Python, `abc`, `typing` and PyTorch keep in a class beside what the user wrote.
_KEPT_BESIDE = {
    "__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__annotations__",
    "__annotate__", "__annotate_func__", "__annotations_cache__", "__conditional_annotations__",
    "__firstlineno__", "__static_attributes__", "__abstractmethods__", "_abc_impl",
    "__parameters__", "__orig_bases__", "__classcell__", "__match_args__",
    "__dataclass_params__", "_autograd_function_id", "_backward_cls",
    "_compiled_autograd_should_lift", "__slotnames__",
}  # fmt: skip


@functools.cache
def installed(module: str) -> bool:
    """Whether a module comes with Python, with this package, or was installed.

    What the user runs as a script, types at a prompt or installs in place is their own.
    """
    root = module.partition(".")[0]
    if root in ("__main__", "None", ""):
        return False
    if root in sys.stdlib_module_names or root in sys.builtin_module_names or root == "subspan":
        return True
    found = sys.modules.get(root)
    places = [getattr(found, "__file__", None), *getattr(found, "__path__", [])]
    return any({"site-packages", "dist-packages"} & set(Path(str(p)).parts) for p in places if p)


def made_while_running(value: type) -> bool:
    """Whether a class is not the one that its module has under its name."""
    found: Any = sys.modules.get(value.__module__)
    for name in value.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is not value


def members(value: type) -> dict[str, Any]:
    """Return what a user's class holds by name: methods and data, less what is made of them."""
    held = {n: v for n, v in vars(value).items() if n not in _KEPT_BESIDE}
    if "__dataclass_fields__" in held:
        fields = held.pop("__dataclass_fields__")
        held = {n: v for n, v in held.items() if not _generated(n, v)}
        kept = ("init", "kw_only", "default", "default_factory")
        held["fields"] = [(n, [getattr(f, k) for k in kept]) for n, f in fields.items()]
        held["parameters"] = repr(vars(value).get("__dataclass_params__"))
    if issubclass(value, enum.Enum):
        own = {n: v for n, v in held.items() if isinstance(v, FunctionType | property)}
        return {**own, "members": [(n, m._value_) for n, m in value.__members__.items()]}
    if issubclass(value, tuple) and "_fields" in held:
        own = {n: v for n, v in held.items() if not _generated(n, v)}
        return {**own, "fields": [value._fields, value._field_defaults]}  # type: ignore[attr-defined]
    return held


def _generated(name: str, value: Any) -> bool:
    """Whether `dataclasses` or `typing` wrote a member: what it was written from tells the same."""
    if name in ("_fields", "_field_defaults", "_make", "_replace", "_asdict", "__getnewargs__"):
        return True
    if isinstance(value, FunctionType):
        return name.startswith("__") and value.__code__.co_filename.startswith("<string>")
    return type(value).__name__ == "_tuplegetter" or name == "__new__"


@dataclass(frozen=True)
class Parts:
    """What an object is made of: the function that makes it, its arguments, state and items."""

    made_by: Any
    arguments: tuple[Any, ...]
    state: Any
    items: list[Any]


def parts(value: Any) -> str | Parts:
    """Return an object's parts, or its name where its class gives just that.

    The attributes of a Python object are all of them, whatever its `__getstate__` leaves out.

    Raises:
        TypeError: it keeps its state where Python does not show it.
    """
    kind = type(value)
    plain = kind.__reduce_ex__ is object.__reduce_ex__ and kind.__reduce__ is object.__reduce__
    own_state = kind.__getstate__ is not object.__getstate__
    if plain and isinstance(kind.__getstate__, FunctionType):
        return Parts(None, (), _attributes(value), [])
    known = copyreg.dispatch_table.get(kind)
    reduced = value.__reduce_ex__(4) if known is None else known(value)
    if isinstance(reduced, str):
        return reduced
    made_by, arguments, state, listed, mapped = (*reduced, None, None, None)[:5]
    items = [*(listed or ()), *((k, v) for k, v in mapped or ())]
    if not plain and not own_state and getattr(value, "__dict__", None):
        state = [state, _attributes(value)]
    return Parts(made_by, arguments, state, items)


def _attributes(value: Any) -> Any:
    found: Callable[[Any], Any] = object.__getstate__
    return found(value)


def held_by(tensor: torch.Tensor) -> dict[str, Any]:
    """Return what a tensor keeps besides its bits: hooks on its gradient."""
    names = ("_backward_hooks", "_post_accumulate_grad_hooks")
    return {name: getattr(tensor, name, None) for name in names} if tensor.is_leaf else {}


def tensor_parts(value: torch.Tensor) -> list[Any]:
    """Return layout, dtype and a hash of the bits, whatever the kind of tensor.

    Raises:
        RuntimeError, TypeError, NotImplementedError: of a kind whose bits PyTorch does not show.
    """
    value = value.detach()
    if value.layout != torch.strided:
        value = value.coalesce() if value.layout == torch.sparse_coo else value
        places = value.indices() if value.layout == torch.sparse_coo else value.to_dense()
        numbers = value.values() if value.layout == torch.sparse_coo else places
        return [str(value.layout), tensor_parts(places), tensor_parts(numbers)]
    if value.is_quantized:
        return [value.qscheme().__repr__(), tensor_parts(value.dequantize())]
    flat = value.resolve_conj().resolve_neg().cpu().contiguous().reshape(-1)
    raw = flat.view(torch.uint8).numpy()
    return [str(value.dtype), chunked_digest((raw.dtype, tuple(value.shape), [raw]))]
