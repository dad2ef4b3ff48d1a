"""`Store`: records of trials in SQLite, in PostgreSQL or in memory, durable before reported.

A record is committed before `add` returns (SQLite: WAL, synchronous=FULL), under its trial's key,
so a crash at any moment leaves whole records, and a trial that is run again adds nothing. Records
are bytes and JSON, never pickles.

Length: the methods of one interface, which share a connection, its lock and its errors.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import logging
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import Any

from sqlalchemy import (
    ARRAY,
    Connection,
    Double,
    Text,
    any_,
    bindparam,
    cast,
    create_engine,
    delete,
    event,
    func,
    insert,
    inspect,
    literal_column,
    select,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from subspan.canonical import canonical_json
from subspan.errors import StoreError
from subspan.printable import cut
from subspan.training.outcome import Outcome
from subspan.trials.stores import sqlite
from subspan.trials.stores.base import TRIAL, Claim, RecordStore
from subspan.trials.stores.complaints import reason
from subspan.trials.stores.migrations import (
    BYTES_SINCE,
    CLAIMS_SINCE,
    DIGESTS_SINCE,
    OLD_TRIALS,
    SCHEMA_VERSION,
    migrate,
)
from subspan.trials.stores.postgres import connect_server
from subspan.trials.stores.rows import SAID, TEXTS, Reader, notes_of, record_of_text, row_of
from subspan.trials.stores.tables import CLAIMS, TRIALS, VERSIONS
from subspan.trials.stores.texts import AT_ONCE, numbers_of, texts_of
from subspan.trials.trial import TrialRecord
from subspan.trials.uncollected import uncollected

_APPLICATION_ID = 0x53554253  # "SUBS", in the file's header
# Its pool prints what interrupts it while it closes a connection, which is raised again elsewhere.
logging.getLogger("sqlalchemy").addHandler(logging.NullHandler())


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
        self.shared = place is not None
        self._readonly, self._begin, self._inode, self._new = readonly, "BEGIN", 0, False
        self._version = SCHEMA_VERSION
        self._reader, self._numbers = Reader(), dict[str, int]()
        self._lock = threading.RLock()
        with self._clear_errors("open"):
            self._db = connect_server(url) if url is not None else self._file()
            self._sqlite = self._db.dialect.name == "sqlite"
            self._insert = sqlite_dialect.insert if self._sqlite else postgresql.insert
            new = self._insert(TRIALS)
            self._addition = new.on_conflict_do_update(  # built once: that takes a millisecond
                index_elements=[TRIALS.c.key],
                set_={n: new.excluded[n] for n in ("outcome", "record", "digest", *TEXTS)},
                where=TRIALS.c.outcome == Outcome.FAILED.value,
            ).returning(TRIALS.c.key)
            self._ended = delete(CLAIMS).where(CLAIMS.c.key == bindparam("name"))
            self._check_and_migrate()
            self._inode = self.path.stat().st_ino if self.path is not None else 0

    def add(self, record: TrialRecord) -> bool:
        """Add a record; it is on disk when this returns. False where its key was there already."""
        return self._add([record]) == 1

    def add_all(self, records: Sequence[TrialRecord]) -> None:
        """Add records, all or none of them; they are on disk when this returns."""
        self._add(records)

    def _add(self, records: Sequence[TrialRecord]) -> int:
        """Add records; return how many were new."""
        pairs, new = [row_of(record) for record in records], 0
        with self._clear_errors("write"), self._writing():
            unknown = {t for _, texts in pairs for t in texts.values() if t not in self._numbers}
            numbers = self._numbers | numbers_of(self._db, unknown)
            for row, texts in pairs:
                row |= {name: numbers[text] for name, text in texts.items()}
                new += self._db.execute(self._addition, row).first() is not None
                self._db.execute(self._ended, {"name": f"{TRIAL}{row['key']}"})
        self._numbers = numbers  # not before they are durable
        return new

    def get(self, keys: Sequence[str]) -> dict[str, TrialRecord]:
        """Return the records that are there, by key."""
        found: dict[str, TrialRecord] = {}
        if self._sqlite and len(keys) > AT_ONCE and len(keys) > len(self) // 4:
            return self._scanned(set(keys))
        with uncollected():
            for i in range(0, len(keys), AT_ONCE):
                found |= self._by_key(self._rows(keys[i : i + AT_ONCE]))
        return found

    def _scanned(self, keys: Set[str]) -> dict[str, TrialRecord]:
        """Return records by key from one walk through the file, where most of it is asked for."""
        found: dict[str, TrialRecord] = {}
        with uncollected(), self._clear_errors("read"), self._db.begin():
            cursor = self._db.execute(self._asking).cursor
            while rows := cursor.fetchmany(AT_ONCE):
                self._learn_texts(rows)
                found.update(self._by_key([row for row in rows if row[0] in keys]))
        return found

    def _rows(self, keys: Sequence[Any], column: Any = None) -> Sequence[Any]:
        """Return the rows of keys, or of another column; what their texts say is known then."""
        column = self._asking.selected_columns.key if column is None else column
        wanted: Any = json.dumps(list(keys)) if self._sqlite else list(keys)
        with self._clear_errors("read"), self._db.begin():
            asked = self._asking.where(self._among(column))
            # As they are: nothing is converted.
            rows = self._db.execute(asked, {"wanted": wanted}).cursor.fetchall()
            self._learn_texts(rows)
        return rows

    def _among(self, column: Any) -> Any:
        """Whether a column is among the values bound as `wanted`: one text for any number."""
        if self._sqlite:
            return column.in_(text("SELECT value FROM json_each(:wanted)"))
        return column == any_(bindparam("wanted", type_=ARRAY(Text)))

    @functools.cached_property
    def _asking(self) -> Any:
        """The question for rows. Older schemas are read as they are; to 3, without a digest."""
        if self._version < BYTES_SINCE:
            digest = ["digest"] * (self._version >= DIGESTS_SINCE)
            return select(*(OLD_TRIALS.c[name] for name in ("key", "outcome", "record", *digest)))
        columns: list[Any] = [TRIALS.c[name] for name in (*SAID, "digest", *TEXTS)]
        at = SAID.index("record")  # what somebody else wrote there may be text
        columns[at] = cast(columns[at], columns[at].type).label("record")
        return select(*columns)

    @property
    def _at(self) -> Any:
        """What a row is found by soonest: SQLite numbers its rows, a key is another search."""
        numbered = self._sqlite and self._version >= BYTES_SINCE
        return literal_column("rowid" if numbered else "key")

    def _learn_texts(self, rows: Sequence[Any]) -> None:
        if self._version >= BYTES_SINCE:
            first = len(SAID) + 1
            seen = {number for numbers in {row[first:] for row in rows} for number in numbers}
            for text in texts_of(self._db, seen - self._reader.texts.keys() - {None}):
                self._reader.learn(*text)

    def records(self, problem: str | None = None) -> Iterator[TrialRecord]:
        """Iterate over all records (of a problem's name), by problem, method, dim and repeat."""
        return self.page(problem)

    def page(
        self,
        problem: str | None = None,
        *,
        outcome: str | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> Iterator[TrialRecord]:
        """Iterate over some of `records`: the database picks them, and no others are read."""
        c = TRIALS.c
        asked = select(c.key, self._at)
        asked = asked.order_by(c.problem, c.method, c.dim, c.repeat, c.seed, c.key)
        for column, value in ((c.problem, problem), (c.outcome, outcome)):
            if value is not None:
                asked = asked.where(column == value)
        if limit is not None or offset:
            asked = asked.limit(-1 if limit is None and self._sqlite else limit).offset(offset)
        return self._each(self._all(asked))

    def _each(self, places: Sequence[Any]) -> Iterator[TrialRecord]:
        """Yield the records of keys, each with its place, some thousands read at once: not all."""
        for i in range(0, len(places), AT_ONCE):
            part = places[i : i + AT_ONCE]
            with uncollected():
                records = self._by_key(self._rows([place for _, place in part], self._at))
            yield from [records[key] for key, _ in part if key in records]

    def lease(
        self, keys: Sequence[str], owner: str, seconds: float, data: dict[str, Any]
    ) -> set[str]:
        """Take or renew leases; return those given. The clock is the server's, where there is one.

        With SQLite that does not wait for the disk.
        """
        notes = canonical_json(data)
        with self._clear_errors("write"), self._writing(durable=False):
            now = self._now()
            rows = [
                {"key": key, "owner": owner, "until": now + seconds, "data": notes, "now": now}
                for key in sorted(set(keys))  # in one order, lest two wait for each other
            ]
            given = [self._db.execute(self._claiming, row).first() for row in rows]
        return {row[0] for row in given if row is not None}

    def release(self, keys: Sequence[str], owner: str) -> None:
        """End leases of an owner."""
        ended = self._ended.where(CLAIMS.c.owner == bindparam("holder"))
        with self._clear_errors("write"), self._writing(durable=False):
            for key in sorted(keys):
                self._db.execute(ended, {"name": key, "holder": owner})

    @functools.cached_property
    def _claiming(self) -> Any:
        """The statement that takes a lease: built once, since that takes a millisecond."""
        new = self._insert(CLAIMS)
        excluded = new.excluded
        return new.on_conflict_do_update(
            index_elements=[CLAIMS.c.key],
            set_={"owner": excluded.owner, "until": excluded.until, "data": excluded.data},
            where=(CLAIMS.c.until < bindparam("now", type_=Double))
            | (CLAIMS.c.owner == excluded.owner),
        ).returning(CLAIMS.c.key)

    def _now(self) -> float:
        if self._sqlite:
            return time.time()
        return float(
            self._db.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one()
        )

    def claims(self, prefix: str) -> list[Claim]:
        """Return the claims whose key begins so, in order of key; those that ran out too."""
        if self._version < CLAIMS_SINCE:
            return []
        asked = select(CLAIMS).where(CLAIMS.c.key.startswith(prefix, autoescape=True))
        found = self._all(asked.order_by(CLAIMS.c.key))
        return [Claim(key, owner, until, self._data(data)) for key, owner, until, data in found]

    def damaged(self) -> Iterator[tuple[str, str]]:
        """Read every record; yield key and reason of each that is not what was stored."""
        keys = [key for (key,) in self._all(select(TRIALS.c.key).order_by(TRIALS.c.key))]
        for i in range(0, len(keys), AT_ONCE):
            for row in sorted(self._rows(keys[i : i + AT_ONCE]), key=lambda row: row[0]):
                try:
                    trial = self._record(row).trial
                    if dataclasses.replace(trial).key != row[0]:  # worked out again
                        yield row[0], "its identity is that of another trial"
                except StoreError as error:
                    yield row[0], str(error.__cause__)

    def _all(self, asked: Any) -> Sequence[Any]:
        with self._clear_errors("read"), self._db.begin():
            return self._db.execute(asked).cursor.fetchall()

    def compact(self) -> None:
        """Drop leases that ran out long ago, and give back the room of what is no more."""
        with self._clear_errors("write"), self._writing():
            old = CLAIMS.c.key.startswith(TRIAL) & (CLAIMS.c.until < self._now())
            self._db.execute(delete(CLAIMS).where(old))
        if self._sqlite:
            with self._clear_errors("write"):
                raw = self._db.connection.driver_connection
                assert raw is not None
                raw.execute("VACUUM")
                raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                self._db.rollback()

    def __len__(self) -> int:
        with self._clear_errors("read"), self._db.begin():
            return int(self._db.execute(select(func.count()).select_from(TRIALS)).scalar_one())

    def close(self) -> None:
        """Close the file. The store cannot be used afterwards."""
        self._db.close()
        self._db.engine.dispose()

    def _data(self, text: str) -> dict[str, Any]:
        try:
            return notes_of(text)
        except (ValueError, TypeError) as error:
            raise StoreError(
                f"store: expected claims in {self._place}, got one that is damaged. Restore the "
                "file, or run again into another."
            ) from error

    def _by_key(self, rows: Sequence[Any]) -> dict[str, TrialRecord]:
        if self._version >= BYTES_SINCE:
            with contextlib.suppress(Exception):
                return self._reader.records(rows)
        return {row[0]: self._record(row) for row in rows}  # which says what is damaged

    def _record(self, row: Any) -> TrialRecord:
        """Build the record of a row.

        Raises:
            StoreError: it cannot be read, or is not what was stored under its key.
        """
        try:
            if self._version >= BYTES_SINCE:
                return self._reader.record(row)
            if self._version >= DIGESTS_SINCE:
                return record_of_text(*row)
            key, outcome, record = row
            return record_of_text(key, outcome, record, None, verified=False)
        except Exception as error:  # JSON that nobody here wrote can break any line of the reader
            raise StoreError(
                f"store: expected records of trials in {self._place}, got one that is damaged, "
                f"{row[0]} ({type(error).__name__}: {cut(str(error))}). Restore the file, or run "
                "again into another."
            ) from error

    @property
    def _place(self) -> str:
        return str(self.path) if hasattr(self, "path") and self.path else "the database"

    @contextlib.contextmanager
    def _writing(self, *, durable: bool = True) -> Iterator[None]:
        """A transaction that takes SQLite's lock at once, so that two writers take turns."""
        self._begin = "BEGIN IMMEDIATE"
        if self._sqlite:
            self._synchronous("FULL" if durable else "NORMAL")
        try:
            with self._db.begin():
                yield
        finally:
            self._begin = "BEGIN"
        if self.path is not None and durable:
            self._check_place()

    def _check_place(self) -> None:
        """Refuse to go on where the file was removed or replaced: what is written there is lost."""
        with contextlib.suppress(OSError):
            if self._inode in (0, self.path.stat().st_ino):  # type: ignore[union-attr]
                return
        raise StoreError(
            f"store: {self.path} was removed or replaced while it was in use. What was done since "
            "is lost; give the same call again, or restore the file."
        )

    def _synchronous(self, level: str) -> None:
        raw = self._db.connection.driver_connection
        assert raw is not None
        self._end_what_a_signal_left(raw)
        raw.execute(f"PRAGMA synchronous = {level}")
        self._db.rollback()

    def _file(self) -> Connection:
        connect = functools.partial(sqlite.connect, self.path, readonly=self._readonly)
        engine = create_engine("sqlite://", creator=connect, poolclass=StaticPool)

        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            self._end_what_a_signal_left(connection.connection.driver_connection)
            connection.exec_driver_sql(self._begin)

        return engine.connect()

    def _end_what_a_signal_left(self, raw: Any) -> None:
        """Roll back what SQLite began and SQLAlchemy does not know of.

        A signal between the two leaves it so, and the way out gives back leases of this store.
        """
        if raw.in_transaction and not (hasattr(self, "_db") and self._db.in_transaction()):
            raw.rollback()

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
            self._version = version
            return
        raw = self._db.connection.driver_connection
        assert raw is not None
        sqlite.write_ahead(raw)
        self._db.rollback()  # what the line above began
        copy = sqlite.copy(raw, self.path) if self.path and 0 < version < SCHEMA_VERSION else None
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
        self._new = not there
        self._refuse_newer(version)

    def _refuse_newer(self, version: int) -> None:
        if version < 1 and not self._new:
            raise StoreError(
                f"store: expected a schema version of 1 … {SCHEMA_VERSION}, got {version} in "
                f"{self._place}. It is damaged: restore it, or choose another."
            )
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"store: expected schema version {SCHEMA_VERSION} or older, got {version} in "
                f"{self._place}. A newer subspan wrote it: upgrade subspan, or choose another."
            )

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
        if self._readonly:
            self._version = version
        elif version < SCHEMA_VERSION:
            migrate(self._db, version)
            self._db.execute(VERSIONS.update().values(version=SCHEMA_VERSION))

    def _pragma(self, name: str) -> int:
        return int(self._db.exec_driver_sql(f"PRAGMA {name}").scalar_one())

    @contextlib.contextmanager
    def _clear_errors(self, action: str) -> Iterator[None]:
        try:
            with self._lock:
                yield
        except (SQLAlchemyError, sqlite3.DatabaseError, UnicodeDecodeError) as error:
            cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
            raise StoreError(f"store: could not {action} {self._place}: {reason(cause)}") from error
