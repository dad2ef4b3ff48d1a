import math

import pytest

from subspan.errors import InputError, check_confidence
from subspan.goals import AccuracyAbove, LossBelow, parse_goal


@pytest.mark.parametrize(
    ("text", "goal"),
    [
        ("loss<=0.1", LossBelow(0.1)),
        ("loss<=-1", LossBelow(-1.0)),
        (" loss <= 1e-3 ", LossBelow(1e-3)),
        ("accuracy>=0.95", AccuracyAbove(0.95)),
        ("test:accuracy>=0.95", AccuracyAbove(0.95, "test")),
        ("test: loss<=2", LossBelow(2.0, "test")),
        ("train:loss<=2", LossBelow(2.0)),
    ],
)
def test_parse(text, goal):
    assert parse_goal(text) == goal
    assert parse_goal(str(goal)) == goal


@pytest.mark.parametrize(
    "text",
    ["", "loss", "loss<0.1", "loss>=0.1", "accuracy<=0.9", "accuracy>=95", "loss<=nan", "f1<=0.5",
     "perplexity<=-1", ":loss<=1", "a:b:loss<=1", "loss<=x", "accuracy>=0.9 and more", None, 3],
)  # fmt: skip
def test_what_does_not_parse_is_refused_with_an_example(text):
    with pytest.raises(InputError, match="goal"):
        parse_goal(text)


@pytest.mark.parametrize("level", ["1e999", "-1e999", "inf", "-inf", "nan"])
def test_a_level_that_is_not_finite_is_refused(level):
    for text in (f"loss<={level}", f"val:mine>={level}"):
        with pytest.raises(InputError, match="goal level: expected a finite number, got"):
            parse_goal(text)
    with pytest.raises(InputError, match=r"goal level: expected a number in \[0, 1\]"):
        parse_goal(f"accuracy>={level}")


def test_met_by():
    assert LossBelow(0.1).met_by(0.1)
    assert not LossBelow(0.1).met_by(math.nan)
    assert AccuracyAbove(0.9).met_by(0.9)
    assert not AccuracyAbove(0.9).met_by(math.nan)


def test_percentages_are_told_from_fractions():
    with pytest.raises(InputError, match=r"0\.95 for 95 %"):
        parse_goal("accuracy>=95")
    with pytest.raises(InputError, match=r"Write 0\.95 for 95 %"):
        check_confidence(95)


@pytest.mark.parametrize("level", [0.1, 1.0, 0.7057016987936401, 0.1234561, 1e-12, 3e7])
def test_the_text_of_a_goal_parses_to_it(level):
    assert parse_goal(str(LossBelow(level))).level == level
    assert str(LossBelow(0.1)) == "loss<=0.1"
    assert str(AccuracyAbove(1)) == "accuracy>=1"
