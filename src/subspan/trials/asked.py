"""What was asked of a store, noted as training begins, so that `subspan resume` can go on.

A call of `run`, `threshold`, `compare` or `diagnose` is noted as plain JSON data: its arguments,
and of the problem where it comes from: a registered name with its options, or the module or file
in whose global it stands. What cannot come back from that is noted by name, with the reason. Notes
are claims that nobody holds; a call that came to its end is marked as done.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import torch

from subspan import problems, tracebacks
from subspan.canonical import digest
from subspan.errors import InputError, StoreError, invalid
from subspan.goals import Goal, parse_goal
from subspan.problems.base import AbstractProblem
from subspan.spec import TrainSpec
from subspan.subspaces.base import Method
from subspan.subspaces.registry import METHODS, method_from_config
from subspan.trials.function import FunctionTrainable, LoopSpec
from subspan.trials.stores.base import RecordStore
from subspan.trials.stores.registry import open_store

COMMAND = "command:"  # before the note of a command, which the command line makes
_PREFIX = "call:"
_LONGEST = 100_000  # numbers in an array
# Where records go and who is told; an executor that is an object is left out too.
_NOT_ASKED = ("store", "progress", "runner")

F = TypeVar("F", bound=Callable[..., Any])


class _Call:
    """A call under way, noted when it comes to train something."""

    def __init__(self, name: str, arguments: Mapping[str, Any]) -> None:
        self._name, self._arguments = name, arguments
        self._noted: dict[str, Any] | None = None

    def begin(self, store: RecordStore) -> None:
        if self._noted is None:
            self._noted = described(self._name, self._arguments)
            _write(store, self._noted, done=False)

    def end(self) -> None:
        """Mark it as done; what it gave is not to be lost where that cannot be written."""
        if self._noted is not None:
            with contextlib.suppress(StoreError), open_store(self._arguments["store"]) as store:
                _write(store, self._noted, done=True)


_current: ContextVar[_Call | None] = ContextVar("current", default=None)


def resumable(function: F) -> F:
    """Decorate a function that trains trials into its `store`: its calls are noted there."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def noted(*args: Any, **kwargs: Any) -> Any:
        try:
            arguments = signature.bind(*args, **kwargs).arguments
        except TypeError:
            return function(*args, **kwargs)  # which says it better
        if arguments.get("store") is None or _current.get() is not None:
            return function(*args, **kwargs)
        call = _Call(function.__name__, arguments)
        with _as_current(call):
            try:
                result = function(*args, **kwargs)
            except InputError:
                call.end()  # again it would be refused again
                raise
        call.end()
        return result

    return noted  # type: ignore[return-value]


def begin(store: RecordStore) -> None:
    """Note the call under way, if any: something is to be trained."""
    call = _current.get()
    if call is not None:
        call.begin(store)


def quiet() -> contextlib.AbstractContextManager[None]:
    """Return a context in which calls are not noted: somebody else notes what was asked."""
    return _as_current(_Quiet("", {}))


class _Quiet(_Call):
    def begin(self, store: RecordStore) -> None:
        pass


@contextlib.contextmanager
def _as_current(call: _Call) -> Iterator[None]:
    token = _current.set(call)
    try:
        yield
    finally:
        _current.reset(token)


def unfinished(store: RecordStore) -> list[dict[str, Any]]:
    """Return the notes of the calls that did not come to their end, in the order they began."""
    return [note for note in notes(store) if not note["done"]]


def notes(store: RecordStore) -> list[dict[str, Any]]:
    """Return the notes of all calls, in the order they began."""
    found = [claim.data for claim in store.claims(_PREFIX)]
    return sorted(found, key=lambda note: float(note["began"]))


def finished(store: RecordStore, note: Mapping[str, Any]) -> None:
    """Mark a noted call as done."""
    _write(store, {k: v for k, v in note.items() if k not in ("began", "done")}, done=True)


def _write(store: RecordStore, note: dict[str, Any], *, done: bool) -> None:
    key = f"{_PREFIX}{digest(note)}"
    store.claim(key, _PREFIX, 0.0, {**note, "began": time.time(), "done": done})


# --- From objects to a note -----------------------------------------------------------------------


class _Lost(Exception):
    """An argument that cannot come back; its text says why."""


