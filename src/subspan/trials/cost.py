"""`trainings`: what trials cost, in full trainings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from subspan.optimizers import find
from subspan.spec import TrainSpec
from subspan.training.outcome import Outcome
from subspan.trials.trial import TrialRecord


def trainings(problem: Any, spec: Any, records: Sequence[TrialRecord]) -> float | None:
    """Return what trials cost, searches included, in full trainings; None where that has no sense.

    Of a function, whose steps are its own affair, a full training is the longest that was finished.
    """
    costs = [record.steps + record.search_steps for record in records]
    if isinstance(spec, TrainSpec):
        if not find(spec.optimizer).has_lr:
            return None
        full = spec.total_steps(problem.train_size)
    else:
        ended = [c for c, r in zip(costs, records, strict=True) if r.outcome is Outcome.FINISHED]
        full = max(ended, default=max(costs, default=0)) or 1
    return sum(costs) / full
