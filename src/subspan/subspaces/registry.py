"""Methods by name, as written on the command line and as stored. A new method is entered here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from subspan.errors import invalid, unknown
from subspan.subspaces.base import Method
from subspan.subspaces.burn_in import BurnIn
from subspan.subspaces.random_affine import RandomAffine


def _random(argument: str | None, **options: Any) -> Method:
    return RandomAffine(**({"map": argument} if argument else {}), **options)


def _burn_in(argument: str | None, **options: Any) -> Method:
    if argument is None or not argument.isdecimal():
        raise invalid(
            "method", expected="'burn-in:STEPS', e.g. 'burn-in:64'", got=f"burn-in:{argument or ''}"
        )
    return BurnIn(int(argument), **options)


METHODS: dict[str, Callable[..., Method]] = {"random": _random, "burn-in": _burn_in}


def parse_method(text: str | Method, **options: Any) -> Method:
    """Parse `random`, `random:gaussian`, `burn-in:64` and the like.

    Args:
        text: a name and, after a colon, its argument.
        **options: for the method, e.g. `map`.

    Raises:
        InputError: the name is unknown or its argument is not what it takes.
    """
    if isinstance(text, Method):
        return text
    name, _, argument = text.strip().partition(":")
    if name not in METHODS:
        raise unknown("method", name, list(METHODS))
    given = {key: value for key, value in options.items() if value is not None}
    return METHODS[name](argument or None, **given)
