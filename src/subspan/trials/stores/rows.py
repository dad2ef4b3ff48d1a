"""What stands in a row of a store: a record as text, with what it is found by, and its digest."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from subspan.canonical import canonical_json, check_depth, strict_json
from subspan.trials.trial import TrialRecord, record_from_json, record_to_json

_FEW = 50  # lists and objects in a record, which so many cannot be nested too deep


def row_of(record: TrialRecord) -> dict[str, Any]:
    """Return the row of a record, by column."""
    trial, text = record.trial, canonical_json(record_to_json(record))
    return {
        "key": record.key,
        "problem": str(trial.problem.get("name", "")),
        "method": canonical_json(trial.method),
        "dim": trial.dim,
        "repeat": trial.repeat,
        "seed": trial.seed,
        "outcome": record.outcome.value,
        "record": text,
        "digest": record_digest(record.key, record.outcome.value, text),
    }


def record_of(row: Any, *, verified: bool) -> TrialRecord:
    """Return the record of a row with `key`, `outcome`, `record` and, to be verified, `digest`.

    Raises:
        ValueError: it is not what was stored under its key.
        Exception: of any kind, where the text is nothing that was written here.
    """
    if verified and row.digest != record_digest(row.key, row.outcome, row.record):
        raise ValueError("it is not what was stored: edited, or under another's key")
    data = json.loads(row.record)
    if row.record.count("[") + row.record.count("{") > _FEW:  # no walk through each of many
        check_depth(data)
    return record_from_json(data)


def record_digest(key: str, outcome: str, record: str) -> str:
    """Return 32 hex digits of what a row says: its key, its outcome and its record's text."""
    text = "\n".join((key, outcome, record))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def notes_of(text: str) -> dict[str, Any]:
    """Return the notes of a claim.

    Raises:
        ValueError: it is no JSON.
        TypeError: it is no object.
    """
    data = strict_json(text)
    if not isinstance(data, dict):
        raise TypeError("no object")
    return data
