"""Results in words: what a page says first."""

from __future__ import annotations

from subspan.estimate import counted
from subspan.goals import Goal
from subspan.report.figure import plain_number
from subspan.success.estimate import ThresholdEstimate

_SPLITS = {"train": "training", "val": "validation"}


def goal_in_words(goal: Goal) -> str:
    """Return `90 % training accuracy`, `training loss ≤ 0.1`, `val perplexity ≤ 20`."""
    split = _SPLITS.get(goal.split, goal.split)
    if goal.metric == "accuracy":
        return f"{100 * goal.level:.6g} % {split} accuracy"
    return f"{split} {goal.metric} {'≥' if goal.higher else '≤'} {goal.level:g}"


def d_star(estimate: ThresholdEstimate) -> str:
    """Return `290 [265, 320]`, or what is known where there is no such interval."""
    value, low, high, status = estimate.value, estimate.low, estimate.high, estimate.status
    if status == "not monotone":
        return "unknown: success falls with d"
    if status in ("above range", "never reaches"):
        return f"more than {low:,}, if any"
    if status == "below range":
        if value == 0:
            offset = "the offset alone meets the goal"
            return f"0: {offset}" if high == 0 else f"{counted(0, 0, high)}: {offset}"
        return f"{high:,} or fewer"
    if value is None:
        return "unknown" if low is None else f"{low:,} or more, if any"
    return counted(value, low, high)


def sentence(problem: str, method: str, estimate: ThresholdEstimate) -> str:
    """Return the result in one sentence.

    `mnist-conv2 trains to 90 % training accuracy in 290 [265, 320] of 20,490 degrees of freedom:
    71×, 12 trials (random).`
    """
    status = estimate.status
    doubt = "" if status == "ok" else f" ({status})"
    rate = ""
    if estimate.at_best_lr:
        flat = f" ({estimate.as_good})" if estimate.as_good else ""
        rate = f" at the best learning rate {estimate.lr:.2g}{flat}"
    ratio = ""
    if estimate.compression:
        least = "at least " if status == "below range" else ""
        ratio = f": {least}{plain_number(estimate.compression)}×"
    cost = f"{estimate.trials:,} trials"
    if estimate.trainings is not None:
        cost += f", {estimate.trainings:.1f} trainings"
    return f"{problem} {_does(estimate)}{rate}{doubt}{ratio}, {cost} ({method})."


def _does(estimate: ThresholdEstimate) -> str:
    """What training does, by status: from the verb to the degrees of freedom."""
    goal, low, freedom = goal_in_words(estimate.goal), estimate.low, "degrees of freedom"
    whole = f"{estimate.ambient_dim:,} {freedom}"
    often = f"{100 * (1 - estimate.delta):g} % of trials"
    if estimate.status == "not monotone":
        return f"has no d* for {goal}: success falls with d somewhere below its {whole}"
    if estimate.status in ("above range", "never reaches"):
        dims = f"all its {whole}" if low == estimate.ambient_dim else f"{low:,} of its {whole}"
        level = estimate.level
        if estimate.status == "never reaches" and level is not None:
            share, least, most = (100 * (v or 0.0) for v in (level.value, level.low, level.high))
            reached = f"success levels off at {share:.0f} % [{least:.0f}, {most:.0f}]"
            return f"does not train to {goal} in {often}: {reached}, up to {dims}"
        return f"does not train to {goal} in {often}, not even in {dims}"
    if estimate.value == 0:
        known = "in 0" if estimate.high == 0 else f"it seems: in {counted(0, 0, estimate.high)}"
        return f"meets {goal} by its offset alone, {known} of {whole}"
    if estimate.value is None:
        dims = "an unknown number" if low is None else f"{low:,} or more, if in any,"
        return f"trains to {goal} in {dims} of {whole}"
    return f"trains to {goal} in {d_star(estimate)} of {whole}"
