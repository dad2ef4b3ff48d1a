"""Results that are no trials, noted in a store beside them: predictions, spectra.

A note is a claim that nobody holds. It says what was asked, which is all that the answer depends
on, and its key is the digest of that; so the same question finds it, and is not answered twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from subspan.canonical import digest
from subspan.errors import InputError, StoreError
from subspan.trials.stores.base import Claim, RecordStore
from subspan.trials.stores.registry import open_store
from subspan.version import VERSION

NOTE = "note:"  # before the kind of a note and the digest of what was asked
ESTIMATE = "estimate:"  # before a note of `success.noted`, which has a form of its own
_KEPT = (NOTE, ESTIMATE)


class Noted(Protocol):
    """A result that can be noted."""

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain JSON data."""


T = TypeVar("T", bound=Noted)


@dataclass(frozen=True)
class Kind(Generic[T]):
    """A kind of result: its name, and what reads one from the JSON data that `to_json` gave.

    Args:
        name: a word.
        of_json: raises `InputError`, `KeyError`, `TypeError` or `ValueError` where it is none.
    """

    name: str
    of_json: Callable[[Mapping[str, Any]], T]


@dataclass(frozen=True)
class Note(Generic[T]):
    """What was asked, plain JSON data with the problem's identity; and what was found."""

    asked: Mapping[str, Any]
    found: T


def recall(
    store: RecordStore | str | Path | None, kind: Kind[T], asked: Mapping[str, Any]
) -> T | None:
    """Return what was found when the same was asked of a store before, or None.

    Raises:
        StoreError: the store cannot be opened, or the note is damaged.
    """
    if store is None:
        return None
    key = _key(kind.name, asked)
    with open_store(store) as opened:
        claims = [claim for claim in opened.claims(key) if claim.key == key]
    return _read(claims[0], kind).found if claims else None


def keep(
    store: RecordStore | str | Path | None, kind: Kind[T], asked: Mapping[str, Any], found: T
) -> None:
    """Note a result; the same question again takes the place of the first.

    Raises:
        StoreError: the store cannot be opened or written.
    """
    if store is None:
        return
    data = {"asked": dict(asked), "found": found.to_json(), "by": VERSION}
    with open_store(store) as opened:
        opened.claim(_key(kind.name, asked), NOTE, 0.0, {**data, "digest": digest(data)})


def notes(store: RecordStore, kind: Kind[T]) -> Iterator[Note[T]]:
    """Iterate over the notes of a kind, in the order of their keys.

    Raises:
        StoreError: one is damaged.
    """
    return (_read(claim, kind) for claim in store.claims(f"{NOTE}{kind.name}:"))


def count(store: RecordStore) -> int:
    """Return how many results are noted in a store, of all kinds."""
    return len(_kept(store))


def damaged(store: RecordStore) -> Iterator[tuple[str, str]]:
    """Yield key and reason of each note that is not what was noted."""
    for claim in _kept(store):
        try:
            _check(claim)
        except StoreError as error:
            yield claim.key, str(error)


def carry(target: RecordStore, source: RecordStore) -> int:
    """Add the notes of a store to another, which keeps what it has; return how many were added.

    Raises:
        StoreError: one is damaged.
    """
    found, there = _kept(source), {claim.key for claim in _kept(target)}
    for claim in found:
        _check(claim)
    new = [claim for claim in found if claim.key not in there]
    for claim in new:
        target.claim(claim.key, claim.owner, 0.0, claim.data)
    return len(new)


def sealed(key: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return data for a claim of a form of its own, with a digest by which a change is found."""
    return {**data, "digest": digest([key, dict(data)])}


def is_whole(claim: Claim) -> bool:
    """Whether a claim is as it was `sealed`; earlier releases did not, and are believed."""
    data = {name: value for name, value in claim.data.items() if name != "digest"}
    return claim.data.get("digest") in (digest([claim.key, data]), None)


def _kept(store: RecordStore) -> list[Claim]:
    return [claim for prefix in _KEPT for claim in store.claims(prefix)]


def _check(claim: Claim) -> None:
    """Refuse a note of any kind that is not what was noted."""
    if claim.key.startswith(NOTE):
        _checked(claim)
    elif not is_whole(claim):
        raise _damaged(claim.key)


def _read(claim: Claim, kind: Kind[T]) -> Note[T]:
    asked, found = _checked(claim)
    try:
        return Note(asked, kind.of_json(found))
    except (InputError, KeyError, TypeError, ValueError) as error:
        raise _damaged(claim.key) from error


def _checked(claim: Claim) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what was asked and found, held against the note's digest and its key."""
    data = {name: claim.data.get(name) for name in ("asked", "found", "by")}
    asked, found, _ = data.values()
    kind = claim.key.removeprefix(NOTE).rpartition(":")[0]
    there = isinstance(asked, dict) and isinstance(found, dict)
    if not there or claim.data.get("digest") != digest(data) or claim.key != _key(kind, asked):
        raise _damaged(claim.key)
    return asked, found  # type: ignore[return-value]


def _damaged(key: str) -> StoreError:
    return StoreError(
        f"store: expected notes of results, got one that is damaged ({key}). Restore the store, "
        "or work into another."
    )


def _key(kind: str, asked: Any) -> str:
    return f"{NOTE}{kind}:{digest(asked)}"
