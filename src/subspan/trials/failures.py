"""Trials that failed: the record of one, and how many of them end a sweep."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch

from subspan import tracebacks
from subspan.errors import SubspanError, whole
from subspan.training.outcome import CurvePoint, Outcome
from subspan.trials.provenance import environment
from subspan.trials.trial import Trial, TrialRecord

MAX_FAILURES = 10
ERRORS = (Exception, SystemExit)
"""What ends a trial and not its sweep: `sys.exit` in a user's code too, but no Ctrl-C."""

_LONGEST = 4000  # of a traceback's last letters: a record is small
_LONGEST_REASON = 500


class TrialsFailed(SubspanError, RuntimeError):
    """More trials failed than were allowed."""

    several_lines = True


class Failures:
    """Counts the trials that failed, and ends a sweep at one too many.

    Args:
        limit: how many may fail.

    Raises:
        InputError: the limit is no integer, 0 or more.
    """

    def __init__(self, limit: int = MAX_FAILURES) -> None:
        self._limit = whole("max_failures", limit, low=0)
        self._count = 0

    def count(self, records: Iterable[TrialRecord]) -> None:
        """Count those that failed.

        Raises:
            TrialsFailed: more failed than may.
        """
        failed = [record for record in records if record.outcome is Outcome.FAILED]
        self._count += len(failed)
        if failed and self._count > self._limit:
            raise TrialsFailed(
                f"trials: {self._count} failed, and max_failures is {self._limit}. What was done "
                f"is kept; the same call tries again those that failed. {_the_last(failed)}"
            )


def refuse_hopeless(records: Sequence[TrialRecord]) -> None:
    """A round in which every trial failed tells nothing but that something is broken.

    Raises:
        TrialsFailed: so it is, of two trials or more.
    """
    if len(records) > 1 and all(record.outcome is Outcome.FAILED for record in records):
        count = len(records)
        raise TrialsFailed(f"trials: {count} of {count} failed. {_the_last(records)}")


def _the_last(failed: Sequence[TrialRecord]) -> str:
    """Say what the last of some failures was, with its traceback where there is one."""
    last = failed[-1]
    return f"The last:\n{last.provenance.get('traceback', last.reason)}".rstrip()


def failed_record(
    trial: Trial,
    ambient_dim: int,
    device: torch.device,
    reason: str | BaseException,
    *,
    steps: int = 0,
    curve: tuple[CurvePoint, ...] = (),
    wall_time: float = 0.0,
) -> TrialRecord:
    """Return the record of a trial that failed.

    Args:
        trial: which.
        ambient_dim: D.
        device: where it was trained.
        reason: what happened; of an error, the traceback from the user's first line is kept too.
        steps: how many were taken.
        curve: what was reached before.
        wall_time: seconds that it took.
    """
    provenance = {**environment(device), "threads": torch.get_num_threads()}
    if isinstance(reason, BaseException):
        told = tracebacks.told(reason)
        provenance["traceback"] = told if len(told) <= _LONGEST else f"…{told[-_LONGEST:]}"
    return TrialRecord(
        trial=trial,
        ambient_dim=ambient_dim,
        outcome=Outcome.FAILED,
        steps=steps,
        curve=curve,
        theta_norm=math.nan,
        wall_time=wall_time,
        provenance=provenance,
        reason=_reason(reason)[:_LONGEST_REASON],
    )


def _reason(error: str | BaseException) -> str:
    if isinstance(error, str):
        return error
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return f"out of memory: {error}"
    return f"{type(error).__name__}: {error}".removesuffix(": ")
