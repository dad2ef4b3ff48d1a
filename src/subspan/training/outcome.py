"""How a trial ended, the points of its curve, and what training it gave."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from subspan.metrics import qualified


class Outcome(enum.StrEnum):
    """How a trial ended. Divergence is data, not an exception; and so is a failure."""

    FINISHED = "finished"  # trained for all its steps
    STOPPED = "stopped"  # met `spec.stop_at` and ended early
    DIVERGED = "diverged"  # a metric or θ ended non-finite; what was reached before still counts
    FAILED = "failed"  # an error ended it, the record's `reason`; it missed every goal not met yet


@dataclass(frozen=True)
class CurvePoint:
    """One evaluation: metrics by name, `"split:metric"`; what is not finite is left out.

    Args:
        step: how many steps were taken.
        metrics: values by name.
    """

    step: int
    metrics: Mapping[str, float]

    def __post_init__(self) -> None:
        known = {name: float(v) for name, v in sorted(self.metrics.items()) if math.isfinite(v)}
        object.__setattr__(self, "metrics", known)

    def value(self, metric: str, split: str = "train") -> float:
        """Return a metric on a split; NaN where it was not evaluated or not finite."""
        return self.metrics.get(qualified(metric, split), math.nan)

    @property
    def train_loss(self) -> float:
        """Loss on the training set, or NaN."""
        return self.value("loss")

    @property
    def train_accuracy(self) -> float:
        """Accuracy on the training set, or NaN."""
        return self.value("accuracy")

    @property
    def test_loss(self) -> float:
        """Loss on the test set, or NaN."""
        return self.value("loss", "test")

    @property
    def test_accuracy(self) -> float:
        """Accuracy on the test set, or NaN."""
        return self.value("accuracy", "test")


class NotFinite:
    """Which metrics of a trial were not finite: such a value is on no curve, but has its reason.

    A metric whose last value is not finite ends its trial as diverged; one that came back, as a
    precision does that was 0/0 at first, leaves the reason alone.

    Attributes:
        reason: the first that was seen, `"train:loss is nan at step 2"`; empty: none.
    """

    def __init__(self) -> None:
        self.reason = ""
        self._now: set[str] = set()

    def note(self, values: Mapping[str, float], step: int) -> None:
        """Look at values by name, finite or not."""
        for name, value in values.items():
            if math.isfinite(value):
                self._now.discard(name)
                continue
            self._now.add(name)
            self.reason = self.reason or f"{name} is {value} at step {step}"

    def ends(self, outcome: Outcome) -> Outcome:
        """Return how a trial ended that else ended so. One cut short at its goal stays that."""
        return Outcome.DIVERGED if self._now and outcome is Outcome.FINISHED else outcome


@dataclass
class TrainResult:
    """Of one trial: outcome, curve, steps taken, final θ (d,), share of seconds, reason.

    Attributes:
        cadence: steps between glances at it, or between evaluations; 0: nothing was looked at.
    """

    outcome: Outcome = Outcome.FINISHED
    curve: list[CurvePoint] = field(default_factory=list)
    steps: int = 0
    theta: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    wall_time: float = 0.0
    reason: str = ""
    cadence: int = 0
