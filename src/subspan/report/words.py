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
    low, high = estimate.low, estimate.high
    if estimate.status == "not monotone":
        return "unknown: success falls with d"
    if estimate.status == "below range":
        return f"{high:,} or fewer" if high else "0: the offset alone meets the goal"
    if estimate.status == "above range" or estimate.value is None:
        return f"more than {low:,}" if low is not None else "unknown"
    if estimate.status == "never reaches":
        return f"more than {low:,}, if any"
    return counted(estimate.value, low, high)


def sentence(problem: str, method: str, estimate: ThresholdEstimate) -> str:
    """Return the result in one sentence.

    `mnist-conv2 trains to 90 % training accuracy in 290 [265, 320] of 20,490 degrees of freedom:
    71×, 12 trials (random).`
    """
    goal = goal_in_words(estimate.goal)
    ratio = f": {plain_number(estimate.compression)}×" if estimate.compression else ""
    doubt = "" if estimate.status == "ok" else f" ({estimate.status})"
    rate = ""
    if estimate.at_best_lr:
        flat = f"as good from {estimate.lr_low:.2g} to {estimate.lr_high:.2g}"
        rate = f" at the best learning rate {estimate.lr:.2g} ({flat})"
    cost = f"{estimate.trials:,} trials"
    if estimate.trainings is not None:
        cost += f", {estimate.trainings:.1f} trainings"
    return (
        f"{problem} trains to {goal} in {d_star(estimate)} of {estimate.ambient_dim:,} degrees of "
        f"freedom{rate}{doubt}{ratio}, {cost} ({method})."
    )
