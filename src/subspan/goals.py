"""What counts as success: a metric at or below a level, or at or above one, on a split.

A goal is a criterion applied to a finished record, so one set of trials answers any number of
goals. It sits beside `streams` at the root of the house because training (to stop early) and
success (to judge records) both need it and neither may import the other.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from subspan import metrics
from subspan.errors import invalid
from subspan.printable import shown

Split = str
_NAME = re.compile(metrics.NAME)
_PATTERN = re.compile(rf"^\s*(?:({metrics.NAME})\s*:)?\s*({metrics.NAME})\s*(<=|>=)\s*(\S+)\s*$")


@dataclass(frozen=True)
class MetricGoal:
    """Success: a metric that reaches a level on a split.

    `LossBelow` and `AccuracyAbove` are the goals on loss and accuracy by their own names.

    Args:
        metric: its name; one that is registered, or that trials report.
        level: what it must reach.
        split: on which data.
        higher: whether it must be at or above the level; None where the metric is registered.

    Raises:
        InputError: the level is out of the metric's range, or the sign against its direction.
    """

    metric: str
    level: float
    split: Split = "train"
    higher: bool | None = None

    def __post_init__(self) -> None:
        _check(self)
        known = metrics.find(self.metric)
        if self.higher is None:
            if known is None:
                raise invalid(
                    "goal",
                    expected="'<=' or '>=' for a metric that is not registered",
                    got=repr(self.metric),
                    remedy="Give higher=True or higher=False.",
                )
            object.__setattr__(self, "higher", known.higher)
        if known is not None and known.higher != self.higher:
            sign = ">=" if known.higher else "<="
            raise invalid(
                "goal",
                expected=f"{self.metric}{sign}LEVEL, since {known.direction} is better",
                got=repr(str(self)),
            )

    def met_by(self, value: float) -> bool:
        """Whether a value of the metric meets the goal. NaN never does."""
        return value >= self.level if self.higher else value <= self.level

    def __str__(self) -> str:
        return _text(self, ">=" if self.higher else "<=")


@dataclass(frozen=True)
class LossBelow:
    """Success: loss ≤ `level` on a split. The sub-level set S(ε) of the paper."""

    level: float
    split: Split = "train"

    def __post_init__(self) -> None:
        _check(self)

    @property
    def metric(self) -> str:
        """The number of an evaluation that this goal reads."""
        return "loss"

    @property
    def higher(self) -> bool:
        """Whether more is better."""
        return False

    def met_by(self, value: float) -> bool:
        """Whether a loss meets the goal. NaN never does."""
        return value <= self.level

    def __str__(self) -> str:
        return _text(self, "<=")


@dataclass(frozen=True)
class AccuracyAbove:
    """Success: accuracy ≥ `level` (a fraction in [0, 1]) on a split."""

    level: float
    split: Split = "train"

    def __post_init__(self) -> None:
        _check(self)

    @property
    def metric(self) -> str:
        """The number of an evaluation that this goal reads."""
        return "accuracy"

    @property
    def higher(self) -> bool:
        """Whether more is better."""
        return True

    def met_by(self, value: float) -> bool:
        """Whether an accuracy meets the goal. NaN never does."""
        return value >= self.level

    def __str__(self) -> str:
        return _text(self, ">=")


Goal = LossBelow | AccuracyAbove | MetricGoal


def name_of(goal: Goal) -> str:
    """Return what a record calls the number that a goal reads, e.g. `"train:loss"`."""
    return metrics.qualified(goal.metric, goal.split)


def best_for(goal: Goal, values: Iterable[float]) -> float:
    """Return the best of the values that are not NaN, or NaN."""
    known = [value for value in values if value == value]
    return (max(known) if goal.higher else min(known)) if known else math.nan


def left(goal: Goal, value: float) -> float:
    """Return how much a value of the goal's metric leaves to gain: smaller is better.

    Counted from the best that the metric can be, where it has one; a loss counts from 0.
    """
    known = metrics.find(goal.metric)
    if goal.higher:
        return known.most - value if known and math.isfinite(known.most) else -value
    return value - known.least if known and math.isfinite(known.least) else value


def _text(goal: Goal, sign: str) -> str:
    prefix = "" if goal.split == "train" else f"{goal.split}:"
    return f"{prefix}{goal.metric}{sign}{_exact(goal.level)}"


def _exact(level: float) -> str:
    """Write a level so that it parses to itself; a trial is told from others by this text."""
    short = f"{level:g}"
    return short if float(short) == level else repr(float(level))


def _check(goal: Goal) -> None:
    known, level = metrics.find(goal.metric), goal.level
    low, high = (known.least, known.most) if known else (-math.inf, math.inf)
    number = isinstance(level, int | float) and not isinstance(level, bool)
    number = number and abs(level) <= sys.float_info.max  # neither NaN nor infinite
    if not (number and low <= level <= high):
        percent = high == 1 and number and 1 < level <= 100
        remedy = f"Accuracies are fractions: {level / 100:g} for {level:g} %." if percent else ""
        word = "a number" if low > -math.inf and high < math.inf else "a finite number"
        between = f" in [{low:g}, {high:g}]" if low > -math.inf or high < math.inf else ""
        raise invalid(
            "goal level",
            expected=word + between,
            got=shown(level),
            remedy=remedy,
        )
    for field, name in (("split", goal.split), ("metric", goal.metric)):
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise invalid(f"goal {field}", expected="a name like 'test'", got=shown(name))


def parse_goal(text: str | Goal) -> Goal:
    """Parse `[split:]metric<=level` or `>=`, e.g. `loss<=0.1`, `val:accuracy>=0.95`.

    Raises:
        InputError: the text is not of that form, its level is out of range, or its sign against
            the metric's direction.
    """
    if isinstance(text, MetricGoal) and text.metric in ("loss", "accuracy"):
        text = str(text)  # one goal has one form
    if isinstance(text, Goal):
        return text
    fits = isinstance(text, str) and len(text) <= metrics.LONGEST
    match = _PATTERN.match(text) if fits else None
    try:
        if match is None:
            raise ValueError
        split, metric, sign, number = match.groups()
        level = float(number)
    except ValueError:
        raise invalid(
            "goal",
            expected="'[split:]metric<=NUMBER' or '>=', like 'loss<=NUMBER' or "
            "'accuracy>=FRACTION', after 'test:' if on test data",
            got=shown(text),
            remedy='Example: --goal "loss<=0.1".',
        ) from None
    split = split or "train"
    if (metric, sign) == ("loss", "<="):
        return LossBelow(level, split)
    if (metric, sign) == ("accuracy", ">="):
        return AccuracyAbove(level, split)
    return MetricGoal(metric, level, split, higher=sign == ">=")
