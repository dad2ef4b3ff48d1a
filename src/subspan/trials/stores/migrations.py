"""From each schema of a store to the next: what changed, and how old records become new ones.

Version 1 had one table; 2 an index beside it; 3 curves by metric name, and claims; 4 a digest of
each record, so that one that was edited, or stands under another's key, is found. All steps of an
opening are one transaction, so a process that dies leaves the store as it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from sqlalchemy import (
    DDL,
    BigInteger,
    Column,
    Connection,
    Double,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    select,
    update,
)

from subspan.canonical import canonical_json
from subspan.trials.stores.rows import record_digest
from subspan.trials.trial import columns_of

SCHEMA_VERSION = 4
CLAIMS_SINCE = 3
DIGESTS_SINCE = 4

_TEXT = Text().with_variant(Text(collation="C"), "postgresql")  # one order everywhere
METADATA = MetaData()
TRIALS = Table(
    "trials",
    METADATA,
    Column("key", _TEXT, primary_key=True),
    Column("problem", _TEXT, nullable=False),
    Column("method", _TEXT, nullable=False),
    Column("dim", BigInteger, nullable=False),
    Column("repeat", BigInteger, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("outcome", _TEXT, nullable=False),
    Column("record", _TEXT, nullable=False),
    Column("digest", _TEXT),
    sqlite_with_rowid=False,
)
BY_PROBLEM = Index(
    "trials_by_problem", TRIALS.c.problem, TRIALS.c.method, TRIALS.c.dim, TRIALS.c.repeat
)
CLAIMS = Table(
    "claims",
    METADATA,
    Column("key", _TEXT, primary_key=True),
    Column("owner", _TEXT, nullable=False),
    Column("until", Double, nullable=False),
    Column("data", _TEXT, nullable=False),
    sqlite_with_rowid=False,
)
# Where a database has no field of its own for it. SQLite's header has.
VERSIONS = Table("subspan_schema", MetaData(), Column("version", Integer, nullable=False))


def _add_index(db: Connection) -> None:
    BY_PROBLEM.create(db)


def _name_metrics(db: Connection) -> None:
    CLAIMS.create(db)
    for key in db.execute(select(TRIALS.c.key)).scalars().all():
        text = db.execute(select(TRIALS.c.record).where(TRIALS.c.key == key)).scalar_one()
        try:
            record = json.loads(text)
            record["curve"] = columns_of(record["curve"])
        except Exception:
            continue  # a damaged record stays as it is, and is refused when it is read
        changed = update(TRIALS).where(TRIALS.c.key == key)
        db.execute(changed.values(record=canonical_json(record)))


def _add_digests(db: Connection) -> None:
    db.execute(DDL(f"ALTER TABLE {TRIALS.name} ADD COLUMN digest TEXT"))
    c = TRIALS.c
    for key in db.execute(select(c.key)).scalars().all():
        found = db.execute(select(c.outcome, c.record).where(c.key == key)).one()
        db.execute(update(TRIALS).where(c.key == key).values(digest=record_digest(key, *found)))


MIGRATIONS: dict[int, Callable[[Connection], None]] = {
    1: _add_index,
    2: _name_metrics,
    3: _add_digests,
}


def migrate(db: Connection, version: int) -> None:
    """Bring a store of some version, 0 for none, to the present one, inside a transaction."""
    if version == 0:
        METADATA.create_all(db)
        return
    for step in range(version, SCHEMA_VERSION):
        MIGRATIONS[step](db)
