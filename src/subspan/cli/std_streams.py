"""The three standard streams: open, and able to take what is printed, before any work is done."""

from __future__ import annotations

import codecs
import contextlib
import os
import sys
from collections.abc import Iterator

EXIT_CLOSED = 2
_PLAIN = {"–": "-", "—": "-", "≤": "<=", "≥": ">=", "−": "-", "×": "x", "…": "...", "·": "*"}


@contextlib.contextmanager
def checked() -> Iterator[None]:
    """Print in an encoding that lacks a character what stands for it, instead of failing.

    A closed standard error is replaced by none. With a closed standard output the command ends:
    its answer could go nowhere, and a file opened later would take its place.
    """
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 — as long as the process
    if sys.stdout is None:
        print("error: standard output: expected it open, got it closed.", file=sys.stderr)
        sys.exit(EXIT_CLOSED)
    codecs.register_error("subspan", _replaced)
    before = [(s, s.errors) for s in (sys.stdout, sys.stderr) if hasattr(s, "reconfigure")]
    for stream, _ in before:
        stream.reconfigure(errors="subspan")
    try:
        yield
    finally:
        for stream, errors in before:
            with contextlib.suppress(ValueError):  # closed meanwhile
                stream.reconfigure(errors=errors)


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(
        _PLAIN.get(c, repr(c)[1:-1] if not c.isprintable() else f"\\u{ord(c):04x}") for c in lacking
    ), error.end
