"""`JointEstimate`: d* at the best learning rate, as a joint design has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from subspan.estimate import Estimate, counted


@dataclass(frozen=True)
class JointEstimate:
    """d* at the best learning rate.

    Args:
        value: posterior median of d*; None above the range.
        low: lower end of the interval.
        high: upper end; None where unbounded.
        confidence: of the interval.
        status: `"ok"`, `"below range"`, `"above range"`, `"never reaches"`, `"not monotone"` or
            `"not converged"`.
        trials: number of trials told.
        trainings: what they cost, in full trainings.
        lr: the best learning rate at `value` (at max_dim above the range).
        lr_low: the smallest lr at which d* is expected at most a tenth higher.
        lr_high: the largest.
        lr_at_edge: the end of the learning rates searched that the best lies at, if any: beyond
            it d* may be smaller.
        level: where the status is "never reaches", the share of trials that are not lost whatever
            d is.
    """

    value: int | None
    low: int
    high: int | None
    confidence: float
    status: str
    trials: int
    trainings: float
    lr: float
    lr_low: float
    lr_high: float
    lr_at_edge: Literal["low", "high"] | None = None
    level: Estimate | None = None

    def __str__(self) -> str:
        known = "" if self.status == "ok" else f", {self.status}"
        return (
            f"d* = {counted(self.value, self.low, self.high)} at the best learning rate, "
            f"{self.lr:.2g} ({self.lr_low:.2g} … {self.lr_high:.2g}), "
            f"{self.trainings:.1f} trainings{known}"
        )
