"""`Trainable`: what trains a trial, with an identity and a largest dimension.

Two kinds: a problem with a method (`problem_trainable.py`), many trials at once; and a user's own
function, one at a time (`function.py`). The runner, and all above it, know no difference.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, Protocol, Self

import torch

from subspan.goals import Goal
from subspan.trials.failures import failed_record
from subspan.trials.trial import Trial, TrialRecord

Pair = tuple[int, int]
"""A training dimension and a repeat."""


class Spec(Protocol):
    """How a trial is trained, as plain data: `TrainSpec`, or `LoopSpec` for a function."""

    @property
    def stop_at(self) -> Goal | str | None:
        """A goal at which a trial may end."""

    def replace(self, **changes: Any) -> Self:
        """Return a copy with fields changed."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data, the form that is hashed and stored."""


Work = tuple[Pair, Any]
"""A pair, and the spec that it is trained by."""


class Trainable(abc.ABC):
    """Turns trials into records. It knows nothing of stores and executors.

    Laws (`subspan.testing.check_trainable`): a trial's record is a function of the trial: the same
    alone, beside others, and in another process, but for the seconds; d = 0 is a trial in which
    nothing is trained.

    Attributes:
        name: for people.
        max_dim: the largest dimension, D.
        width: how many trials it advances at once.
        device: where it trains.
    """

    name: str
    max_dim: int
    width: int
    device: torch.device

    @abc.abstractmethod
    def trial(self, pair: Pair, spec: Any, seed: int) -> Trial:
        """Return the identity of a trial."""

    def keys(self, works: Sequence[Work], seed: int) -> list[str]:
        """Return the keys of trials, those of `trial`."""
        return [self.trial(pair, spec, seed).key for pair, spec in works]

    @abc.abstractmethod
    def split(self, pairs: Sequence[Pair], workers: int) -> list[list[Pair]]:
        """Split trials into pieces of work for so many workers."""

    @abc.abstractmethod
    def train(self, pairs: Sequence[Pair], spec: Any, seed: int) -> list[TrialRecord]:
        """Train and return records, in order. An error in a trial is a record of that trial.

        Raises:
            InputError: the spec or a dimension does not fit.
        """

    def warm_up(self, pieces: Sequence[Sequence[Pair]], spec: Any) -> None:  # noqa: B027
        """Do here, once, what every forked worker else does at its first piece."""

    def training_bytes(self, spec: Any) -> int:
        """Return about how many bytes a process takes to train as many at once as it does, beside
        what is shared; 0 where nobody can tell."""
        return 0

    def failed(self, pair: Pair, spec: Any, seed: int, reason: str) -> TrialRecord:
        """Return the record of a trial that failed where nobody could see it from within."""
        return failed_record(self.trial(pair, spec, seed), self.max_dim, self.device, reason)
