"""`Store`: records of trials, durable before they are reported. SQLite, or memory.

One process writes. A record is committed (WAL, synchronous=FULL) before `add` returns, under its
trial's key, so a crash at any moment leaves whole records, and a trial that is run again adds
nothing. Records are JSON, never pickles.
"""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from subspan.canonical import canonical_json
from subspan.errors import StoreError
from subspan.training.outcome import CurvePoint, Outcome
from subspan.trials.trial import Trial, TrialRecord

SCHEMA_VERSION = 2
_APPLICATION_ID = 0x53554253  # "SUBS", in the file's header
_BUSY_SECONDS = 30.0
_COLUMNS = "key, problem, method, dim, repeat, seed, outcome, record"

_TABLE = """
CREATE TABLE trials (
    key TEXT PRIMARY KEY, problem TEXT NOT NULL, method TEXT NOT NULL, dim INTEGER NOT NULL,
    repeat INTEGER NOT NULL, seed INTEGER NOT NULL, outcome TEXT NOT NULL, record TEXT NOT NULL
) WITHOUT ROWID
"""
# From version n to n + 1. Version 1 lacked the index.
_MIGRATIONS = {1: ["CREATE INDEX trials_by_problem ON trials (problem, method, dim, repeat)"]}


class Store:
    """Records of trials by key, in an SQLite file or in memory.

    Args:
        path: the file; None keeps records in memory. Made where it does not exist.
        readonly: refuse to write; also opens files in folders that cannot be written.

    Raises:
        StoreError: the file is not a store, is from a newer version, or cannot be opened.
    """

    def __init__(self, path: str | Path | None = None, *, readonly: bool = False) -> None:
        self.path = None if path is None else Path(path)
        self._readonly = readonly
        with self._clear_errors("open"):
            self._db = self._connect()
            self._check_and_migrate()

    def add(self, record: TrialRecord) -> bool:
        """Add a record; it is on disk when this returns. False where its key was there already."""
        trial = record.trial
        row = (
            record.key,
            str(trial.problem.get("name", "")),
            canonical_json(trial.method),
            trial.dim,
            trial.repeat,
            trial.seed,
            record.outcome.value,
            canonical_json(record_to_json(record)),
        )
        marks = ",".join("?" * len(row))
        with self._clear_errors("write"), self._db:
            done = self._db.execute(
                f"INSERT OR IGNORE INTO trials ({_COLUMNS}) VALUES ({marks})", row
            )
        return done.rowcount == 1

    def get(self, keys: Sequence[str]) -> dict[str, TrialRecord]:
        """Return the records that are there, by key."""
        found: dict[str, TrialRecord] = {}
        with self._clear_errors("read"):
            for key in keys:
                row = self._db.execute("SELECT record FROM trials WHERE key = ?", (key,)).fetchone()
                if row is not None:
                    found[key] = self._record(row[0])
        return found

    def records(self, problem: str | None = None) -> Iterator[TrialRecord]:
        """Iterate over all records (of a problem's name), by problem, method, dim and repeat."""
        where, values = ("WHERE problem = ?", (problem,)) if problem is not None else ("", ())
        order = "ORDER BY problem, method, dim, repeat, seed, key"
        with self._clear_errors("read"):
            rows = self._db.execute(f"SELECT record FROM trials {where} {order}", values).fetchall()
        return (self._record(text) for (text,) in rows)

    def _record(self, text: str) -> TrialRecord:
        try:
            return record_from_json(json.loads(text))
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"store: expected records of trials in {self.path}, got one that is damaged "
                f"({error}). Restore the file, or run again into another."
            ) from error

    def __len__(self) -> int:
        with self._clear_errors("read"):
            return int(self._db.execute("SELECT count(*) FROM trials").fetchone()[0])

    def close(self) -> None:
        """Close the file. The store cannot be used afterwards."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _connect(self) -> sqlite3.Connection:
        if self.path is None:
            return sqlite3.connect(":memory:")
        if self.path.is_dir():
            raise StoreError(
                f"store: expected a file, got the folder {self.path}. Name a file in it."
            )
        if self._readonly:
            if not self.path.exists():
                raise StoreError(
                    f"store: expected a file at {self.path}, got none. A run with --store makes it."
                )
            uri = f"{self.path.resolve().as_uri()}?mode=ro"
            try:
                db = sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS)
                db.execute("SELECT count(*) FROM sqlite_master")
            except sqlite3.OperationalError:  # WAL needs a folder it can write, unless immutable
                self._refuse_unmerged()
                db = sqlite3.connect(f"{uri}&immutable=1", uri=True)
            return db
        if not self.path.parent.is_dir():
            raise StoreError(
                f"store: expected a file in a folder that exists, got {self.path}. Make the folder."
            )
        return sqlite3.connect(self.path, timeout=_BUSY_SECONDS)

    def _refuse_unmerged(self) -> None:
        """An immutable file is read without what a killed process left beside it."""
        log = self.path.with_name(f"{self.path.name}-wal") if self.path is not None else None
        if log is not None and log.exists() and log.stat().st_size:
            raise StoreError(
                f"store: expected a folder that can be written, since {log.name} beside "
                f"{self.path} holds trials that are not merged yet. Copy both files to a folder "
                "that can be written."
            )

    def _check_and_migrate(self) -> None:
        version = self._pragma("user_version")
        empty = not self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if not empty and self._pragma("application_id") != _APPLICATION_ID:
            raise StoreError(
                f"store: expected a subspan store, got another SQLite database at {self.path}. "
                "Choose another file."
            )
        if empty and self._readonly:
            raise StoreError(
                f"store: expected a store of trials, got an empty file at {self.path}."
            )
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"store: expected schema version {SCHEMA_VERSION} or older, got {version} in "
                f"{self.path}. A newer subspan wrote it: upgrade subspan, or choose another file."
            )
        if self._readonly:
            return
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")  # two commands may open a new file at once
            version = self._pragma("user_version")
            if version == 0:
                self._db.execute(_TABLE)
                version = 1
            for step in range(version, SCHEMA_VERSION):
                for statement in _MIGRATIONS[step]:
                    self._db.execute(statement)
            self._db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _pragma(self, name: str) -> int:
        return int(self._db.execute(f"PRAGMA {name}").fetchone()[0])

    @contextlib.contextmanager
    def _clear_errors(self, action: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise StoreError(f"store: could not {action} {self.path}: {_reason(error)}") from error


def _reason(error: sqlite3.DatabaseError) -> str:
    text = str(error)
    if "malformed" in text:
        return f"the file is damaged ({text}). Restore it, or run again into another file."
    if "not a database" in text:
        return f"expected an SQLite file, got something else ({text}). Choose another file."
    if "full" in text:
        return "the disk is full. What was reported before is kept; free space and run again."
    if "readonly" in text or "unable to open" in text:
        return f"expected a file and folder that can be written ({text}). Choose another place."
    if "locked" in text:
        return (
            "another process has been writing for half a minute. Wait for it, or use another file."
        )
    return f"{text}."


def record_to_json(record: TrialRecord) -> dict[str, Any]:
    """Return a record as plain JSON data, NaN and infinity as null."""
    return {
        "trial": record.trial.to_json(),
        "ambient_dim": record.ambient_dim,
        "outcome": record.outcome.value,
        "steps": record.steps,
        "curve": [[_finite(value) for value in point] for point in record.curve],
        "theta_norm": _finite(record.theta_norm),
        "wall_time": _finite(record.wall_time),
        "search_steps": record.search_steps,
        "search_bits": record.search_bits,
        "provenance": record.provenance,
    }


def record_from_json(data: dict[str, Any]) -> TrialRecord:
    """Build a record from `record_to_json`'s output."""
    return TrialRecord(
        trial=Trial(**data["trial"]),
        ambient_dim=data["ambient_dim"],
        outcome=Outcome(data["outcome"]),
        steps=data["steps"],
        curve=tuple(
            CurvePoint(step, *(math.nan if v is None else v for v in values))
            for step, *values in data["curve"]
        ),
        theta_norm=math.nan if data["theta_norm"] is None else data["theta_norm"],
        wall_time=data["wall_time"],
        search_steps=data["search_steps"],
        search_bits=data["search_bits"],
        provenance=data["provenance"],
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def open_store(store: Store | str | Path | None) -> contextlib.AbstractContextManager[Store]:
    """Return a context with the store: a given one stays open, a path is closed on leaving."""
    return contextlib.nullcontext(store) if isinstance(store, Store) else Store(store)
