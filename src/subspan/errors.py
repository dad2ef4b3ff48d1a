"""The errors a user can meet: one sentence each, saying argument, expected, got, remedy."""

from __future__ import annotations

import contextlib
import math
import sys
from numbers import Integral, Real
from typing import Any

from subspan.printable import cut, printable, shown


class SubspanError(Exception):
    """Base of every error that `subspan` raises on purpose.

    Its text may quote a file, a path or a store: what does not print is escaped in it.

    Attributes:
        several_lines: whether its text ends in a traceback, to be printed as Python does.
    """

    several_lines = False

    def __str__(self) -> str:
        return printable(super().__str__(), lines=True)


class InputError(SubspanError, ValueError):
    """An argument, file or data set is not what it must be."""


class StoreError(SubspanError, OSError):
    """A store of trials cannot be opened, read or written."""


def invalid(argument: str, *, expected: str, got: object, remedy: str = "") -> InputError:
    """Build an `InputError`: the argument, what was expected, what came, and the remedy."""
    text = f"{argument}: expected {expected}, got {cut(_text(got))}."
    return InputError(f"{text} {remedy}" if remedy else text)


def unknown(kind: str, name: object, known: list[str]) -> InputError:
    """Build an `InputError` for an unknown name that offers the nearest known one."""
    import difflib

    text = name if isinstance(name, str) else shown(name)
    near = difflib.get_close_matches(text[:100], known, n=1, cutoff=0.5)
    remedy = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known)}."
    return InputError(f"{kind}: unknown name {shown(text)}. {remedy}")


def whole(name: str, value: object, *, low: int | None = None, high: int | None = None) -> int:
    """Return an integer, NumPy's or a 0-d array's too, as an int.

    Raises:
        InputError: it is none, below `low` or above `high`.
    """
    number = _scalar(value)
    fits = _is(number, Integral) and (low is None or number >= low)
    if fits and (high is None or number <= high):
        return int(number)
    least = "" if low is None else f", {low} or more"
    allowed = least if high is None else f" in {low} … {high}"
    raise invalid(name, expected=f"an integer{allowed}", got=_shown(value))


def real(
    name: str,
    value: object,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    strict: bool = False,
) -> float:
    """Return a finite number in [low, high], NumPy's or a 0-d array's too, as a float.

    Args:
        name: of the argument.
        value: what was given.
        low: lower end.
        high: upper end.
        strict: leave out the ends themselves.

    Raises:
        InputError: it is no such number.
    """
    number = _scalar(value)
    finite = _is(number, Real) and abs(number) <= sys.float_info.max
    if finite and (low < number < high or (not strict and number in (low, high))):
        return float(number)
    raise invalid(name, expected=_interval(low, high, strict), got=_shown(value))


def check_confidence(confidence: float) -> None:
    """Refuse a confidence outside (0, 1).

    Raises:
        InputError: as said.
    """
    number = _scalar(confidence)
    if _is(number, Real) and 0 < number < 1:
        return
    percent = _is(number, Real) and 1 < number < 100
    remedy = f"Write {number / 100:g} for {number:g} %." if percent else ""
    raise invalid(
        "confidence", expected="a number in (0, 1)", got=_shown(confidence), remedy=remedy
    )


def _interval(low: float, high: float, strict: bool) -> str:
    if math.isfinite(low) and math.isfinite(high):
        ends = f"({low:.4g}, {high:.4g})" if strict else f"[{low:.4g}, {high:.4g}]"
        return f"a number in {ends}"
    bound = f" {'>' if strict else '≥'} {low:.4g}" if math.isfinite(low) else ""
    return f"a finite number{bound}"


def _scalar(value: Any) -> Any:
    """A NumPy or PyTorch scalar as Python's own; anything else as it is."""
    return value.item() if getattr(value, "ndim", None) == 0 else value


def _is(number: Any, kind: type) -> bool:
    return isinstance(number, kind) and not isinstance(number, bool)


def text_name(argument: str, value: object) -> str:
    """Return a name that records, files and databases can hold.

    Raises:
        InputError: it is no text, is empty, or has a lone surrogate or a NUL.
    """
    if isinstance(value, str) and value and "\0" not in value:
        with contextlib.suppress(UnicodeEncodeError):
            value.encode()
            return value
    raise invalid(argument, expected="a text, without NUL or lone surrogates", got=shown(value))


def _shown(value: Any) -> str:
    return f"shape {tuple(value.shape)}" if getattr(value, "ndim", 0) else shown(value)


def _text(got: object) -> str:
    return shown(got) if isinstance(got, int) else str(got)
