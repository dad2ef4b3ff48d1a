"""`merge`: what another store has, added to a store."""

from __future__ import annotations

from typing import Any, NamedTuple

from subspan.errors import StoreError
from subspan.training.outcome import Outcome
from subspan.trials.stores.base import RecordStore
from subspan.trials.stores.notes import carry
from subspan.trials.trial import TrialRecord, record_to_json

_AT_ONCE = 500


class Merged(NamedTuple):
    """How many records were added, how many were there already, and how many notes were added."""

    added: int
    known: int
    notes: int = 0


def merge(target: RecordStore, source: RecordStore) -> Merged:
    """Add the records and the noted results of a store to another; the same trial twice is one.

    A trial that failed gives way to one that did not. Nothing is written where there is a conflict.
    Of the same question answered in both stores the target's answer stays.

    Raises:
        StoreError: one trial came out differently in the two, which is named; or one is damaged.
    """
    records = list(source.records())
    new: list[TrialRecord] = []
    for i in range(0, len(records), _AT_ONCE):
        part = records[i : i + _AT_ONCE]
        found = target.get([record.key for record in part])
        for record in part:
            there = found.get(record.key)
            if there is None or there.outcome is Outcome.FAILED is not record.outcome:
                new.append(record)
            elif record.outcome is not Outcome.FAILED and _result(record) != _result(there):
                raise StoreError(
                    f"merge: expected one result of each trial, got two of {record.key} "
                    f"({record!r} and {there!r}). Nothing of that store was merged: keep "
                    "the two apart, or train it again into a third to see which is right."
                )
    carried = carry(target, source)  # which refuses a damaged one before a record is written
    target.add_all(new)
    return Merged(len(new), len(records) - len(new), carried)


def _result(record: TrialRecord) -> dict[str, Any]:
    """What two runs of one trial have in common: not the seconds, where it was, or its words."""
    data = record_to_json(record)
    del data["wall_time"], data["provenance"]
    data.pop("reason", None)  # earlier releases gave a trial that diverged none
    return data
