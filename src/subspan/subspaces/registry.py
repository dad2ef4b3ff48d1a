"""Methods by name, as written on the command line and as stored. A new method is entered here.

A text is a name, after a colon its short argument, and its other arguments by name:
`burn-in:64`, `lottery-ticket:rounds=5,rewind=64`, `burn-in:64,lr=0.1`.
"""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from subspan.errors import invalid, unknown
from subspan.subspaces.base import Method
from subspan.subspaces.biases import BiasesAndNorms
from subspan.subspaces.burn_in import BurnIn
from subspan.subspaces.last_layer import LastLayer
from subspan.subspaces.lottery_subspace import LotterySubspace
from subspan.subspaces.lottery_ticket import LotteryTicket
from subspan.subspaces.low_rank import FixedFactorLowRank
from subspan.subspaces.pruning_at_init import PruneAtInit
from subspan.subspaces.random_affine import RandomAffine
from subspan.subspaces.random_mask import RandomMask
from subspan.subspaces.saved import SavedSubspace

_NEXT = re.compile(r",(?=\s*\w+=)")  # a comma in the path of a saved subspace is no separator
_NAMED = re.compile(r"\s*(\w+)=(.*)", re.DOTALL)


@dataclass(frozen=True)
class Form:
    """How a method is written.

    Args:
        make: its class.
        short: the argument that may stand without its name after the colon.
        required: whether it must be given.
        fixed: what the name says already.
        idle: arguments that do nothing under this name.
    """

    make: type[Method]
    short: str
    required: bool = False
    fixed: dict[str, Any] = field(default_factory=dict)
    idle: tuple[str, ...] = ()

    def arguments(self) -> dict[str, str]:
        """Return the type of each argument that may be given, as its class annotates it."""
        found = inspect.signature(self.make).parameters.values()
        return {
            p.name: _told(p.annotation)
            for p in found
            if p.kind is not p.VAR_KEYWORD and p.name not in (*self.fixed, *self.idle)
        }

    def takes(self, name: str) -> bool:
        """Whether an argument may be given; those of a map are left to the map."""
        parameters = inspect.signature(self.make).parameters.values()
        return name in self.arguments() or any(p.kind is p.VAR_KEYWORD for p in parameters)


_DIGITS = 19  # of the largest number that a method can use


METHODS: dict[str, Form] = {
    "random": Form(RandomAffine, "map"),
    "burn-in": Form(BurnIn, "steps", required=True),
    "lottery-subspace": Form(LotterySubspace, "coordinates"),
    "lottery-ticket": Form(LotteryTicket, "rounds"),
    "magnitude": Form(LotteryTicket, "scope", fixed={"rewind": "end"}),
    "snip": Form(PruneAtInit, "scope", fixed={"criterion": "snip"}, idle=("iterations",)),
    "synflow": Form(
        PruneAtInit, "scope", fixed={"criterion": "synflow"}, idle=("batches", "batch_size")
    ),
    "random-mask": Form(RandomMask, "scope"),
    "last-layer": Form(LastLayer, "map"),
    "biases": Form(BiasesAndNorms, "map"),
    "low-rank-fixed-factor": Form(FixedFactorLowRank, "map"),
    "saved": Form(SavedSubspace, "path", required=True),
}


def parse_method(text: str | Method, **options: Any) -> Method:
    """Parse `random`, `random:gaussian`, `burn-in:64`, `lottery-ticket:rounds=5,rewind=64`, ….

    Args:
        text: a name; after a colon its short argument, others as `key=value`, commas between.
        **options: for the method, e.g. `map`.

    Raises:
        InputError: the name or an argument is unknown, given twice, or not what the method takes.
    """
    if isinstance(text, Method):
        return text
    if not isinstance(text, str):
        name = text.__name__ if isinstance(text, type) else ""
        raise invalid(
            "method",
            expected="a method or its text",
            got=repr(text),
            remedy=f"Make one: {name}(…)." if name else 'For example "random".',
        )
    name, form, given = _read(text)
    for key, value in options.items():
        if value is None:
            continue
        if not form.takes(key):
            raise invalid("method", expected=f"options that {name!r} takes", got=key)
        if key in given:
            raise invalid("method", expected=f"{key} once", got=f"{text!r} and {key}={value!r}")
        given[key] = value
    return form.make(**form.fixed, **given)


