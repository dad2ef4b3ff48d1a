"""`Endings`: how many trials failed or diverged, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from subspan.training.outcome import Outcome
from subspan.trials.trial import TrialRecord


@dataclass(frozen=True)
class Endings:
    """What became of a set of trials, apart from how well they did.

    Args:
        trials: how many there are.
        failed: how many an error ended.
        diverged: how many became non-finite.
        reason: of one that failed.
        not_a_loss: the reason of one that only another metric than the loss ended, if all are so.
        lr_searched: whether each trial had a learning rate of its own, too large ones among them.
    """

    trials: int
    failed: int
    diverged: int
    reason: str = ""
    not_a_loss: str = ""
    lr_searched: bool = False

    @classmethod
    def of(cls, records: Iterable[TrialRecord], *, lr_searched: bool = False) -> Endings:
        """Count the endings of trials."""
        ends = [(record.outcome, record.reason) for record in records]
        failed = [reason for outcome, reason in ends if outcome is Outcome.FAILED]
        diverged = [reason for outcome, reason in ends if outcome is Outcome.DIVERGED]
        others = [reason for reason in diverged if not _is_of_loss(reason)]
        return cls(
            len(ends),
            len(failed),
            len(diverged),
            failed[0] if failed else "",
            others[0] if others and others == diverged else "",
            lr_searched,
        )

    @property
    def remark(self) -> str:
        """What was seen and what to do about it; empty where all trials ended well."""
        said = []
        if self.not_a_loss:
            said.append(
                f"{self.diverged} of {self.trials} ended without a finite metric, one with "
                f"{self.not_a_loss!r}, while the loss stayed finite. See what it divides by."
            )
        elif self.diverged:
            said.append(f"{self.diverged} of {self.trials} diverged.{self._slower}")
        if self.failed:
            said.append(
                f"{self.failed} of {self.trials} failed, one with {self.reason!r}. `subspan trials "
                "STORE --failed` lists them, `subspan retry STORE` runs them again."
            )
        if said:
            said.append("Such a trial counts as a miss.")
        return " ".join(said)

    @property
    def _slower(self) -> str:
        """What to do about divergence; where lr was searched, nothing unless all trials did."""
        if not self.lr_searched:
            return " Lower the learning rate (--lr), or choose another optimizer."
        if self.diverged < self.trials:
            return ""
        return " Search smaller learning rates (lr_range, --lr LOW:HIGH), or see what is computed."

    def to_json(self) -> dict[str, Any]:
        """Return the counts as plain JSON data, with the remark."""
        return {"failed": self.failed, "diverged": self.diverged, "remark": self.remark}


def _is_of_loss(reason: str) -> bool:
    """Whether a trial's reason names its loss or its θ: `NotFinite` says which value it was."""
    metric, found, _ = reason.partition(" is ")
    return not found or metric.partition(":")[2] in ("", "loss")
