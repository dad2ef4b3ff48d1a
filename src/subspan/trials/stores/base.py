"""`RecordStore`: where records of trials are kept, and who is at work on which."""

from __future__ import annotations

import abc
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Self

from subspan.trials.trial import TrialRecord

TRIAL = "trial:"  # before a trial's key, the name of the lease of whoever trains it


class Claim(NamedTuple):
    """A lease on something of a name: who holds it, until when (seconds since 1970), and notes."""

    key: str
    owner: str
    until: float
    data: dict[str, Any]


class RecordStore(abc.ABC):
    """Records by key and claims by owner; a context manager that closes what it opened.

    Laws (`subspan.testing.check_store`): a record is durable before `add` returns, and comes back
    equal; what was added once is never changed, but for a trial that failed, which another record
    of its key replaces; `records` come in one order; a claim is held by one owner at a time; that
    on `TRIAL` and a record's key ends when the record is added; threads may share a store.

    Attributes:
        shared: whether other processes can open it too.
    """

    shared: bool = True

    @abc.abstractmethod
    def add(self, record: TrialRecord) -> bool:
        """Add a record. False where its key was there already, and not as a failure."""

    @abc.abstractmethod
    def get(self, keys: Sequence[str]) -> dict[str, TrialRecord]:
        """Return the records that are there, by key."""

    @abc.abstractmethod
    def records(self, problem: str | None = None) -> Iterator[TrialRecord]:
        """Iterate over all records (of a problem's name), by problem, method, dim and repeat."""

    def page(
        self,
        problem: str | None = None,
        *,
        outcome: str | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> Iterator[TrialRecord]:
        """Iterate over some of `records`, in their order.

        Args:
            problem: those of a problem's name.
            outcome: those that ended so.
            limit: at most so many.
            offset: leave out so many first.
        """
        found = (r for r in self.records(problem) if outcome in (None, r.outcome.value))
        return itertools.islice(found, offset, None if limit is None else offset + limit)

    @abc.abstractmethod
    def lease(
        self, keys: Sequence[str], owner: str, seconds: float, data: dict[str, Any]
    ) -> set[str]:
        """Take or renew leases; return those given, which no other owner holds until they run out.

        Leases need not outlive a failure of power.
        """

    @abc.abstractmethod
    def release(self, keys: Sequence[str], owner: str) -> None:
        """End leases of an owner."""

    def claim(self, key: str, owner: str, seconds: float, data: dict[str, Any]) -> bool:
        """Take or renew a lease; False where another owner holds it and it has not run out."""
        return bool(self.lease([key], owner, seconds, data))

    def add_all(self, records: Sequence[TrialRecord]) -> None:
        """Add records; all are durable when this returns."""
        for record in records:
            self.add(record)

    @abc.abstractmethod
    def claims(self, prefix: str) -> list[Claim]:
        """Return the claims whose key begins so, in order of key; those that ran out too."""

    @abc.abstractmethod
    def __len__(self) -> int:
        """Return the number of records."""

    def close(self) -> None:  # noqa: B027
        """Give back what was opened. The store cannot be used afterwards."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
