"""`Rota`: which trials of a plan are trained here, and which by others on the same store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from subspan.training.outcome import Outcome
from subspan.trials.leases import Leases, told
from subspan.trials.stores.base import RecordStore
from subspan.trials.trainable import Work
from subspan.trials.trial import TrialRecord

_SECONDS_BETWEEN_LOOKS = 0.5


class Rota:
    """Shares the trials of a plan with other processes on the same store.

    Args:
        store: where all of them put their records.
        leases: of this process.
        works: the trials of the plan that have no record yet, by key.
        failed: records that are to be replaced, of trials that failed before.
        notice: called with a line on who else is at work.
    """

    def __init__(
        self,
        store: RecordStore,
        leases: Leases,
        works: Mapping[str, Work],
        failed: Mapping[str, TrialRecord],
        notice: Callable[[str], None],
    ) -> None:
        self._store, self._leases, self._notice = store, leases, notice
        self._works, self._failed = works, failed
        self._keys = {work: key for key, work in works.items()}
        self._elsewhere: set[str] = set()
        self._known: set[str] = set()
        self._looked = time.monotonic()

    @property
    def elsewhere(self) -> bool:
        """Whether others train some of the trials."""
        return bool(self._elsewhere)

    def take(self, works: Iterable[Work]) -> tuple[list[Work], list[TrialRecord]]:
        """Return those trials that are to be trained here, and the records that others made."""
        keys = [self._keys[work] for work in works]
        granted = self._leases.take(keys)
        done = self._done(granted)
        self._leases.drop(done)
        others = {key for key in keys if key not in granted}
        self._elsewhere = (self._elsewhere | others) - granted
        if others:
            self._tell()
        mine = [self._works[key] for key in keys if key in granted and key not in done]
        return mine, list(done.values())

    def look(self, *, wait: bool) -> tuple[list[Work], list[TrialRecord]]:
        """See, twice a second, what became of the trials elsewhere; return as `take` does."""
        left = self._looked + _SECONDS_BETWEEN_LOOKS - time.monotonic()
        if wait and left > 0:
            time.sleep(left)
        elif left > 0:
            return [], []
        self._looked = time.monotonic()
        return self.take(self._works[key] for key in sorted(self._elsewhere))

    def _done(self, keys: Iterable[str]) -> dict[str, TrialRecord]:
        """Return the records that came since the plan was made: those of others."""
        if not self._store.shared:
            return {}
        return {
            key: record
            for key, record in self._store.get(sorted(keys)).items()
            if record.outcome is not Outcome.FAILED or repr(record) != repr(self._failed.get(key))
        }

    def _tell(self) -> None:
        for claim in self._leases.holders(self._elsewhere).values():
            if claim.owner not in self._known:
                self._known.add(claim.owner)
                self._notice(f"shares the trials with {told(claim)}, on the same store")
