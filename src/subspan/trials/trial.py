"""`Trial`: the identity of one training run. `TrialRecord`: what came of it, immutable."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any

from subspan.canonical import digest
from subspan.goals import Goal
from subspan.maps import changes_of_bits
from subspan.training.outcome import CurvePoint, Outcome


@dataclass(frozen=True)
class Trial:
    """One training run, before it is run: problem × method × dim × spec × seed × repeat.

    All fields are plain JSON data. `key` is a hash of them and the primary key of the store.
    """

    problem: dict[str, Any]
    method: dict[str, Any]
    dim: int
    spec: dict[str, Any]
    seed: int
    repeat: int

    def to_json(self) -> dict[str, Any]:
        """Return the identity as plain JSON data, the form that is hashed."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    @functools.cached_property
    def key(self) -> str:
        """32 hex digits: the hash of the canonical JSON of the identity.

        And of what came after it: a record of other bits of the map is not this trial's.
        """
        changes = changes_of_bits(self.method.get("map"), self.dim)
        return digest(self.to_json() | ({"map_bits": changes} if changes else {}))


@dataclass(frozen=True)
class TrialRecord:
    """The immutable record of one trial: its identity, what came of it, and where it was run.

    Accuracies are fractions; a metric the problem lacks is NaN. `wall_time` is the trial's share
    of its ensemble's seconds. `search_steps` and `search_bits` are what the method spent to find
    the subspace: full-space training steps, and bits to store it beyond a seed.
    """

    trial: Trial
    ambient_dim: int
    outcome: Outcome
    steps: int
    curve: tuple[CurvePoint, ...]
    theta_norm: float
    wall_time: float
    search_steps: int = 0
    search_bits: int = 0
    provenance: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __repr__(self) -> str:
        """One line: which trial, and what came of it. `dataclasses.asdict` has everything."""
        names = self.trial.problem.get("name", "?"), self.trial.method.get("name", "?")
        return (
            f"<TrialRecord {names[0]} {names[1]} d={self.dim} repeat={self.trial.repeat}: "
            f"{self.outcome.value} after {self.steps} steps, "
            f"best train loss {self.best_train_loss:.4g}, key {self.key[:8]}…>"
        )

    @property
    def key(self) -> str:
        """The trial's key."""
        return self.trial.key

    @property
    def dim(self) -> int:
        """Training dimension d."""
        return self.trial.dim

    @property
    def best_train_loss(self) -> float:
        """Lowest training loss over the curve."""
        return self.best("loss", "train")

    @property
    def best_train_accuracy(self) -> float:
        """Highest training accuracy over the curve."""
        return self.best("accuracy", "train")

    @property
    def best_test_loss(self) -> float:
        """Lowest test loss over the curve."""
        return self.best("loss", "test")

    @property
    def best_test_accuracy(self) -> float:
        """Highest test accuracy over the curve."""
        return self.best("accuracy", "test")

    @property
    def final_train_loss(self) -> float:
        """Training loss at the last evaluation."""
        return self._final("train_loss")

    @property
    def final_train_accuracy(self) -> float:
        """Training accuracy at the last evaluation."""
        return self._final("train_accuracy")

    @property
    def final_test_loss(self) -> float:
        """Test loss at the last evaluation."""
        return self._final("test_loss")

    @property
    def final_test_accuracy(self) -> float:
        """Test accuracy at the last evaluation."""
        return self._final("test_accuracy")

    def _final(self, name: str) -> float:
        return getattr(self.curve[-1], name) if self.curve else float("nan")

    def best(self, metric: str, split: str) -> float:
        """Return the best finite value of `loss` (lowest) or `accuracy` (highest), or NaN."""
        values = [getattr(point, f"{split}_{metric}") for point in self.curve]
        finite = [v for v in values if v == v]
        if not finite:
            return float("nan")
        return min(finite) if metric == "loss" else max(finite)

    def meets(self, goal: Goal) -> bool | None:
        """Whether the trial hit the goal at any evaluation.

        Returns:
            True or False; None where the record cannot say, because the trial stopped early at
            another goal before this one was met.
        """
        if goal.met_by(self.best(goal.metric, goal.split)):
            return True
        return None if self.outcome is Outcome.STOPPED else False
