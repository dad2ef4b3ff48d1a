"""From each schema of a store to the next: what changed, and how old records become new ones.

Version 1 had one table; 2 an index beside it; 3 curves by metric name, and claims; 4 a digest of
each record, so that one that was edited, or stands under another's key, is found; 5 numbers as
bytes, and words that thousands of records have in common once, in a table of texts. All steps of an
opening are one transaction, so a process that dies leaves the store as it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from sqlalchemy import DDL, Column, Connection, MetaData, Table, insert, select, update

from subspan.canonical import canonical_json
from subspan.trials.stores.rows import TEXTS, record_digest, record_of_text, row_of
from subspan.trials.stores.tables import (
    CLAIMS,
    METADATA,
    TEXT_TYPE,
    TRIALS,
    WORDS,
    by_problem,
    found_by,
)
from subspan.trials.stores.texts import numbers_of
from subspan.trials.trial import columns_of

SCHEMA_VERSION = 5
CLAIMS_SINCE, DIGESTS_SINCE, BYTES_SINCE = 3, 4, 5
_AT_ONCE = 1000

# Up to schema 4.
OLD_TRIALS = Table(
    "trials",
    MetaData(),
    *found_by(),
    Column("record", TEXT_TYPE, nullable=False),
    Column("digest", TEXT_TYPE),
    sqlite_with_rowid=False,
)
_OLD_INDEX = by_problem(OLD_TRIALS)


def _add_index(db: Connection) -> None:
    _OLD_INDEX.create(db)


def _name_metrics(db: Connection) -> None:
    CLAIMS.create(db)
    for key in db.execute(select(OLD_TRIALS.c.key)).scalars().all():
        text = db.execute(select(OLD_TRIALS.c.record).where(OLD_TRIALS.c.key == key)).scalar_one()
        try:
            record = json.loads(text)
            record["curve"] = columns_of(record["curve"])
        except Exception:
            continue  # a damaged record stays as it is, and is refused when it is read
        changed = update(OLD_TRIALS).where(OLD_TRIALS.c.key == key)
        db.execute(changed.values(record=canonical_json(record)))


def _add_digests(db: Connection) -> None:
    db.execute(DDL(f"ALTER TABLE {OLD_TRIALS.name} ADD COLUMN digest TEXT"))
    c = OLD_TRIALS.c
    for key in db.execute(select(c.key)).scalars().all():
        found = db.execute(select(c.outcome, c.record).where(c.key == key)).one()
        db.execute(update(OLD_TRIALS).where(c.key == key).values(digest=record_digest(key, *found)))


def _pack(db: Connection) -> None:
    before = OLD_TRIALS.to_metadata(MetaData(), name="trials_4")
    _OLD_INDEX.drop(db)
    db.execute(DDL("ALTER TABLE trials RENAME TO trials_4"))
    if db.dialect.name == "postgresql":
        db.execute(DDL("ALTER INDEX trials_pkey RENAME TO trials_4_pkey"))
    TRIALS.create(db)
    WORDS.create(db)
    numbers: dict[str, int] = {}
    keys = db.execute(select(before.c.key).order_by(*_ordered(before))).scalars().all()
    for i in range(0, len(keys), _AT_ONCE):
        found = db.execute(select(before).where(before.c.key.in_(keys[i : i + _AT_ONCE]))).all()
        at = {row.key: row._asdict() for row in found}
        db.execute(insert(TRIALS), [_packed(db, at[k], numbers) for k in keys[i : i + _AT_ONCE]])
    before.drop(db)


def _packed(db: Connection, row: dict[str, Any], numbers: dict[str, int]) -> dict[str, Any]:
    """Return a row of schema 5 for one of schema 4; a damaged record stays as it is."""
    try:
        record = record_of_text(row["key"], row["outcome"], row["record"], row["digest"])
        if record.key != row["key"]:
            raise ValueError("its identity is that of another trial")
        new, texts = row_of(record)
    except Exception:
        raw = row["record"]
        raw = raw.encode() if isinstance(raw, str) else raw
        return row | dict.fromkeys(TEXTS) | {"record": raw}
    numbers |= numbers_of(db, set(texts.values()) - set(numbers))
    return new | {name: numbers[text] for name, text in texts.items()}


def _ordered(trials: Table) -> list[Column[Any]]:
    return [trials.c[name] for name in ("problem", "method", "dim", "repeat", "seed", "key")]


MIGRATIONS: dict[int, Callable[[Connection], None]] = {
    1: _add_index,
    2: _name_metrics,
    3: _add_digests,
    4: _pack,
}


def migrate(db: Connection, version: int) -> None:
    """Bring a store of some version, 0 for none, to the present one, inside a transaction."""
    if version == 0:
        METADATA.create_all(db)
        return
    for step in range(version, SCHEMA_VERSION):
        MIGRATIONS[step](db)
