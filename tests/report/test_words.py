"""The headline's sentence, by status."""

from __future__ import annotations

import pytest

from subspan.estimate import Estimate
from subspan.goals import AccuracyAbove, LossBelow
from subspan.report.page import _headline
from subspan.report.success_curve import headline
from subspan.report.words import d_star, sentence
from subspan.success import Count, Range, ThresholdEstimate
from subspan.success.budget import DECIDES
from subspan.success.response import LearningRate
from subspan.success.verdict import REMEDIES

LEVEL = Estimate(0.75, 0.66, 0.82, 0.95, 96)
# status, value, low, high, D, what the sentence says from the verb on, and d* alone
CASES = [
    ("ok", 290, 265, 320, 20_490, "trains to training loss ≤ 0.1 in 290 [265, 320] of 20,490 "
     "degrees of freedom: 71×,", "290 [265, 320]"),
    ("below range", 16, 1, 16, 2410, "trains to training loss ≤ 0.1 in 16 or fewer of 2,410 "
     "degrees of freedom (below range): at least 151×,", "16 or fewer"),
    ("below range", 0, 0, 0, 2410, "meets training loss ≤ 0.1 by its offset alone, in 0 of 2,410 "
     "degrees of freedom (below range),", "0: the offset alone meets the goal"),
    ("below range", 0, 0, 3, 2410, "meets training loss ≤ 0.1 by its offset alone, it seems: in "
     "0 [0, 3] of 2,410 degrees of freedom (below range),",
     "0 [0, 3]: the offset alone meets the goal"),
    ("above range", None, 2048, None, 10_000, "does not train to training loss ≤ 0.1 in 90 % of "
     "trials, not even in 2,048 of its 10,000 degrees of freedom (above range),",
     "more than 2,048, if any"),
    ("above range", None, 10_000, None, 10_000, "does not train to training loss ≤ 0.1 in 90 % of "
     "trials, not even in all its 10,000 degrees of freedom (above range),",
     "more than 10,000, if any"),
    ("never reaches", None, 10_000, None, 10_000, "does not train to training loss ≤ 0.1 in 90 % "
     "of trials: success levels off at 75 % [66, 82], up to all its 10,000 degrees of freedom "
     "(never reaches),", "more than 10,000, if any"),
    ("not monotone", None, None, None, 10_000, "has no d* for training loss ≤ 0.1: success falls "
     "with d somewhere below its 10,000 degrees of freedom (not monotone),",
     "unknown: success falls with d"),
    ("edge of the model", 290, 65, 1320, 20_490, "trains to training loss ≤ 0.1 in 290 "
     "[65, 1,320] of 20,490 degrees of freedom (edge of the model): 71×,", "290 [65, 1,320]"),
    ("not converged", 290, 65, None, 20_490, "trains to training loss ≤ 0.1 in 290 [65, ∞] of "
     "20,490 degrees of freedom (not converged): 71×,", "290 [65, ∞]"),
    ("not converged", None, 62_010, None, 100_000, "trains to training loss ≤ 0.1 in 62,010 or "
     "more, if in any, of 100,000 degrees of freedom (not converged),", "62,010 or more, if any"),
    (DECIDES, 290, 265, 320, 20_490, "trains to training loss ≤ 0.1 in 290 [265, 320] of 20,490 "
     f"degrees of freedom ({DECIDES}): 71×,", "290 [265, 320]"),
]  # fmt: skip


def found(
    status: str, value: int | None, low: int | None, high: int | None, ambient_dim: int
) -> ThresholdEstimate:
    return ThresholdEstimate(
        Estimate(value, low, high, 0.95, 12, status),
        LossBelow(0.1),
        Range(1, low or ambient_dim, 0.1),
        (Count(16, 12, 12),),
        ambient_dim,
        level=LEVEL if status == "never reaches" else None,
    )


@pytest.mark.parametrize(("status", "value", "low", "high", "size", "said", "alone"), CASES)
def test_each_status_has_a_sentence_that_is_one(
    status: str,
    value: int | None,
    low: int | None,
    high: int | None,
    size: int,
    said: str,
    alone: str,
) -> None:
    estimate = found(status, value, low, high, size)
    assert sentence("net", "random", estimate) == f"net {said} 12 trials (random)."
    assert d_star(estimate) == alone


@pytest.mark.parametrize(
    ("high", "said"),
    [
        (0, "d* = 0: the offset alone meets the goal"),
        (3, "d* = 0 [0, 3]: the offset alone meets the goal"),
        (None, "d* = 0 [0, ∞]: the offset alone meets the goal"),
    ],
)
def test_the_figure_s_title_where_the_offset_meets_the_goal(high: int | None, said: str) -> None:
    """An open end there was formatted as a number once."""
    assert headline(found("below range", 0, 0, high, 2410)) == said


def test_every_status_is_among_them() -> None:
    assert {case[0] for case in CASES} == {*REMEDIES, DECIDES}


def test_the_learning_rate_and_the_cost_are_said() -> None:
    estimate = ThresholdEstimate(
        Estimate(290, 265, 320, 0.95, 12),
        AccuracyAbove(0.9),
        Range(1, 20_490, 0.1),
        (Count(16, 12, 12),),
        20_490,
        trainings=7.25,
        learning_rate=LearningRate(0.1, 0.05, 0.2),
    )
    assert sentence("net", "random", estimate) == (
        "net trains to 90 % training accuracy in 290 [265, 320] of 20,490 degrees of freedom at "
        "the best learning rate 0.1 (as good from 0.05 to 0.2): 71×, 12 trials, 7.2 trainings "
        "(random)."
    )


@pytest.mark.parametrize(
    ("status", "low", "bold"),
    [
        ("above range", 7, "not even in <strong>7</strong> of its 2,410 degrees of freedom"),
        ("not converged", 7, "in <strong>7 or more</strong>, if in any, of 2,410 degrees"),
        ("above range", 2410, "not even in all its 2,410 degrees"),
        ("not monotone", None, "below its 2,410 degrees"),
    ],
)
def test_the_page_sets_in_bold_what_is_known(status: str, low: int | None, bold: str) -> None:
    line = sentence("net", "random", found(status, None, low, None, 2410))
    assert bold in _headline((line,))
