import math

import pytest

from subspan.canonical import digest
from subspan.goals import parse_goal
from subspan.problems import load
from subspan.spec import TrainSpec
from subspan.subspaces import BurnIn, RandomAffine
from subspan.testing.store_conformance import example_record
from subspan.training.outcome import CurvePoint, Outcome
from subspan.trials.trial import Trial

NAMES = ("train:loss", "train:accuracy", "test:loss", "test:accuracy")


def test_keys_are_pinned():
    # Keys are the primary keys of every store out there: a new field may not change them.
    for method, key in [
        (RandomAffine(), "9431beef158ebcc16ec39807e8401c5f"),
        (RandomAffine("gaussian"), "74d77e890fdd30bff87e1695c4236f96"),
        (BurnIn(64), "7821de2ddb9ea3c8be45ee2df6defe32"),
    ]:
        trial = Trial({"name": "p"}, method.config(), 8, TrainSpec().to_json(), 0, 3)
        assert trial.key == key


def test_a_record_of_other_bits_of_a_map_is_not_this_trials():
    def key(name: str, dim: int) -> str:
        return Trial({"name": "p"}, {"name": "random", "map": name}, dim, {}, 0, 0).key

    for name, dim, changed in [
        ("hadamard", 8192, False),
        ("hadamard", 8193, True),
        ("partition", 2**18, False),
        ("partition", 2**18 + 1, True),
        ("gaussian", 2**18 + 1, False),
    ]:
        plain = {"problem": {"name": "p"}, "method": {"name": "random", "map": name}, "dim": dim}
        first = digest({**plain, "spec": {}, "seed": 0, "repeat": 0})
        assert (key(name, dim) != first) == changed


def test_every_field_counts():
    base = {"problem": {"name": "p"}, "method": {}, "dim": 1, "spec": {}, "seed": 0, "repeat": 0}
    keys = {Trial(**base).key}
    for change in (
        {"problem": {"name": "q"}}, {"method": {"map": "x"}}, {"dim": 2}, {"spec": {"lr": 1}},
        {"seed": 1}, {"repeat": 1},
    ):  # fmt: skip
        keys.add(Trial(**{**base, **change}).key)
    assert len(keys) == 7


def test_record_numbers():
    record = example_record()
    assert (record.dim, record.best_train_loss, record.final_train_loss) == (8, 0.7, 0.7)
    assert record.best_train_accuracy == 0.6
    assert math.isnan(record.best_test_accuracy)


@pytest.mark.parametrize(
    ("outcome", "goal", "expected"),
    [
        (Outcome.FINISHED, "loss<=0.75", True),
        (Outcome.FINISHED, "loss<=0.5", False),
        (Outcome.STOPPED, "loss<=0.75", True),
        (Outcome.STOPPED, "loss<=0.5", None),
        (Outcome.DIVERGED, "loss<=0.5", False),
        (Outcome.FINISHED, "test:loss<=0.5", False),
    ],
)
def test_meets(outcome, goal, expected):
    import dataclasses

    record = dataclasses.replace(example_record(), outcome=outcome)
    assert record.meets(parse_goal(goal)) is expected


def test_best_is_over_the_whole_curve():
    import dataclasses

    curve = tuple(
        CurvePoint(step, dict(zip(NAMES, values, strict=True)))
        for step, *values in ((1, 0.2, 0.9, 0.3, 0.8), (2, 0.4, 0.7, 0.2, 0.9))
    )
    record = dataclasses.replace(example_record(), curve=curve)
    assert (record.best_train_loss, record.final_train_loss) == (0.2, 0.4)
    assert (record.best_test_accuracy, record.final_test_accuracy) == (0.9, 0.9)
    assert (record.best_test_loss, record.final_train_accuracy) == (0.2, 0.7)


def test_problem_identity_is_part_of_the_key():
    problem = load("digits-mlp")
    assert problem.identity["name"] == "digits-mlp"
    assert problem.identity["kind"] == "registered"


def test_records_print_as_one_line():
    text = repr(example_record())
    assert "d=" in text
    assert "best train loss" in text
    assert len(text) < 200
    assert repr(load("digits-mlp")) == (
        "<Problem digits-mlp: D = 2,410, 1,437 train, 360 test rows, cpu>"
    )
