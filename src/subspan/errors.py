"""The errors a user can meet: one sentence each, saying argument, expected, got, remedy."""

from __future__ import annotations

from numbers import Integral


class SubspanError(Exception):
    """Base of every error that `subspan` raises on purpose."""


class InputError(SubspanError, ValueError):
    """An argument, file or data set is not what it must be."""


class StoreError(SubspanError, OSError):
    """A store of trials cannot be opened, read or written."""


def invalid(argument: str, *, expected: str, got: object, remedy: str = "") -> InputError:
    """Build an `InputError`: the argument, what was expected, what came, and the remedy."""
    text = f"{argument}: expected {expected}, got {got}."
    return InputError(f"{text} {remedy}" if remedy else text)


def unknown(kind: str, name: str, known: list[str]) -> InputError:
    """Build an `InputError` for an unknown name that offers the nearest known one."""
    import difflib

    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    remedy = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known)}."
    return InputError(f"{kind}: unknown name {name!r}. {remedy}")


def whole(name: str, value: object, *, low: int | None = None) -> int:
    """Return an integer, NumPy's too, as an int.

    Raises:
        InputError: it is none, or below `low`.
    """
    least = "" if low is None else f", {low} or more"
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise invalid(name, expected=f"an integer{least}", got=repr(value))
    if low is not None and value < low:
        raise invalid(name, expected=f"an integer{least}", got=value)
    return int(value)


def check_confidence(confidence: float) -> None:
    """Refuse a confidence outside (0, 1).

    Raises:
        InputError: as said.
    """
    if not 0 < confidence < 1:
        remedy = f"Write {confidence / 100:g} for {confidence:g} %." if 1 < confidence < 100 else ""
        raise invalid(
            "confidence", expected="a number in (0, 1)", got=repr(confidence), remedy=remedy
        )