def described(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call as plain JSON data; `"lost"` says by name what cannot come back, and why."""
    kept: dict[str, Any] = {}
    lost: dict[str, str] = {}
    for key, value in _flat(arguments).items():
        if key in _NOT_ASKED or (key == "executor" and not isinstance(value, str)):
            continue
        try:
            kept[key] = _noted(value)
        except _Lost as reason:
            lost[key] = str(reason)
    about = _about(arguments.get("problem"))
    return {"call": name, "about": about, "arguments": kept, "lost": lost, "folder": os.getcwd()}


def _flat(arguments: Mapping[str, Any]) -> dict[str, Any]:
    rest = arguments.get("options", {})
    return {k: v for k, v in arguments.items() if k != "options"} | dict(rest)


def _about(subject: Any) -> str:
    if isinstance(subject, list | tuple):
        return ", ".join(map(_about, subject))
    return str(getattr(subject, "name", subject))


def _noted(value: Any) -> Any:
    if hasattr(value, "tolist"):  # a number or an array of NumPy's or PyTorch's
        if math.prod(value.shape) > _LONGEST:
            raise _Lost(f"an array of {math.prod(value.shape):,} numbers is too long for a note")
        value = value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, os.PathLike):
        return str(Path(value).absolute())
    if isinstance(value, list | tuple | range | set | frozenset):
        return [_noted(each) for each in value]
    for kind, note in _NOTES.items():
        if isinstance(value, kind):
            return note(value)
    raise _Lost(f"{value!r} is not plain data")


def _noted_method(method: Method) -> dict[str, Any]:
    config = {key: _noted(value) for key, value in method.to_config().items()}
    form = METHODS.get(str(config.get("name")))
    if form is not None and isinstance(method, form.make):
        return {"method": config}
    return {"method": config, "class": _place(type(method), repr(type(method).__name__))}


def _noted_problem(problem: AbstractProblem) -> dict[str, Any]:
    if problem.origin is not None:
        options = {key: _noted(value) for key, value in problem.origin["options"].items()}
        found: dict[str, Any] = {"registered": problem.origin["name"], "options": options}
    else:
        found = {"place": _place(problem, f"the problem {problem.name!r}")}
    number = str(problem.dtype).removeprefix("torch.")
    return {**found, "identity": problem.identity, "on": [str(problem.device), number]}


def _noted_function(function: FunctionTrainable) -> dict[str, Any]:
    place = _place(function, f"the function {function.name!r}", function.function.__module__)
    return {"place": place, "identity": function.identity}


_NOTES: dict[Any, Callable[[Any], dict[str, Any]]] = {
    Goal: lambda goal: {"goal": str(goal)},
    TrainSpec: lambda spec: {"train_spec": spec.to_json()},
    LoopSpec: lambda spec: {"loop_spec": spec.to_json()},
    Method: _noted_method,
    AbstractProblem: _noted_problem,
    FunctionTrainable: _noted_function,
}


def _place(value: object, told: str, home: str | None = None) -> dict[str, str]:
    """Return the module or file in which a value is a global, and its name there."""
    wanted = home or getattr(value, "__module__", "__main__")
    first = [name for name in (wanted, "__main__") if name in sys.modules]
    for name in dict.fromkeys([*first, *list(sys.modules)]):
        module = sys.modules.get(name)
        if not isinstance(module, ModuleType):
            continue
        for own, held in list(vars(module).items()):
            if held is value:
                return _address(module, name, own, told)
    raise _Lost(f"{told} is not a global of a module, where it could be found again")


def _address(module: ModuleType, name: str, own: str, told: str) -> dict[str, str]:
    file = getattr(module, "__file__", None)
    if name == "__main__":
        spec = getattr(module, "__spec__", None)
        if spec is not None:
            name = spec.name  # python -m NAME
        elif file is None or not Path(file).is_file():
            raise _Lost(f"{told} is defined in a notebook or at a prompt, in no file")
        else:
            return {"file": str(Path(file).absolute()), "name": own}
    if file is None:
        return {"module": name, "name": own}
    depth = name.count(".") + (Path(file).name == "__init__.py")
    return {"module": name, "name": own, "root": str(Path(file).absolute().parents[depth])}


# --- From a note to objects -----------------------------------------------------------------------


def restored(note: Mapping[str, Any], from_file: Callable[[str], Any]) -> dict[str, Any]:
    """Return the arguments of a noted call as objects.

    Args:
        note: one of `unfinished`.
        from_file: what gives the global of `"FILE.py:NAME"`.

    Raises:
        InputError: something cannot come back, or is not what was asked about any more.
    """
    if note["lost"]:
        key, reason = next(iter(note["lost"].items()))
        raise invalid(key, expected="what can come back from a store", got=reason)
    return {key: _object(value, from_file) for key, value in note["arguments"].items()}


def _object(value: Any, from_file: Callable[[str], Any]) -> Any:
    if isinstance(value, list):
        return [_object(each, from_file) for each in value]
    if not isinstance(value, dict):
        return value
    if "float" in value:
        return float(value["float"])
    if "goal" in value:
        return parse_goal(value["goal"])
    if "train_spec" in value:
        return TrainSpec.from_json(value["train_spec"])
    if "loop_spec" in value:
        return LoopSpec.from_json(value["loop_spec"])
    if "method" in value:
        if "class" not in value:
            return method_from_config(value["method"])
        return _global(value["class"], from_file).from_config(value["method"])
    if "registered" in value:
        subject: Any = problems.load(value["registered"], **value["options"])
    else:
        subject = _global(value["place"], from_file)
    if digest(subject.identity) != digest(value["identity"]):
        raise invalid(
            "problem",
            expected=f"{subject.name!r} as it was when trials were asked for",
            got="one of other data, code or version",
            remedy="Bring it back as it was, or make the call anew: it is another measurement.",
        )
    device, dtype = value.get("on", (None, None))
    if device is not None and (str(subject.device), str(subject.dtype)) != (
        device,
        f"torch.{dtype}",
    ):
        subject = subject.to(device, getattr(torch, dtype))
    return subject


def _global(place: Mapping[str, str], from_file: Callable[[str], Any]) -> Any:
    if "file" in place:
        return from_file(f"{place['file']}:{place['name']}")
    root = place.get("root")
    if root is not None and root not in sys.path:
        sys.path.append(root)
    try:
        return getattr(importlib.import_module(place["module"]), place["name"])
    except Exception as error:
        raise InputError(
            f"problem: expected {place['name']!r} in the module {place['module']!r}, which fails "
            f"with\n{tracebacks.told(error)}"
        ) from error
