"""A store's SQLite file: how it is opened, so that other processes may write to it too."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from subspan.errors import StoreError
from subspan.trials.stores.place import LONGEST_ENDING, check_place

BUSY_SECONDS = 30.0  # that one process waits for another to have written
_LOG_MAGIC, _LOG_HEADER = 0x377F0682, 32


def connect(path: Path | None, *, readonly: bool) -> sqlite3.Connection:
    """Open a file, made where it does not exist unless it is only read; None is in memory.

    Raises:
        StoreError: there is none, or it cannot be one.
    """
    if path is None:
        return _open(":memory:")
    check_place(path)
    _refuse_lost_log(path)
    if readonly:
        return _reading(path)
    if not path.parent.is_dir():
        raise StoreError(
            f"store: expected a file in a folder that exists, got {path}. Make the folder."
        )
    return _open(str(path))


def write_ahead(db: sqlite3.Connection) -> None:
    """Write ahead, in a log. SQLite does not wait for others who are about to do the same."""
    patiently(lambda: db.execute("PRAGMA journal_mode = WAL"))


def patiently(action: Callable[[], Any]) -> None:
    """Do what fails at once while another process is at it, for as long as a writer may take."""
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            action()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return


def copy(db: sqlite3.Connection, path: Path) -> Path:
    """Copy the file, with the log that belongs to it, to a place beside it; return the place."""
    place = path.with_name(path.name + LONGEST_ENDING)
    place.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(place)) as target:
        db.backup(target)
    return place


def _open(where: str, **options: Any) -> sqlite3.Connection:
    """Connect, with transactions as SQLAlchemy says, not as Python guesses."""
    return sqlite3.connect(
        where, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, **options
    )


def _reading(path: Path) -> sqlite3.Connection:
    if not path.exists():
        raise StoreError(
            f"store: expected a file at {path}, got none. A run with --store makes it."
        )
    uri = f"{path.resolve().as_uri()}?mode=ro"
    try:
        db = _open(uri, uri=True)
        db.execute("SELECT count(*) FROM sqlite_master")
    except sqlite3.OperationalError:  # WAL needs a folder it can write, unless immutable
        _refuse_unmerged(path)
        db = _open(f"{uri}&immutable=1", uri=True)
    return db


def _refuse_lost_log(path: Path) -> None:
    """Refuse a file whose log is gone or overwritten: SQLite would open it without its last trials.

    A process that ends well removes the index beside the log first, then the log; one that is
    killed leaves both. So an index alone was left behind. (Where somebody removed both, nothing
    tells.)
    """
    log, index = (path.with_name(f"{path.name}-{part}") for part in ("wal", "shm"))
    for _ in range(3):  # another process may be about to end
        if log.exists() or not index.exists():
            break
        time.sleep(0.01)
    else:
        raise StoreError(
            f"store: expected the log {log.name} beside {path}, whose last trials it holds, got "
            f"none. Restore it; or remove {index.name} to go on without them."
        )
    with contextlib.suppress(FileNotFoundError):
        with log.open("rb") as file:
            head = file.read(_LOG_HEADER)
        if head and not _is_log(head):
            raise StoreError(
                f"store: expected the log of {path} in {log.name}, got something else. Restore it; "
                "or remove it, and go on without the last trials."
            )


def _is_log(head: bytes) -> bool:
    """Whether these bytes begin a log: https://www.sqlite.org/fileformat2.html#walformat."""
    if len(head) < _LOG_HEADER:
        return False
    magic = int.from_bytes(head[:4], "big")
    if magic & ~1 != _LOG_MAGIC:
        return False
    order: Literal["big", "little"] = "big" if magic & 1 else "little"
    words = [int.from_bytes(head[i : i + 4], order) for i in range(0, 24, 4)]
    one = two = 0
    for first, second in zip(words[::2], words[1::2], strict=True):
        one = (one + first + two) % 2**32
        two = (two + second + one) % 2**32
    return (one, two) == tuple(int.from_bytes(head[i : i + 4], "big") for i in (24, 28))


def _refuse_unmerged(path: Path) -> None:
    """An immutable file is read without what a killed process left beside it."""
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size:
        raise StoreError(
            f"store: expected a folder that can be written, since {log.name} beside {path} holds "
            "trials that are not merged yet. Copy both files to a folder that can be written."
        )
