"""`Trials`: what a store says of an experiment: its estimates and its computed results.

Counts are counted again from the trials. What no trial holds, an estimate over d and learning rate
or a number that was computed, stands in the store as a note.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

from subspan.errors import StoreError, invalid
from subspan.goals import Goal, parse_goal
from subspan.report.stored import StoredExperiment, experiments
from subspan.success.estimate import ThresholdEstimate
from subspan.success.noted import ESTIMATE, noted
from subspan.trials.stores.base import RecordStore
from subspan.trials.stores.sql import Store

RESULT = "result:"  # before the name of what was computed


class Trials:
    """What was trained and computed for an experiment.

    Args:
        store: that holds it.

    Attributes:
        experiments: its trials, by problem, method and training.
        estimates: d* at the best learning rate, as `threshold` noted them.
    """

    def __init__(self, store: RecordStore) -> None:
        self.experiments: tuple[StoredExperiment, ...] = experiments(store)
        self.estimates: tuple[ThresholdEstimate, ...] = tuple(n.estimate for n in noted(store))
        self._results = {
            claim.key.removeprefix(RESULT): claim.data["value"] for claim in store.claims(RESULT)
        }

    def result(self, name: str) -> Any:
        """Return what `Lab.once` computed under a name.

        Raises:
            InputError: nothing was.
        """
        if name not in self._results:
            raise invalid("result", expected=f"one of {sorted(self._results)}", got=repr(name))
        return self._results[name]

    def threshold(
        self, problem: str, goal: Goal | str, **method: str | int
    ) -> ThresholdEstimate | None:
        """Return the d* at the best learning rate that the store notes.

        Args:
            problem: its name.
            goal: what was asked for.
            method: what its configuration has, as `name="burn-in", steps=64`.

        Returns:
            None: it was not measured.
        """
        wanted = parse_goal(goal)
        for estimate in self.estimates:
            e = estimate.experiment
            if (
                e is not None
                and e.problem.get("name") == problem
                and str(estimate.goal) == str(wanted)
                and all(e.method.get(key) == value for key, value in method.items())
            ):
                return estimate
        return None


def export(source: Path, target: Path) -> None:
    """Write what an experiment's store holds to another, without the notes of who asked for it.

    Args:
        source: what a run has filled.
        target: made anew.

    Raises:
        StoreError: a record is damaged, or the target cannot be written.
    """
    fresh = target.with_name(f"{target.name}.new")
    fresh.unlink(missing_ok=True)
    try:
        with Store(source, readonly=True) as have, Store(fresh) as into:
            into.add_all(list(have.records()))
            for prefix in (ESTIMATE, RESULT):
                for claim in have.claims(prefix):
                    into.claim(claim.key, claim.owner, 0.0, claim.data)
            into.compact()
        with contextlib.closing(sqlite3.connect(fresh)) as opened:
            opened.execute("PRAGMA journal_mode = DELETE")  # who reads it leaves no files beside
        fresh.replace(target)
    except OSError as error:
        raise StoreError(f"trials.db: cannot be written ({error.strerror}).") from error
    finally:
        fresh.unlink(missing_ok=True)
