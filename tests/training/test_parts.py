"""`eval_every="tenth"`: evaluation within a tenth of training where whole splits take more."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from subspan.goals import parse_goal
from subspan.problems import Problem
from subspan.spec import TrainSpec
from subspan.subspaces import Draw, RandomAffine
from subspan.training.ensemble import train
from subspan.training.outcome import Outcome
from subspan.training.parts import Parts, _far

TRAIN, TEST = 6400, 1600
SPEC = TrainSpec(epochs=2, lr=1e-3, batch_size=128, eval_every="tenth")


def drawn(size, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, 5, generator=generator), torch.arange(size) % 2


@pytest.fixture(scope="module")
def chance():
    """Labels that nothing tells: an accuracy of a half or so, whatever is trained."""
    return Problem(lambda: nn.Linear(5, 2), drawn(TRAIN, 0), drawn(TEST, 1))


@pytest.fixture
def rows_evaluated(monkeypatch):
    seen = {"train": 0, "test": 0}
    batch = Problem.batch

    def counted(self, indices=None, split="train"):
        if indices is None or indices.ndim == 1:
            seen[split] += self.split_size(split) if indices is None else len(indices)
        return batch(self, indices, split)

    monkeypatch.setattr(Problem, "batch", counted)
    return seen


def trained(problem, spec, repeat=0):
    draw = Draw(4, 0, repeat)
    subspaces = RandomAffine().subspaces(problem, [draw])
    return train(problem, subspaces, spec, [draw.batch_seed])[0]


@pytest.mark.parametrize("goal", ["accuracy>=0.99", "test:accuracy>=0.99", "loss<=0.01"])
@pytest.mark.parametrize("epochs", [2, 3, 5, 12])
def test_a_trial_far_from_its_goal_is_evaluated_for_a_tenth(chance, rows_evaluated, goal, epochs):
    """Of training, where a row evaluated takes half as long as one trained, as at most it does."""
    spec = SPEC.replace(epochs=epochs, stop_at=goal)
    trained(chance, spec.replace(steps=1))  # what is tried out once is evaluated here
    rows_evaluated.update(train=0, test=0)
    result = trained(chance, spec)
    assert result.outcome is Outcome.FINISHED
    assert min(rows_evaluated.values()) >= 1000
    assert sum(rows_evaluated.values()) <= 0.1 * TRAIN * epochs / 0.5


def test_the_record_says_of_how_many_rows_its_values_are(chance):
    result = trained(chance, SPEC.replace(stop_at="accuracy>=0.99"))
    (point,) = result.curve
    sizes = Parts(chance, parse_goal("accuracy>=0.99"), 0.9 * 0.18 * 2 * TRAIN).sizes
    assert {split: point.value("rows", split) for split in sizes} == sizes
    assert all(1000 <= count < chance.split_size(split) for split, count in sizes.items())
    whole = trained(chance, SPEC.replace(stop_at="accuracy>=0.99", eval_every="auto")).curve[-1]
    for metric, split in [(m, s) for m in ("loss", "accuracy") for s in ("train", "test")]:
        assert point.value(metric, split) == pytest.approx(whole.value(metric, split), abs=0.05)
        assert point.value(metric, split) != whole.value(metric, split)
    assert not math.isfinite(whole.value("rows"))


def test_all_trials_are_evaluated_on_the_same_rows(chance):
    rows = [Parts(chance, parse_goal("loss<=0.01"), 2000)._rows for _ in range(2)]
    for split in ("train", "test"):
        assert torch.equal(rows[0][split], rows[1][split])
        assert len(rows[0][split].unique()) == len(rows[0][split])


@pytest.mark.parametrize("goal", ["accuracy>=0.8", "accuracy>=0.3", "loss<=0.3"])
def test_a_trial_that_may_be_near_its_goal_is_evaluated_on_the_whole_split(chance, goal):
    """Half of the labels are missed: 2.5 times what the goal allows, or it is met."""
    point = trained(chance, SPEC.replace(stop_at=goal)).curve[-1]
    always = trained(chance, SPEC.replace(eval_every=None))
    (whole,) = [each for each in always.curve if each.step == point.step]
    for metric in ("loss", "accuracy"):
        assert point.value(metric) == whole.value(metric)
    assert not math.isfinite(point.value("rows"))
    assert parse_goal(goal).met_by(point.value(goal[:-5])) == (goal == "accuracy>=0.3")
    assert point.value("rows", "test") < TEST


def test_where_whole_splits_fit_the_end_is_that_of_auto(chance):
    spec = SPEC.replace(epochs=12, stop_at="accuracy>=0.99")
    tenth, auto = (trained(chance, spec.replace(eval_every=w)).curve[-1] for w in ("tenth", "auto"))
    assert tenth == auto


def test_metrics_of_ones_own_and_small_splits_are_of_whole_splits():
    own = Problem(
        lambda: nn.Linear(5, 2),
        drawn(TRAIN, 0),
        drawn(TEST, 1),
        metrics={"hits": lambda out, y: (out.argmax(1) == y).double().sum()},
        name="own",
    )
    (point,) = trained(own, SPEC.replace(stop_at="accuracy>=0.99")).curve
    assert not math.isfinite(point.value("rows"))
    small = Problem(lambda: nn.Linear(5, 2), drawn(1000, 0), drawn(900, 1))
    (point,) = trained(small, SPEC.replace(stop_at="accuracy>=0.99")).curve
    assert not math.isfinite(point.value("rows"))
    assert not math.isfinite(point.value("rows", "test"))


@pytest.mark.parametrize("level", [0.6, 0.9, 0.96, 0.999, 1.0])
@pytest.mark.parametrize("count", [1000, 14_000])
def test_no_split_that_is_near_its_goal_is_taken_to_be_far(level, count):
    """Rows of a split of which e times what is allowed is missed, the utmost that is near."""
    size, goal = 60_000, parse_goal(f"accuracy>={level!r}")
    missed = int(size * min(1.0, math.e * (1 - level)))
    draws = np.random.default_rng(count).hypergeometric(missed, size - missed, count, 20_000)
    for hits in count - draws:
        assert not _far(goal, {"accuracy": hits / count}, count, size)
    assert _far(parse_goal("accuracy>=0.9"), {"accuracy": 0.6}, count, size)


def test_the_first_time_that_a_goal_is_met_is_known_to_within_the_stated_cadence(chance):
    """A loss, which the steps tell; each trial of another rate comes upon it at another time."""
    x, _ = drawn(1280, 0)
    problem = Problem(lambda: nn.Linear(5, 2), (x, (x[:, 0] > 0).long()))
    met = set()
    for lr in (0.02, 0.03, 0.06, 0.1):
        spec = TrainSpec(epochs=12, lr=lr, batch_size=128, stop_at="loss<=0.5", eval_every="tenth")
        draw = Draw(8, 0, 0)
        subspaces = RandomAffine().subspaces(problem, [draw])
        (one,) = train(problem, subspaces, spec, [draw.batch_seed])
        step = spec.replace(stop_at=None, eval_every=1)
        (other,) = train(problem, subspaces, step, [draw.batch_seed])
        first = next(p.step for p in other.curve if p.train_loss <= 0.5)
        assert one.outcome is Outcome.STOPPED
        assert one.cadence == 10  # steps: an epoch
        assert first <= one.steps < first + one.cadence
        met.add(one.steps)
    assert len(met) > 1


def test_what_the_steps_show_to_be_near_is_evaluated_on_the_whole_split_at_once(rows_evaluated):
    make, splits = lambda: nn.Linear(5, 2), (drawn(TRAIN, 0), drawn(TEST, 1))
    problem = Problem(make, *splits, vectorize=False)
    spec = SPEC.replace(stop_at="accuracy>=0.8")
    trained(problem, spec.replace(steps=1))
    rows_evaluated.update(train=0, test=0)
    trained(problem, spec)
    assert rows_evaluated == {"train": TRAIN, "test": 1000}
