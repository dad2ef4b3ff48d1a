"""How a trial ended, and the points of its curve."""

from __future__ import annotations

import enum
from typing import NamedTuple


class Outcome(enum.StrEnum):
    """How a trial ended. Divergence is data, not an exception."""

    FINISHED = "finished"  # trained for all its steps
    STOPPED = "stopped"  # met `spec.stop_at` and ended early
    DIVERGED = "diverged"  # loss or θ became non-finite; what was reached before still counts


class CurvePoint(NamedTuple):
    """One evaluation on the full sets. Metrics that the problem lacks are NaN."""

    step: int
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float
