"""`Dispatch`: pieces of work on their way through an executor, until each trial has its record.

A piece whose worker died or hung is tried again by halves, so that the trial that did it is found
and the others are trained.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from subspan.training.outcome import Outcome
from subspan.trials.deadline import Deadline
from subspan.trials.executors.base import Executor, Shared, WorkerDied
from subspan.trials.trainable import Pair, Spec, Trainable
from subspan.trials.trial import TrialRecord

_ATTEMPTS = 2  # at a trial that hangs
_LAST_LOOK = 0.01  # seconds, before work is given up


@dataclass
class _Piece:
    pairs: list[Pair]
    spec: Spec
    attempt: int
    seconds: float = 0.0  # that it was seen to run


class Dispatch:
    """Gives pieces of work to an executor and takes records back.

    Args:
        trainable: what trains.
        share: gives the trainable where a worker calls it.
        executor: where.
        seed: of the trials.
        deadline: gives of a spec how long a piece may take.
    """

    def __init__(
        self,
        trainable: Trainable,
        share: Shared,
        executor: Executor,
        seed: int,
        deadline: Callable[[Spec], Deadline],
    ) -> None:
        self._trainable, self._share, self._executor = trainable, share, executor
        self._seed, self._deadline = seed, deadline
        self._pieces: dict[Future[Any], _Piece] = {}
        self._looked = time.monotonic()

    @property
    def busy(self) -> bool:
        """Whether work is under way."""
        return bool(self._pieces)

    @property
    def full(self) -> bool:
        """Whether more work would only wait."""
        return len(self._pieces) >= self._executor.room

    def submit(self, pairs: Sequence[Pair], spec: Spec, attempt: int = 1) -> None:
        """Give out a piece of work."""
        future = self._executor.submit(_train, self._share, list(pairs), spec, self._seed)
        self._pieces[future] = _Piece(list(pairs), spec, attempt)

    def wait(self, seconds: float) -> list[TrialRecord]:
        """Wait for work to be done, for so many seconds; return the records of what was."""
        futures = list(self._pieces)
        under_way = [piece for future, piece in self._pieces.items() if future.running()]
        ended = next(self._executor.completed(futures, seconds), None)
        now = time.monotonic()
        passed, self._looked = now - self._looked, now
        passed = min(passed, 2 * seconds)  # a machine that slept, or was stopped, trained nothing
        if ended is not None and self._pieces[ended] not in under_way:  # it took that at most
            under_way.append(self._pieces[ended])
        for piece in under_way:  # not one that has only just begun, after much else
            piece.seconds += passed
        records = []
        for future in futures:  # all that are done: they are stored together
            if future.done():
                records += self._answer(future, self._pieces.pop(future))
        return records + self._give_up()

    def _answer(self, future: Future[Any], piece: _Piece) -> list[TrialRecord]:
        try:
            records: list[TrialRecord] = future.result()
        except WorkerDied as error:
            return self._again(piece, str(error), last=True)
        if any(record.outcome is Outcome.FINISHED for record in records):  # not cut short
            self._deadline(piece.spec).took(piece.pairs, piece.seconds)
        return records

    def _give_up(self) -> list[TrialRecord]:
        """End what takes too long."""
        records = []
        for future, piece in list(self._pieces.items()):
            limit = self._deadline(piece.spec).limit(piece.pairs)
            if limit is not None and piece.seconds > limit and not self._has_ended(future):
                self._executor.abandon(future)
                del self._pieces[future]
                reason = f"hung: not done after {limit:.3g} s, and ended; --trial-timeout sets that"
                records += self._again(piece, reason, last=piece.attempt >= _ATTEMPTS)
        return records

    def _has_ended(self, future: Future[Any]) -> bool:
        """Look once more: an answer may have come while this process did not get to read it."""
        return future.done() or next(self._executor.completed([future], _LAST_LOOK), None) is future

    def _again(self, piece: _Piece, reason: str, *, last: bool) -> list[TrialRecord]:
        """Try a piece again, by halves; one trial alone, unless that was its last attempt."""
        pairs, half = piece.pairs, len(piece.pairs) // 2
        if half:
            self.submit(pairs[:half], piece.spec)
            self.submit(pairs[half:], piece.spec)
            return []
        if not last:
            self.submit(pairs, piece.spec, piece.attempt + 1)
            return []
        return [self._trainable.failed(pair, piece.spec, self._seed, reason) for pair in pairs]


def _train(share: Shared, piece: list[Pair], spec: Spec, seed: int) -> list[TrialRecord]:
    """Train a piece of work. Runs in a worker."""
    trainable: Trainable = share()
    return trainable.train(piece, spec, seed)
