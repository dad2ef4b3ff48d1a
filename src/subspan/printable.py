"""Text from files, stores and users made safe to print: no terminal escape, no forged line.

What `repr` would escape is escaped as `repr` does it (`\\x1b`, `\\n`, `\\u202e`, a lone surrogate);
all other text stays as it is, so nothing is lost, and text that is safe is not copied.
"""

from __future__ import annotations

import re

LONGEST = 400  # characters of somebody's text within a message of ours
_MATH = re.compile(r"(?<!\\)\$")


def printable(text: object, *, lines: bool = False) -> str:
    """Return text with every character escaped that does not print.

    Args:
        text: any text; another object's `str`.
        lines: keep line breaks and tabs, as a traceback needs them.
    """
    whole = str(text)
    if whole.isprintable():
        return whole
    kept = "\n\t" if lines else ""
    return "".join(c if c.isprintable() or c in kept else repr(c)[1:-1] for c in whole)


def label(text: object) -> str:
    """Return text for a figure: printable, and without matplotlib's mathematics."""
    return _MATH.sub(r"\\$", printable(text))


def shown(value: object) -> str:
    """Return `repr` of what somebody gave, cut in its middle where it is long.

    An integer of thousands of digits, which Python refuses to write, is named by its length.
    """
    try:
        return cut(repr(value))
    except ValueError:
        bits = value.bit_length() if isinstance(value, int) else 0
        return f"an integer of {bits:,} bits" if bits else f"a {type(value).__name__}"
    except RecursionError:
        return f"a deeply nested {type(value).__name__}"


def cut(text: str) -> str:
    """Return text as it is, or its two ends where it is long."""
    if len(text) <= LONGEST:
        return text
    return f"{text[: LONGEST // 2]} … {text[-LONGEST // 4 :]} ({len(text):,} characters)"
