"""`Progress`: how a caller hears what is done."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int | None, str], None]
"""Called with (trials done, trials planned or None, a message)."""


class Notice(str):
    """A message that is worth a line of its own, wherever progress is shown."""

    __slots__ = ()
