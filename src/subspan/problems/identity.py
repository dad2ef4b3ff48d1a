"""`identity_of`: what tells a value from others, as JSON data that is the same in every process.

A user's loss is known by all that it holds: numbers, tensors, arguments that `functools.partial`
keeps, the cells of a closure, defaults, attributes, the functions, classes and data of the user's
own modules that its code names, and by its code (`problems/code.py`). What comes with Python or
was installed is known by its qualified name, whatever its release; objects made of it by what
they hold. An object that keeps its state where Python does not show it (a generator, an open
file) is refused: two of them could not be told apart.

Not part of an identity: names of the user's modules and files, docstrings, annotations of classes,
devices, whether tensors ask for gradients.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import logging
import pathlib
import sys
import threading
import types
import weakref
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from subspan.canonical import canonical_json, chunked_digest
from subspan.errors import InputError, invalid
from subspan.problems import code, user_classes
from subspan.problems.user_classes import installed

_REMEDY = (
    "Pass identity={'name': ...}, by which trials know the problem; change it with the problem."
)
# Where Hugging Face keeps the place that a model was loaded from, and what its forward ignores.
_PLACES = {"_name_or_path", "name_or_path", "transformers_version", "_commit_hash"}
_UNUSED = {"generation_config", "warnings_issued"}
_BOOKKEEPING = set(vars(nn.Module())) - {"training"}  # other releases of PyTorch keep others
_PLAIN = (torch.dtype, torch.layout, torch.memory_format, torch.device, torch.Size)
_SLOTS = (types.MemberDescriptorType, types.GetSetDescriptorType)
_UNBOUND = (
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
)
_COMPILED = "_torchdynamo_orig_callable"  # where torch.compile keeps the function
_LOCKS = (type(threading.Lock()), type(threading.RLock()))


def identity_of(value: Any, argument: str = "value") -> Any:
    """Return JSON data that is equal for equal values, in every process, and else differs.

    Args:
        value: a loss, a metric, an initialisation, a module, or anything that they hold.
        argument: what errors call it.

    Raises:
        InputError: it holds an object that cannot be told from others.
    """
    return _told(_Walk(), value, argument)


def module_identity(module: nn.Module, argument: str = "make_module") -> Any:
    """Return `identity_of` a network less the values of its parameters and buffers.

    Nor does it count whether the network is in training mode: a problem settles that.

    Raises:
        InputError: as `identity_of`.
    """
    tensors = [*module.parameters(), *module.buffers()]
    return _told(_Walk({id(t) for t in tensors}, modes=False), module, argument)


def _told(walk: _Walk, value: Any, argument: str) -> Any:
    try:
        return walk.of(value, argument)
    except RecursionError as error:
        raise _refused(argument, argument, "objects nested too deeply") from error


def _refused(argument: str, place: str, what: str) -> InputError:
    inside = f", as {place}" if place != argument else ""
    return invalid(
        argument.partition(" ")[0],
        expected="what can be told from others in every run",
        got=f"{what}{inside}",
        remedy=_REMEDY,
    )


class _Walk:
    """One walk through a value. Objects met before are numbered, so that cycles end."""

    def __init__(self, hidden: Iterable[int] = (), *, modes: bool = True) -> None:
        self.hidden, self.modes = frozenset(hidden), modes
        self.numbers: dict[Any, int] = {}
        self.kept: list[Any] = []  # an id is an object's own only while it lives

    def of(self, value: Any, place: str) -> Any:
        """Return the identity of a value; `place` is where it was found, for errors."""
        if value is None or type(value) in (bool, int, str):
            return value
        if _COMPILED in getattr(value, "__dict__", ()):
            return ["compiled", self.of(vars(value)[_COMPILED], place)]
        for kinds, tell in _KINDS:
            if isinstance(value, kinds):
                return tell(self, value, place)
        if value is Ellipsis or value is NotImplemented:
            return ["built-in", repr(value)]
        return self._once(value, place, self._object)

    def items(self, values: Iterable[Any], place: str) -> list[Any]:
        return [self.of(v, place) for v in values]

    def named(self, values: Mapping[str, Any], place: str, *, but: Iterable[str] = ()) -> Any:
        """Return identities by name, in the names' order."""
        names = sorted(set(values) - set(but), key=str)
        return [[str(name), self.of(values[name], f"{name!r} of {place}")] for name in names]

    def _once(self, value: Any, place: str, tell: Any) -> Any:
        if id(value) in self.numbers:
            return ["seen", self.numbers[id(value)]]
        self.numbers[id(value)] = len(self.numbers)
        self.kept.append(value)
        return tell(value, place)

    # ---- data

    def _number(self, value: float | complex, place: str) -> Any:
        exact = type(value) in (float, complex)
        return (
            [type(value).__name__, repr(value)] if exact else self._once(value, place, self._object)
        )

    def _bytes(self, value: bytes | bytearray, place: str) -> Any:
        return [type(value).__name__, hashlib.sha256(value).hexdigest()[:32]]

    def _text(self, value: Any, place: str) -> Any:
        return [type(value).__name__, str(value)]

    def _tensor(self, value: torch.Tensor, place: str) -> Any:
        if is_lazy(value):
            return ["tensor", "not initialised"]
        derived = not self.modes and value.grad_fn is not None  # of weights, as by weight_norm
        if derived or id(value) in self.hidden:
            return ["weight", list(value.shape), *self._hooks(user_classes.held_by(value), place)]
        try:
            return ["tensor", *user_classes.tensor_parts(value)]
        except (RuntimeError, TypeError, NotImplementedError) as error:
            raise _refused(place.split(" of ")[-1], place, f"a tensor of {value.layout}") from error

    def _array(self, value: np.ndarray | np.generic, place: str) -> Any:
        array = np.asarray(value)
        if array.dtype.hasobject:
            return ["array", list(array.shape), self.items(array.ravel().tolist(), place)]
        flat = np.ascontiguousarray(array)
        return ["array", chunked_digest((array.dtype, array.shape, [flat.reshape(-1)]))]

    def _sequence(self, value: Any, place: str) -> Any:
        if type(value) not in (list, tuple):
            return self._once(value, place, self._object)
        if isinstance(value, tuple):
            return ["tuple", self.items(value, place)]
        return self._once(value, place, lambda v, p: ["list", self.items(v, p)])

    def _mapping(self, value: Any, place: str) -> Any:
        if type(value) is not dict:
            return self._once(value, place, self._object)
        pairs = value.items()
        return self._once(
            value,
            place,
            lambda v, p: ["dict", [[self.of(k, p), self.of(x, f"{k!r} of {p}")] for k, x in pairs]],
        )

    def _set(self, value: Any, place: str) -> Any:
        """In an order of its own: that of the set depends on hashes, or on addresses."""
        found = []
        for item in value:
            apart = _Walk(self.hidden, modes=self.modes)
            apart.numbers, apart.kept = dict(self.numbers), list(self.kept)
            found.append(apart.of(item, place))
        return [type(value).__name__, sorted(found, key=canonical_json)]

    # ---- code

    def _function(self, value: types.FunctionType, place: str) -> Any:
        return self._once(value, place, self._new_function)

    def _new_function(self, value: types.FunctionType, place: str) -> Any:
        part = value.__code__
        qualname = getattr(part, "co_qualname", value.__qualname__)
        home = str(value.__globals__.get("__name__"))
        closure = dict(zip(part.co_freevars, value.__closure__ or (), strict=True))
        if installed(home):
            if "<locals>" not in qualname and "<lambda>" not in qualname:
                return ["function", home, qualname]
            told: list[Any] = ["function", home, qualname, code.code_digest(value)]
        else:
            told = ["function", code.code_digest(value), *self._globals(value, place)]
        held = [value.__defaults__, value.__kwdefaults__]
        held = [self.of(v, f"a default of {place}") for v in held]
        return [*told, held, self.named(closure, place), self.named(value.__dict__, place)]

    def _globals(self, value: types.FunctionType, place: str) -> list[Any]:
        """Return the user's own data, functions, classes and modules that a function names."""
        names = code.names_in(value.__code__)
        found = {}
        for name in sorted(names.read & set(value.__globals__)):
            found[name] = self._global(value.__globals__[name], f"{name!r} of {place}", names)
        for written, level in sorted(names.imported):
            package = str(value.__globals__.get("__package__") or "")
            full = ".".join([*package.split(".")[: len(package.split(".")) + 1 - level], written])
            for name in (
                {full.strip("."), full.partition(".")[0]} if level == 0 else {full.strip(".")}
            ):
                if name in sys.modules:
                    found[f"import {name}"] = self._user_module(sys.modules[name], place, names)
        return [sorted(found.items())]

    def _global(self, value: Any, place: str, names: code.Names) -> Any:
        if isinstance(value, types.ModuleType):
            return self._user_module(value, place, names)
        return self.of(value, place)

    def _user_module(self, module: types.ModuleType, place: str, names: code.Names) -> Any:
        if installed(module.__name__):
            return ["import", module.__name__]
        key = (module.__name__, names.attributes)
        if key in self.numbers:
            return ["seen", self.numbers[key]]
        self.numbers[key] = len(self.numbers)
        used = sorted(names.attributes & set(vars(module)))
        return [[n, self._global(vars(module)[n], f"{n!r} of {place}", names)] for n in used]

    def _module_alone(self, value: types.ModuleType, place: str) -> Any:
        if installed(value.__name__):
            return ["import", value.__name__]
        raise _refused(place.split(" of ")[-1], place, f"the module {value.__name__!r}")

    def _built_in(self, value: Any, place: str) -> Any:
        owner = getattr(value, "__self__", None)
        if owner is None or isinstance(owner, types.ModuleType | type):
            home = getattr(owner, "__qualname__", None) or value.__module__
            return ["built-in", str(home), value.__qualname__]
        return ["method", self.of(owner, place), value.__name__]

    def _unbound(self, value: Any, place: str) -> Any:
        return ["built-in", value.__objclass__.__qualname__, value.__name__]

    def _method(self, value: types.MethodType, place: str) -> Any:
        return ["method", self.of(value.__self__, place), self.of(value.__func__, place)]

    def _partial(self, value: functools.partial[Any], place: str) -> Any:
        def tell(v: Any, p: str) -> Any:
            held = [self.of(v.func, p), self.items(v.args, p), self.named(v.keywords, p)]
            return ["partial", *held, self.named(vars(v), p)]

        return self._once(value, place, tell)

    def _property(self, value: property, place: str) -> Any:
        return ["property", self.items([value.fget, value.fset, value.fdel], place)]

    def _wrapped(self, value: Any, place: str) -> Any:
        return [type(value).__name__, self.of(value.__wrapped__, place)]

    def _cell(self, value: types.CellType, place: str) -> Any:
        try:
            held = value.cell_contents
        except ValueError:  # a variable that has no value yet
            return ["empty"]
        return self.of(held, place)

    def _slot(self, value: Any, place: str) -> Any:
        return ["slot", value.__name__]

    def _script(self, value: Any, place: str) -> Any:
        lines = str(value.graph).splitlines()  # with the place in the source after a `#`
        return ["script", [line.partition(" # ")[0] for line in lines]]

    def _class(self, value: type, place: str) -> Any:
        if installed(value.__module__):
            name = [value.__module__, value.__qualname__]
            if not user_classes.made_while_running(value):
                return ["class", *name]
            return self._once(value, place, lambda v, p: [*name, self.items(v.__bases__, p)])
        return self._once(value, place, self._users_class)

    def _users_class(self, value: type, place: str) -> Any:
        bases = [base for base in value.__bases__ if base is not object]
        meta = [] if installed(type(value).__module__) else [type(value)]
        held = self.named(user_classes.members(value), f"{value.__qualname__} of {place}")
        return ["class", value.__qualname__, self.items([*meta, *bases], place), held]

    # ---- objects

    def _enum(self, value: enum.Enum, place: str) -> Any:
        return ["member", self.of(type(value), place), value.name]

    def _reference(self, value: weakref.ref[Any], place: str) -> Any:
        return ["reference", self.of(value(), place)]

    def _logger(self, value: logging.Logger, place: str) -> Any:
        return ["logger", value.name]

    def _generator(self, value: torch.Generator, place: str) -> Any:
        return ["generator", self.of(value.get_state(), place)]

    def _lock(self, value: Any, place: str) -> Any:
        return ["lock"]

    def _network(self, value: nn.Module, place: str) -> Any:
        return self._once(value, place, self._new_network)

    def _new_network(self, value: nn.Module, place: str) -> Any:
        if isinstance(value, torch.jit.ScriptModule):
            raise _refused(place.split(" of ")[-1], place, "a scripted or traced module")
        inner = vars(value).get("_modules", {}).get("_orig_mod")
        if inner is not None and type(value).__name__ == "OptimizedModule":
            return ["compiled", self.of(inner, place)]
        held = vars(value)
        skipped = _BOOKKEEPING | _PLACES | _UNUSED | (set() if self.modes else {"training"})
        tensors = [*held["_parameters"].items(), *held["_buffers"].items()]
        return [
            "module",
            self.of(type(value), place),
            [[n, self.of(t, f"{n!r} of {place}")] for n, t in tensors],
            [[n, self.of(m, f"{n!r} of {place}")] for n, m in held["_modules"].items()],
            self.named(held, place, but=skipped),
            self._hooks(held, place),
        ]

    def _hooks(self, held: Mapping[str, Any], place: str) -> Any:
        """Return the hooks that run in a pass; their keys count hooks made in the process."""
        found = []
        for name, hooks in sorted(held.items()):
            counts = "hooks" in name and "state_dict" not in name
            if counts and isinstance(hooks, Mapping) and hooks:
                found.append(
                    [name, [self.of(hook, f"a hook of {place}") for hook in hooks.values()]]
                )
        return found

    def _object(self, value: Any, place: str) -> Any:
        """By its class and by what `copy` would take over: all that it holds, unless it says no."""
        try:
            parts = user_classes.parts(value)
        except Exception as error:
            raise _refused(place.split(" of ")[-1], place, f"a {type(value).__name__}") from error
        if isinstance(parts, str):
            return ["named", type(value).__module__, parts]
        state = parts.state
        told = [self.of(type(value), place), self.of(parts.made_by, place)]
        told.append(self.items(parts.arguments, place))
        if isinstance(state, Mapping):
            told.append(self.named(state, place, but=_PLACES))
        else:
            told.append(self.of(state, place))
        return ["object", *told, self.items(parts.items, place)]


