"""What counts as success: a loss at or below a level, or an accuracy at or above one.

A goal is a criterion applied to a finished record, so one set of trials answers any number of
goals. It sits beside `streams` at the root of the house because training (to stop early) and
success (to judge records) both need it and neither may import the other.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from subspan.errors import invalid

Split = Literal["train", "test"]
_PATTERN = re.compile(r"^\s*(?:(train|test)\s*:)?\s*(loss|accuracy)\s*(<=|>=)\s*(\S+)\s*$")


@dataclass(frozen=True)
class LossBelow:
    """Success: loss ≤ `level` on a split. The sub-level set S(ε) of the paper."""

    level: float
    split: Split = "train"

    def __post_init__(self) -> None:
        _check(self.level, self.split, -math.inf, math.inf)

    @property
    def metric(self) -> Literal["loss"]:
        """The number of an evaluation that this goal reads."""
        return "loss"

    def met_by(self, value: float) -> bool:
        """Whether a loss meets the goal. NaN never does."""
        return value <= self.level

    def __str__(self) -> str:
        return f"{'test:' if self.split == 'test' else ''}loss<={_exact(self.level)}"


@dataclass(frozen=True)
class AccuracyAbove:
    """Success: accuracy ≥ `level` (a fraction in [0, 1]) on a split."""

    level: float
    split: Split = "train"

    def __post_init__(self) -> None:
        _check(self.level, self.split, 0.0, 1.0)

    @property
    def metric(self) -> Literal["accuracy"]:
        """The number of an evaluation that this goal reads."""
        return "accuracy"

    def met_by(self, value: float) -> bool:
        """Whether an accuracy meets the goal. NaN never does."""
        return value >= self.level

    def __str__(self) -> str:
        return f"{'test:' if self.split == 'test' else ''}accuracy>={_exact(self.level)}"


Goal = LossBelow | AccuracyAbove


def _exact(level: float) -> str:
    """Write a level so that it parses to itself; a trial is told from others by this text."""
    short = f"{level:g}"
    return short if float(short) == level else repr(float(level))


def _check(level: float, split: str, low: float, high: float) -> None:
    if not (isinstance(level, int | float) and low <= level <= high):
        percent = high == 1 and isinstance(level, int | float) and 1 < level <= 100
        remedy = f"Accuracies are fractions: {level / 100:g} for {level:g} %." if percent else ""
        raise invalid(
            "goal level",
            expected=f"a number in [{low:g}, {high:g}]",
            got=repr(level),
            remedy=remedy,
        )
    if split not in ("train", "test"):
        raise invalid("goal split", expected="'train' or 'test'", got=repr(split))


def parse_goal(text: str | Goal) -> Goal:
    """Parse `loss<=0.1`, `accuracy>=0.95` or either with a `test:` prefix.

    Raises:
        InputError: the text is not of that form, or its level is out of range.
    """
    if isinstance(text, LossBelow | AccuracyAbove):
        return text
    match = _PATTERN.match(text) if isinstance(text, str) else None
    try:
        if match is None:
            raise ValueError
        split, metric, sign, number = match.groups()
        level = float(number)
        if (metric, sign) not in (("loss", "<="), ("accuracy", ">=")):
            raise ValueError
    except ValueError:
        raise invalid(
            "goal",
            expected="'loss<=NUMBER' or 'accuracy>=FRACTION', after 'test:' if on test data",
            got=repr(text),
            remedy='Example: --goal "loss<=0.1".',
        ) from None
    goal_split: Split = "test" if split == "test" else "train"
    return LossBelow(level, goal_split) if metric == "loss" else AccuracyAbove(level, goal_split)
