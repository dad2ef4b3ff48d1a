"""`look`: what waits for trials asks at every turn whether it is to end.

An exception that a signal's handler raises may go nowhere: in a finalizer, or a callback of an
engine's. Who has such a handler is asked here, so that it is not the end of a trial that tells.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

_LOOKS: list[Callable[[], None]] = []


@contextlib.contextmanager
def asking(check: Callable[[], None]) -> Iterator[None]:
    """Call a function at every turn of what waits within; it raises where that is to end."""
    _LOOKS.append(check)
    try:
        yield
    finally:
        _LOOKS.remove(check)


def look() -> None:
    """Raise what any of those who are asked raises."""
    for check in _LOOKS:
        check()
