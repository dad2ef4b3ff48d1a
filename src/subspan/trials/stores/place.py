"""Where a store may lie: what is no file is refused before anything is opened or trained."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from subspan.errors import StoreError
from subspan.printable import shown

LONGEST_ENDING = ".before-migration"  # of what a store has beside it
_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def same_file(one: str | Path, other: str | Path) -> bool:
    """Whether two paths lead to one file that is there."""
    with contextlib.suppress(OSError, ValueError):  # one is new, or the URL of a database
        return os.path.samefile(one, other)
    return False


def check_place(path: Path) -> None:
    """Refuse a path that keeps nothing, or whose opening would wait for ever.

    Raises:
        StoreError: it is a folder, a pipe, a socket, a device, one of SQLite's own names such as
            `:memory:`, or no path that the system takes.
    """
    if str(path) == ":memory:" or str(path).startswith("file:"):
        raise StoreError(
            f"store: expected the path of a file, got {str(path)!r}, which SQLite would keep "
            "nowhere or elsewhere. Name a file, or leave the store out to keep trials in memory."
        )
    try:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            Path(f"{path}{LONGEST_ENDING}").stat()  # what lies beside it has a name too
        kind = stat.S_IFMT(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise StoreError(
            f"store: expected the path of a file, got {shown(str(path))} ({why}). Choose another."
        ) from error
    if kind == stat.S_IFDIR:
        raise StoreError(f"store: expected a file, got the folder {path}. Name a file in it.")
    if kind != stat.S_IFREG:
        raise StoreError(
            f"store: expected a file, got {_KINDS.get(kind, 'something else')} at {path}. "
            "Choose another path."
        )