def method_from_config(config: Mapping[str, Any]) -> Method:
    """Make a registered method of what its `to_config` gave.

    Raises:
        InputError: the name is unknown, or an argument is not what the method takes.
    """
    name = config.get("name")
    if name not in METHODS:
        raise unknown("method", str(name), list(METHODS))
    try:
        return METHODS[name].make.from_config(config)
    except (TypeError, KeyError) as error:
        raise invalid(
            "method", expected=f"the arguments of {name!r}", got=f"{dict(config)!r} ({error})"
        ) from error


def starts_alike(config: Mapping[str, Any]) -> bool:
    """Whether every repeat of a method, of this config, starts from the same weights."""
    form = METHODS.get(config["name"])
    return form is not None and form.make.starts_alike(config)


def parse_methods(texts: str, map: str | None = None) -> list[Method | str]:
    """Parse a list of methods like `random,burn-in:64,lottery-ticket:rounds=5,rewind=64`.

    Args:
        texts: methods, with commas between them; `key=value` belongs to the method before it.
        map: the map of those methods that take one and whose text names none.

    Returns:
        The texts themselves where no map is given, so that they serve as labels.

    Raises:
        InputError: there are none, or one does not parse.
    """
    names: list[str] = []
    for part in (text.strip() for text in texts.split(",")):
        if names and _NAMED.fullmatch(part):
            names[-1] += f",{part}"
        elif part:
            names.append(part)
    if not names:
        raise invalid("methods", expected="at least one method", got=repr(texts))
    chosen: list[Method | str] = []
    for text in names:
        _, form, given = _read(text)
        parse_method(text)
        mapped = map is not None and "map" in form.arguments() and "map" not in given
        chosen.append(parse_method(text, map=map) if mapped else text)
    return chosen


def _told(annotation: Any) -> str:
    """Write a type as its source has it; nothing where there is none."""
    if annotation is inspect.Parameter.empty:
        return ""
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _read(text: str) -> tuple[str, Form, dict[str, Any]]:
    """Return a text's name, its form, and the arguments in it."""
    name, _, rest = text.strip().partition(":")
    if name not in METHODS:
        raise unknown("method", name, list(METHODS))
    form = METHODS[name]
    types = form.arguments()
    given: dict[str, Any] = {}
    for i, part in enumerate(_NEXT.split(rest) if rest else []):
        named = _NAMED.fullmatch(part) if i or form.make is not SavedSubspace else None
        key, value = named.groups() if named else (form.short, part)
        if not form.takes(key):
            raise unknown(f"argument of {name!r}", key, list(types))
        if key in given:
            raise invalid("method", expected=f"{key} once", got=repr(text))
        given[key] = _value(name, key, value.strip(), types.get(key, ""))
    if form.required and form.short not in given:
        raise invalid(
            "method", expected=f"'{name}:{form.short.upper()}'", got=f"{text!r}, which has none"
        )
    return name, form, given


def _value(name: str, key: str, text: str, kind: str) -> Any:
    """Read an argument as its type says."""
    if kind == "bool" and text in ("true", "false"):
        return text == "true"
    wholes = kind == "int" or kind.startswith("int |") or not kind  # or an option of a map
    if wholes and re.fullmatch(r"-?[0-9]+", text) and len(text) <= _DIGITS:
        return int(text)
    if kind == "float":
        with contextlib.suppress(ValueError):
            return float(text)
    expected = {"bool": "true or false", "int": "a whole number", "float": "a number"}.get(kind)
    if expected:
        raise invalid("method", expected=f"{expected} for {key} of {name!r}", got=repr(text))
    return text
