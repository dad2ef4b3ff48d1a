"""`Store`: records of trials in SQLite, in PostgreSQL or in memory, durable before reported.

A record is committed before `add` returns (SQLite: WAL, synchronous=FULL), under its trial's key,
so a crash at any moment leaves whole records, and a trial that is run again adds nothing. Records
are JSON, never pickles.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event, func, insert, inspect, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from subspan.canonical import canonical_json, check_depth, strict_json
from subspan.errors import StoreError, invalid
from subspan.printable import cut
from subspan.training.outcome import Outcome
from subspan.trials.stores.base import Claim, RecordStore
from subspan.trials.stores.migrations import CLAIMS, SCHEMA_VERSION, TRIALS, VERSIONS, migrate
from subspan.trials.stores.place import check_place
from subspan.trials.trial import TrialRecord, record_from_json, record_to_json

_APPLICATION_ID = 0x53554253  # "SUBS", in the file's header
_BUSY_SECONDS = 30.0
_FEW = 50  # lists and objects in a record, which so many cannot be nested too deep
_AT_ONCE = 500  # keys in one question: SQLite takes some thousands


class Store(RecordStore):
    """Records of trials by key, in an SQLite file, a database by its URL, or in memory.

    A file of an older schema is migrated when it is opened to be written, in one transaction; a
    copy stands beside it, as NAME.before-migration, until that is done.

    Args:
        place: the file, made where it does not exist; or a URL such as
            `postgresql+psycopg://user@host/database`; None keeps records in memory.
        readonly: refuse to write; also opens files in folders that cannot be written.

    Raises:
        StoreError: it is not a store, is from a newer version, or cannot be opened.
    """

    def __init__(self, place: str | Path | None = None, *, readonly: bool = False) -> None:
        url = str(place) if isinstance(place, str) and "://" in place else None
        self.path = None if place is None or url is not None else Path(place)
        self._readonly, self._begin = readonly, "BEGIN"
        with self._clear_errors("open"):
            self._db = _server(url) if url is not None else self._file()
            self._sqlite = self._db.dialect.name == "sqlite"
            self._insert = sqlite.insert if self._sqlite else postgresql.insert
            new = self._insert(TRIALS)
            self._addition = new.on_conflict_do_update(  # built once: that takes a millisecond
                index_elements=[TRIALS.c.key],
                set_={"outcome": new.excluded.outcome, "record": new.excluded.record},
                where=TRIALS.c.outcome == Outcome.FAILED.value,
            ).returning(TRIALS.c.key)
            self._check_and_migrate()

    def add(self, record: TrialRecord) -> bool:
        """Add a record; it is on disk when this returns. False where its key was there already."""
        trial = record.trial
        row = {
            "key": record.key,
            "problem": str(trial.problem.get("name", "")),
            "method": canonical_json(trial.method),
            "dim": trial.dim,
            "repeat": trial.repeat,
            "seed": trial.seed,
            "outcome": record.outcome.value,
            "record": canonical_json(record_to_json(record)),
        }
        with self._clear_errors("write"), self._writing():
            return self._db.execute(self._addition, row).first() is not None

    def get(self, keys: Sequence[str]) -> dict[str, TrialRecord]:
        """Return the records that are there, by key."""
        found: dict[str, TrialRecord] = {}
        with self._clear_errors("read"), self._db.begin():
            for i in range(0, len(keys), _AT_ONCE):
                wanted = TRIALS.c.key.in_(list(keys[i : i + _AT_ONCE]))
                rows = self._db.execute(select(TRIALS.c.key, TRIALS.c.record).where(wanted))
                found |= {key: self._record(record) for key, record in rows}
        return found

    def records(self, problem: str | None = None) -> Iterator[TrialRecord]:
        """Iterate over all records (of a problem's name), by problem, method, dim and repeat."""
        c = TRIALS.c
        asked = select(c.record).order_by(c.problem, c.method, c.dim, c.repeat, c.seed, c.key)
        if problem is not None:
            asked = asked.where(c.problem == problem)
        with self._clear_errors("read"), self._db.begin():
            rows = self._db.execute(asked).scalars().all()
        return (self._record(record) for record in rows)

    def claim(self, key: str, owner: str, seconds: float, data: dict[str, Any]) -> bool:
        """Take or renew a lease; False where another owner holds it and it has not run out."""
        now = time.time()
        new = self._insert(CLAIMS).values(
            key=key, owner=owner, until=now + seconds, data=canonical_json(data)
        )
        excluded = new.excluded
        done = new.on_conflict_do_update(
            index_elements=[CLAIMS.c.key],
            set_={"owner": excluded.owner, "until": excluded.until, "data": excluded.data},
            where=(CLAIMS.c.until < now) | (CLAIMS.c.owner == owner),
        ).returning(CLAIMS.c.key)
        with self._clear_errors("write"), self._writing():
            return self._db.execute(done).first() is not None

    def claims(self, prefix: str) -> list[Claim]:
        """Return the claims whose key begins so, in order of key; those that ran out too."""
        asked = select(CLAIMS).where(CLAIMS.c.key.startswith(prefix, autoescape=True))
        with self._clear_errors("read"), self._db.begin():
            rows = self._db.execute(asked.order_by(CLAIMS.c.key)).all()
        return [Claim(key, owner, until, self._data(data)) for key, owner, until, data in rows]

    def __len__(self) -> int:
        with self._clear_errors("read"), self._db.begin():
            return int(self._db.execute(select(func.count()).select_from(TRIALS)).scalar_one())

    def close(self) -> None:
        """Close the file. The store cannot be used afterwards."""
        self._db.close()
        self._db.engine.dispose()

    def _data(self, text: str) -> dict[str, Any]:
        try:
            data = strict_json(text)
            if not isinstance(data, dict):
                raise TypeError("no object")
        except (ValueError, TypeError) as error:
            raise StoreError(
                f"store: expected claims in {self._place}, got one that is damaged. Restore the "
                "file, or run again into another."
            ) from error
        return data

    def _record(self, text: str) -> TrialRecord:
        try:
            data = json.loads(text)
            if text.count("[") + text.count("{") > _FEW:  # no walk through each of many records
                check_depth(data)
            return record_from_json(data)
        except Exception as error:  # JSON that nobody here wrote can break any line of the reader
            raise StoreError(
                f"store: expected records of trials in {self._place}, got one that is damaged "
                f"({type(error).__name__}: {cut(str(error))}). Restore the file, or run again into "
                "another."
            ) from error

    @property
    def _place(self) -> str:
        return str(self.path) if hasattr(self, "path") and self.path else "the database"

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """A transaction that takes SQLite's lock at once, so that two writers take turns."""
        self._begin = "BEGIN IMMEDIATE"
        try:
            with self._db.begin():
                yield
        finally:
            self._begin = "BEGIN"

    # --- SQLite -----------------------------------------------------------------------------------

    def _file(self) -> Connection:
        engine = create_engine("sqlite://", creator=lambda: self._connect(), poolclass=StaticPool)

        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            connection.exec_driver_sql(self._begin)

        return engine.connect()

    def _connect(self) -> sqlite3.Connection:
        if self.path is None:
            return _open(":memory:")
        check_place(self.path)
        if self._readonly:
            if not self.path.exists():
                raise StoreError(
                    f"store: expected a file at {self.path}, got none. A run with --store makes it."
                )
            uri = f"{self.path.resolve().as_uri()}?mode=ro"
            try:
                db = _open(uri, uri=True)
                db.execute("SELECT count(*) FROM sqlite_master")
            except sqlite3.OperationalError:  # WAL needs a folder it can write, unless immutable
                self._refuse_unmerged()
                db = _open(f"{uri}&immutable=1", uri=True)
            return db
        if not self.path.parent.is_dir():
            raise StoreError(
                f"store: expected a file in a folder that exists, got {self.path}. Make the folder."
            )
        return _open(str(self.path))

    def _refuse_unmerged(self) -> None:
        """An immutable file is read without what a killed process left beside it."""
        log = self.path.with_name(f"{self.path.name}-wal") if self.path is not None else None
        if log is not None and log.exists() and log.stat().st_size:
            raise StoreError(
                f"store: expected a folder that can be written, since {log.name} beside "
                f"{self.path} holds trials that are not merged yet. Copy both files to a folder "
                "that can be written."
            )

    # --- Schema -----------------------------------------------------------------------------------

    def _check_and_migrate(self) -> None:
        if not self._sqlite:
            with self._db.begin():
                self._db.execute(text(f"SELECT pg_advisory_xact_lock({_APPLICATION_ID})"))
                self._migrate_server()
            return
        with self._db.begin():
            self._check_file()
            version = self._pragma("user_version")
        if self._readonly:
            return
        raw = self._db.connection.driver_connection
        assert raw is not None
        raw.execute("PRAGMA journal_mode = WAL")
        raw.execute("PRAGMA synchronous = FULL")
        self._db.rollback()  # what the line above began
        copy = self._copy(raw) if 0 < version < SCHEMA_VERSION else None
        with self._writing():  # two commands may open a new file at once
            version = self._pragma("user_version")
            if version < SCHEMA_VERSION:
                migrate(self._db, version)
                self._db.exec_driver_sql(f"PRAGMA application_id = {_APPLICATION_ID}")
                self._db.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")
        if copy is not None:
            copy.unlink(missing_ok=True)

    def _check_file(self) -> None:
        version = self._pragma("user_version")
        there = self._db.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar_one()
        if there and self._pragma("application_id") != _APPLICATION_ID:
            raise StoreError(
                f"store: expected a subspan store, got another SQLite database at {self.path}. "
                "Choose another file."
            )
        if not there and self._readonly:
            raise StoreError(
                f"store: expected a store of trials, got an empty file at {self.path}."
            )
        self._refuse_newer(version)

    def _refuse_newer(self, version: int) -> None:
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"store: expected schema version {SCHEMA_VERSION} or older, got {version} in "
                f"{self._place}. A newer subspan wrote it: upgrade subspan, or choose another."
            )

    def _copy(self, raw: sqlite3.Connection) -> Path:
        """Copy the file, with the log that belongs to it, to a place beside it."""
        assert self.path is not None
        place = self.path.with_name(f"{self.path.name}.before-migration")
        place.unlink(missing_ok=True)
        with contextlib.closing(sqlite3.connect(place)) as copy:
            raw.backup(copy)
        return place

    def _migrate_server(self) -> None:
        if not inspect(self._db).has_table(VERSIONS.name):
            if self._readonly:
                raise StoreError("store: expected a store of trials, got a database without one.")
            VERSIONS.create(self._db)
            migrate(self._db, 0)
            self._db.execute(insert(VERSIONS).values(version=SCHEMA_VERSION))
            return
        version = int(self._db.execute(select(VERSIONS.c.version)).scalar_one())
        self._refuse_newer(version)
        if version < SCHEMA_VERSION and not self._readonly:
            migrate(self._db, version)
            self._db.execute(VERSIONS.update().values(version=SCHEMA_VERSION))

    def _pragma(self, name: str) -> int:
        return int(self._db.exec_driver_sql(f"PRAGMA {name}").scalar_one())

    @contextlib.contextmanager
    def _clear_errors(self, action: str) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, sqlite3.DatabaseError) as error:
            cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
            raise StoreError(
                f"store: could not {action} {self._place}: {_reason(cause)}"
            ) from error


def _open(where: str, **options: Any) -> sqlite3.Connection:
    """Connect, with transactions as SQLAlchemy says, not as Python guesses."""
    return sqlite3.connect(where, timeout=_BUSY_SECONDS, isolation_level=None, **options)


def _server(url: str) -> Connection:
    try:
        engine = create_engine(url)
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise invalid(
            "store",
            expected="a file, or a URL of a database whose driver is installed",
            got=repr(url.split("@")[-1]),
            remedy="PostgreSQL: pip install 'subspan[postgres]', postgresql+psycopg://HOST/NAME.",
        ) from error
    if engine.dialect.name != "postgresql":
        raise invalid(
            "store",
            expected="a file, or a URL that begins with postgresql",
            got=repr(url.split("@")[-1]),
        )
    return engine.connect()


def _reason(error: BaseException) -> str:
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
