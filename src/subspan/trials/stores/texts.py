"""The texts of a store: each stands once, and trials point to it by its number."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from subspan.trials.stores.rows import stored_digest
from subspan.trials.stores.tables import WORDS

AT_ONCE = 2000  # values in one question: SQLite takes some ten thousands


def numbers_of(db: Connection, texts: Collection[str]) -> dict[str, int]:
    """Return the numbers of texts; those that are new are entered, in the transaction there is."""
    by_digest = {stored_digest(text): text for text in texts}
    if not by_digest:
        return {}
    dialect = sqlite if db.dialect.name == "sqlite" else postgresql
    new = dialect.insert(WORDS).on_conflict_do_nothing(index_elements=[WORDS.c.digest])
    wanted = sorted(by_digest)  # in one order, lest two wait for each other
    db.execute(new, [{"digest": digest, "text": by_digest[digest]} for digest in wanted])
    found: dict[str, int] = {}
    for i in range(0, len(wanted), AT_ONCE):
        asked = select(WORDS.c.digest, WORDS.c.number)
        asked = asked.where(WORDS.c.digest.in_(wanted[i : i + AT_ONCE]))
        found |= {by_digest[digest]: number for digest, number in db.execute(asked)}
    return found


def texts_of(db: Connection, numbers: Collection[int]) -> list[tuple[int, str, str]]:
    """Return the number, the text and the digest of texts, those that are there."""
    wanted, found = sorted(numbers), []
    for i in range(0, len(wanted), AT_ONCE):
        asked = select(WORDS.c.number, WORDS.c.text, WORDS.c.digest)
        rows = db.execute(asked.where(WORDS.c.number.in_(wanted[i : i + AT_ONCE])))
        found += [(number, text, digest) for number, text, digest in rows]
    return found
