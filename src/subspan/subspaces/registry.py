"""Methods by name, as written on the command line and as stored. A new method is entered here."""

from __future__ import annotations

import inspect
from collections.abc import Callable
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

Make = Callable[..., Method]


def _whole(text: str, form: str) -> int:
    """Read the whole number after the colon of a method's text."""
    if not text.isdecimal():
        raise invalid("method", expected=f"{form!r} with a whole number", got=repr(text))
    return int(text)


def _random(argument: str | None, **options: Any) -> Method:
    return RandomAffine(**({"map": argument} if argument else {}), **options)


def _burn_in(argument: str | None, **options: Any) -> Method:
    if argument is None or not argument.isdecimal():
        raise invalid(
            "method", expected="'burn-in:STEPS', e.g. 'burn-in:64'", got=f"burn-in:{argument or ''}"
        )
    return BurnIn(int(argument), **options)


def _lottery_subspace(argument: str | None, **options: Any) -> Method:
    """`lottery-subspace`, `lottery-subspace:unit` for the official coordinates."""
    given: dict[str, Any] = {"coordinates": argument} if argument else {}
    return LotterySubspace(**given, **options)


def _lottery_ticket(argument: str | None, **options: Any) -> Method:
    """`lottery-ticket`, `lottery-ticket:5` for five rounds."""
    given: dict[str, Any] = {}
    if argument:
        given["rounds"] = _whole(argument, "lottery-ticket:ROUNDS")
    return LotteryTicket(**given, **options)


def _saved(argument: str | None, **options: Any) -> Method:
    if argument is None:
        raise invalid("method", expected="'saved:PATH'", got="no path")
    return SavedSubspace(argument, **options)


def _plain(make: Make) -> Make:
    """Return a maker of a method whose text takes the name of a map or scope, or nothing."""
    first = next(iter(inspect.signature(make).parameters), None)

    def parse(argument: str | None, **options: Any) -> Method:
        if argument and first not in ("map", "scope"):
            raise invalid("method", expected="no argument after the colon", got=repr(argument))
        return make(**({first: argument} if argument and first else {}), **options)

    return parse


def _magnitude(**options: Any) -> Method:
    return LotteryTicket(rewind="end", **options)


def _snip(**options: Any) -> Method:
    return PruneAtInit("snip", **options)


def _synflow(**options: Any) -> Method:
    return PruneAtInit("synflow", **options)


METHODS: dict[str, Make] = {
    "random": _random,
    "burn-in": _burn_in,
    "lottery-subspace": _lottery_subspace,
    "lottery-ticket": _lottery_ticket,
    "magnitude": _plain(_magnitude),
    "snip": _plain(_snip),
    "synflow": _plain(_synflow),
    "random-mask": _plain(RandomMask),
    "last-layer": _plain(LastLayer),
    "biases": _plain(BiasesAndNorms),
    "low-rank-fixed-factor": _plain(FixedFactorLowRank),
    "saved": _saved,
}


def parse_method(text: str | Method, **options: Any) -> Method:
    """Parse `random`, `random:gaussian`, `burn-in:64`, `lottery-ticket:5` and the like.

    Args:
        text: a name and, after a colon, its argument.
        **options: for the method, e.g. `map`.

    Raises:
        InputError: the name or an option is unknown, or its argument is not what it takes.
    """
    if isinstance(text, Method):
        return text
    name, _, argument = text.strip().partition(":")
    if name not in METHODS:
        raise unknown("method", name, list(METHODS))
    given = {key: value for key, value in options.items() if value is not None}
    try:
        return METHODS[name](argument or None, **given)
    except TypeError as error:
        if "unexpected keyword argument" in str(error):
            raise invalid(
                "method", expected=f"options that {name!r} takes", got=", ".join(given)
            ) from error
        raise


def parse_methods(texts: str, map: str | None = None) -> list[Method | str]:
    """Parse a list of methods like `random,burn-in:64,lottery-ticket`.

    Args:
        texts: methods, with commas between them.
        map: the map of those methods that take one and whose text names none.

    Returns:
        The texts themselves where no map is given, so that they serve as labels.
    """
    names = [text.strip() for text in texts.split(",") if text.strip()]
    chosen: list[Method | str] = []
    for text in names:
        parsed = parse_method(text)
        name = text.partition(":")[0]
        if map is not None and hasattr(parsed, "map") and (name == "burn-in" or ":" not in text):
            chosen.append(parse_method(text, map=map))
        else:
            chosen.append(text)
    return chosen
