"""Tracebacks as Python shows them to somebody who runs a file: from the first line of their own."""

from __future__ import annotations

import os
import sysconfig
import traceback
from pathlib import Path
from types import TracebackType

_HOUSE = str(Path(__file__).parent)
_LIBRARIES = [
    _HOUSE,
    *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
]
_NOBODY = ("<frozen ", "<eval_with_key>", "<string>")  # the import system, traced programs


def of_user(found: TracebackType | None) -> TracebackType | None:
    """Return a traceback from its first line that is no library's; None where there is none."""
    while found is not None and _is_library(found.tb_frame.f_code.co_filename):
        found = found.tb_next
    return found


def told(error: BaseException) -> str:
    """Return an error with its traceback from the user's first line; all of it, if there is none.

    The error keeps the traceback that it has.
    """
    whole = error.__traceback__
    begin = of_user(whole) or whole
    return "".join(traceback.format_exception(type(error), error, begin))


def _is_library(file: str) -> bool:
    inside = any(file.startswith(folder + os.sep) for folder in _LIBRARIES)
    return inside or file.startswith(_NOBODY)