_KINDS: list[tuple[Any, Any]] = [
    (torch.Tensor, _Walk._tensor),
    ((np.ndarray, np.generic), _Walk._array),
    (enum.Enum, _Walk._enum),
    (_PLAIN, _Walk._text),
    ((float, complex), _Walk._number),
    ((bytes, bytearray), _Walk._bytes),
    (pathlib.PurePath, _Walk._text),
    ((list, tuple), _Walk._sequence),
    (dict, _Walk._mapping),
    ((set, frozenset), _Walk._set),
    (type, _Walk._class),
    (types.FunctionType, _Walk._function),
    ((types.BuiltinFunctionType, types.MethodWrapperType), _Walk._built_in),
    (types.MethodType, _Walk._method),
    (_UNBOUND, _Walk._unbound),
    (_SLOTS, _Walk._slot),
    (functools.partial, _Walk._partial),
    (property, _Walk._property),
    ((staticmethod, classmethod, functools._lru_cache_wrapper), _Walk._wrapped),
    (types.CellType, _Walk._cell),
    (types.ModuleType, _Walk._module_alone),
    ((torch._ops.OpOverload, torch._ops.OpOverloadPacket), _Walk._text),
    (torch.jit.ScriptFunction, _Walk._script),
    (nn.Module, _Walk._network),
    (weakref.ref, _Walk._reference),
    (logging.Logger, _Walk._logger),
    (torch.Generator, _Walk._generator),
    (_LOCKS, _Walk._lock),
]
