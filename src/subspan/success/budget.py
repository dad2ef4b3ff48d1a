"""Does the budget decide? d* measured again with twice the steps."""

from __future__ import annotations

import dataclasses

from subspan.errors import invalid
from subspan.estimate import counted
from subspan.optimizers import find
from subspan.spec import TrainSpec
from subspan.success.estimate import ThresholdEstimate
from subspan.trials.function import LoopSpec

DECIDES = "the budget decides"


def twice_the_steps(spec: TrainSpec | LoopSpec) -> TrainSpec:
    """Return the same training with twice the steps.

    Raises:
        InputError: it is a function's, or ends by itself.
    """
    if not isinstance(spec, TrainSpec) or find(spec.optimizer).exact:
        raise invalid(
            "check_budget",
            expected="training whose steps subspan counts",
            got="a function" if isinstance(spec, LoopSpec) else "exact least squares",
            remedy="Measure a second function that trains for twice as long.",
        )
    if spec.steps is not None:
        return spec.replace(steps=2 * spec.steps)
    assert spec.epochs is not None
    return spec.replace(epochs=2 * spec.epochs)


def with_budget(found: ThresholdEstimate, doubled: ThresholdEstimate) -> ThresholdEstimate:
    """Return an estimate with what twice the steps made of it.

    The budget decides where the second d* lies outside the interval of the first.
    """
    said = f"With twice the steps: {_needs(doubled)}."
    trainings = None
    if found.trainings is not None and doubled.trainings is not None:
        trainings = found.trainings + 2 * doubled.trainings
    found = dataclasses.replace(found, doubled=doubled, trainings=trainings)
    seen = f"{found.seen} {said}".strip()
    if not _moves(found, doubled):
        return dataclasses.replace(found, seen=seen)
    status = DECIDES if found.status == "ok" else found.status
    return dataclasses.replace(
        found,
        estimate=dataclasses.replace(found.estimate, status=status),
        seen=f"{seen[:-1]}, outside the interval: {DECIDES}.",
        advice="Name the steps beside d*, or give more until it no longer moves.",
    )


def _moves(found: ThresholdEstimate, doubled: ThresholdEstimate) -> bool:
    """Whether the second d* lies outside the first interval."""
    if doubled.value is None:
        return doubled.status in ("above range", "never reaches") and found.high is not None
    low = found.low is not None and doubled.value < found.low
    return low or (found.high is not None and doubled.value > found.high)


def _needs(estimate: ThresholdEstimate) -> str:
    if estimate.value is None:
        return f"no d* ({estimate.status})"
    known = "" if estimate.status == "ok" else f" ({estimate.status})"
    return f"d* = {counted(estimate.value, estimate.low, estimate.high)}{known}"
