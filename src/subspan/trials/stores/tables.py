"""The tables of a store, as they are at present."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

from subspan.trials.stores.rows import TEXTS

TEXT_TYPE = Text().with_variant(Text(collation="C"), "postgresql")  # one order everywhere
METADATA = MetaData()


def found_by() -> list[Column[Any]]:
    """What a trial is found by, in every schema."""
    words = [Column(name, TEXT_TYPE, nullable=False) for name in ("problem", "method")]
    counts = [Column(name, BigInteger, nullable=False) for name in ("dim", "repeat", "seed")]
    return [
        Column("key", TEXT_TYPE, primary_key=True),
        *words,
        *counts,
        Column("outcome", TEXT_TYPE, nullable=False),
    ]


def by_problem(trials: Table) -> Index:
    """Return the index in whose order records are listed."""
    c = trials.c
    return Index("trials_by_problem", c.problem, c.method, c.dim, c.repeat)


# Not in order of key: random keys would leave a third of the pages empty.
TRIALS = Table(
    "trials",
    METADATA,
    *found_by(),
    Column("digest", TEXT_TYPE),
    *(Column(name, Integer) for name in TEXTS),
    Column("record", LargeBinary, nullable=False),
)
by_problem(TRIALS)
WORDS = Table(
    "texts",
    METADATA,
    Column("number", Integer, primary_key=True),
    Column("digest", TEXT_TYPE, nullable=False, unique=True),
    Column("text", TEXT_TYPE, nullable=False),
)
CLAIMS = Table(
    "claims",
    METADATA,
    Column("key", TEXT_TYPE, primary_key=True),
    Column("owner", TEXT_TYPE, nullable=False),
    Column("until", Double, nullable=False),
    Column("data", TEXT_TYPE, nullable=False),
    sqlite_with_rowid=False,
)
# Where a database has no field of its own for it. SQLite's header has.
VERSIONS = Table("subspan_schema", MetaData(), Column("version", Integer, nullable=False))
