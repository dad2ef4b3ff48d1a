"""`eval_every="auto"`: what is evaluated, when, and that training is the same."""

import itertools

import pytest
import torch
from torch import nn

from subspan.canonical import digest
from subspan.problems import Problem, Quadratic, load
from subspan.spec import TrainSpec, shared
from subspan.subspaces import BurnIn, Draw, RandomAffine
from subspan.training.ensemble import train
from subspan.training.outcome import Outcome

EPOCH = 9  # steps, of 32 of 300 rows
SPEC = TrainSpec(lr=0.05, epochs=16, batch_size=32)


@pytest.fixture(scope="module")
def digits():
    return load("digits-mlp", subset=300)


@pytest.fixture
def rows_evaluated(monkeypatch):
    """Rows by split that passed through the network in evaluation, all trials together."""
    seen = {}
    batch = Problem.batch

    def counted(self, indices=None, split="train"):
        if indices is None or indices.ndim == 1:
            size = self.split_size(split) if indices is None else len(indices)
            seen[split] = seen.get(split, 0) + size
        return batch(self, indices, split)

    monkeypatch.setattr(Problem, "batch", counted)
    return seen


def trained(problem, spec, dims=(40,), method=None):
    draws = [Draw(d, 0, r) for r, d in enumerate(dims)]
    subspaces = (method or RandomAffine()).subspaces(problem, draws)
    return train(problem, subspaces, spec, [d.batch_seed for d in draws])


def first_met(result, goal, split="train"):
    """Return the first step at which a trial evaluated after each epoch met an accuracy."""
    return next(p.step for p in result.curve if p.value("accuracy", split) >= goal)


@pytest.mark.parametrize("goal", ["loss<=0.001", "accuracy>=0.999", "test:accuracy>=0.999", None])
def test_evaluation_costs_a_tenth_of_training_at_most(digits, rows_evaluated, goal):
    spec = SPEC.replace(eval_every="auto", stop_at=goal)
    (result,) = trained(digits, spec, dims=(10,))
    assert result.outcome is Outcome.FINISHED
    passes = 3 * 16 * EPOCH * 32  # a step is one forward, and backward as much as two
    assert sum(rows_evaluated.values()) <= 0.1 * passes
    assert set(result.curve[-1].metrics) == {
        f"{split}:{metric}" for split in ("train", "test") for metric in ("loss", "accuracy")
    }


def test_a_trial_that_hovers_below_its_goal_is_looked_at_as_often_as_a_tenth_pays_for(
    digits, rows_evaluated, monkeypatch
):
    monkeypatch.setattr(Problem, "measure_rows", lambda self, weights, *_: [1.0] * len(weights))
    spec = SPEC.replace(eval_every="auto", stop_at="accuracy>=0.999")
    (result,) = trained(digits, spec, dims=(10,))
    looks, passes = len(result.curve) - 1, 3 * 16 * EPOCH * 32
    assert 1 <= looks <= 2 + 0.1 * passes / 300
    # Two looks may be owed for, and the end of the trial is always evaluated.
    assert rows_evaluated["train"] <= 0.1 * passes + 3 * 300
    assert rows_evaluated["test"] == digits.split_size("test")


@pytest.mark.parametrize(
    ("goal", "level", "split"),
    [("accuracy>=0.85", 0.85, "train"), ("test:accuracy>=0.7", 0.7, "test")],
)
def test_a_goal_is_found_where_evaluation_after_each_epoch_finds_it(digits, goal, level, split):
    always = trained(digits, SPEC.replace(stop_at=None), dims=(200, 300))
    sparing = trained(digits, SPEC.replace(eval_every="auto", stop_at=goal), dims=(200, 300))
    for one, other in zip(sparing, always, strict=True):
        assert one.outcome is Outcome.STOPPED
        assert 0 <= one.steps - first_met(other, level, split) <= 2 * EPOCH
        same = next(p for p in other.curve if p.step == one.steps)
        assert one.curve[-1] == same  # every split, to the bit
        own = {"train", "test"} - {split}
        for point in one.curve[:-1]:
            assert not any(name.startswith(f"{s}:") for name in point.metrics for s in own)


def test_a_loss_is_read_off_the_steps_and_costs_nothing_before_the_goal(digits, rows_evaluated):
    (always,) = trained(digits, SPEC, dims=(200,))
    rows_evaluated.clear()
    (sparing,) = trained(digits, SPEC.replace(eval_every="auto", stop_at="loss<=0.5"), dims=(200,))
    met = next(p.step for p in always.curve if p.train_loss <= 0.5)
    assert sparing.outcome is Outcome.STOPPED
    assert 0 <= sparing.steps - met <= EPOCH
    assert rows_evaluated["train"] <= 2 * 300
    assert rows_evaluated["test"] == digits.split_size("test")


def test_training_is_the_same_and_an_ensemble_equals_its_trials(digits):
    spec = SPEC.replace(eval_every="auto", stop_at="accuracy>=0.85")
    dims = (3, 200, 60)
    together = trained(digits, spec, dims)
    draws = [Draw(d, 0, r) for r, d in enumerate(dims)]
    subspaces = RandomAffine().subspaces(digits, draws)
    for draw, subspace, one in zip(draws, subspaces, together, strict=True):
        (alone,) = train(digits, [subspace], spec, [draw.batch_seed])
        assert torch.equal(one.theta, alone.theta)
        assert (one.outcome, one.steps, one.curve) == (alone.outcome, alone.steps, alone.curve)
        short = SPEC.replace(steps=one.steps)
        (plain,) = train(digits, [subspace], short, [draw.batch_seed], evaluate=False)
        assert torch.equal(one.theta, plain.theta)
    assert {r.outcome for r in together} == {Outcome.STOPPED, Outcome.FINISHED}


def test_other_data_than_the_goals_may_be_missing_or_of_ones_own():
    x = torch.linspace(-2, 2, 256 * 4).reshape(256, 4).sin()
    y = (x.sum(1) > 0).long()
    problem = Problem(
        lambda: nn.Linear(4, 2),
        (x, y),
        splits={"val": (x[::2], y[::2])},
        metrics={"hits": lambda out, y: (out.argmax(1) == y).double().sum()},
        name="own",
    )
    for goal in ("val:hits>=128", "val:accuracy>=1", "balanced_accuracy>=1", "loss<=0"):
        spec = SPEC.replace(eval_every="auto", stop_at=goal, epochs=4)
        (result,) = trained(problem, spec, dims=(2,))
        assert {"train:hits", "val:hits", "val:accuracy"} <= set(result.curve[-1].metrics)


def test_a_trained_start_is_looked_at_and_may_end_the_trial(digits):
    spec = SPEC.replace(eval_every="auto", stop_at="test:accuracy>=0.3")
    (result,) = trained(digits, spec, (5,), BurnIn(40))
    assert (result.outcome, result.steps, result.curve[0].step) == (Outcome.STOPPED, 0, 0)
    assert {"train:loss", "test:loss"} <= set(result.curve[0].metrics)


@pytest.mark.parametrize(("goal", "steps"), [("loss<=0.1", EPOCH), ("test:loss<=0.1", 5 * EPOCH)])
def test_a_trial_that_diverges_ends_at_the_next_glance(digits, goal, steps):
    spec = SPEC.replace(optimizer="sgd", lr=1e30, eval_every="auto", stop_at=goal)
    (result,) = trained(digits, spec)
    assert (result.outcome, result.steps) == (Outcome.DIVERGED, steps)
    assert f"at step {steps}" in result.reason


def test_problems_without_rows_and_searches_are_looked_at_as_before():
    problem = Quadratic([1.0, 0.5, 0.1], [1.0, -1.0, 2.0])
    spec = TrainSpec(lr=0.05, steps=40, stop_at="loss<=0.2")
    before, after = (trained(problem, spec.replace(eval_every=e), (3,))[0] for e in (None, "auto"))
    assert before.steps == after.steps < 40
    assert [p.train_loss for p in before.curve] == [p.train_loss for p in after.curve]
    digits = load("digits-mlp", subset=100)
    search = TrainSpec("lbfgs", steps=5, dtype="float64", stop_at="test:accuracy>=0.99")
    problem = digits.to(dtype=torch.float64)
    before, after = (trained(problem, search.replace(eval_every=e))[0] for e in (None, "auto"))
    assert torch.equal(before.theta, after.theta)
    assert before.curve[-1] == after.curve[-1]
    assert set(after.curve[0].metrics) == {"test:loss", "test:accuracy"}


def test_the_key_tells_and_the_default_leaves_old_keys_alone():
    assert digest(SPEC.to_json()) == digest(SPEC.replace(eval_every=None).to_json())
    forms = [SPEC.replace(eval_every=e) for e in (None, "auto", EPOCH)]
    for one, other in itertools.combinations(forms, 2):
        assert digest(one.to_json()) != digest(other.to_json())
        assert shared(one.to_json()) != shared(other.to_json())
    assert TrainSpec.from_json(forms[1].to_json()) == forms[1]


@pytest.mark.parametrize("goal", ["loss<=1e-6", "accuracy>=1", "test:accuracy>=1"])
@pytest.mark.parametrize("epochs", [5, 6, 12])
def test_glances_and_the_end_take_a_tenth_from_five_epochs_on(rows_evaluated, goal, epochs):
    """Of a goal that is never near; a row evaluated costs at most 0.4 of one trained."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(640, 5, generator=generator), torch.arange(640) % 2
    problem = Problem(lambda: nn.Linear(5, 2), (x, y), (x[:128], y[:128]))
    spec = TrainSpec(epochs=epochs, lr=1e-3, eval_every="auto", stop_at=goal)
    trained(problem, spec.replace(steps=1), (4,))  # what is tried out once is evaluated here
    rows_evaluated.clear()
    trained(problem, spec, (4,))
    assert 768 <= sum(rows_evaluated.values()) <= 0.1 * 640 * epochs / 0.4


def test_an_accuracy_is_read_off_the_steps_and_training_is_the_same_to_the_bit(
    rows_evaluated, monkeypatch
):
    """Before the goal nothing is evaluated; what steps hit is the accuracy at their weights."""
    x = torch.randn(300, 6, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long()
    problem = Problem(lambda: nn.Linear(6, 2), (x, y), (x[:60], y[:60]), vectorize=False)
    seen = []
    grads = Problem.grads

    def watched(self, weights, batch, hits=None):
        found = grads(self, weights, batch, hits)
        for k, w in enumerate(weights):
            right = self.outputs(w, batch[0][k]).argmax(1) == batch[1][k]
            seen.append((float(hits[0][k]), float(right.double().mean())))
        return found

    spec = SPEC.replace(lr=0.05, eval_every="tenth", stop_at="accuracy>=0.9")
    trained(problem, spec.replace(steps=1), (12, 13))  # what is tried out once is evaluated here
    rows_evaluated.clear()
    monkeypatch.setattr(Problem, "grads", watched)
    sparing = trained(problem, spec, (12, 13))
    monkeypatch.setattr(Problem, "grads", grads)
    assert seen
    assert all(told == pytest.approx(true) for told, true in seen)
    assert rows_evaluated["train"] <= 300 * sum(len(r.curve) for r in sparing)
    always = trained(problem, spec.replace(eval_every=None, stop_at=None), (12, 13))
    for one, other in zip(sparing, always, strict=True):
        assert one.outcome is Outcome.STOPPED
        assert 0 <= one.steps - first_met(other, 0.9) <= 2 * one.cadence
        same = next(p for p in other.curve if p.step == one.steps)
        assert one.curve[-1] == same


def test_steps_tell_no_hits_where_they_are_not_at_hand():
    x, y = torch.randn(64, 3), torch.arange(64) % 2
    some = y.masked_fill(y == 1, -100)

    def made(targets=y, vectorize=False, **options):
        return Problem(lambda: nn.Linear(3, 2), (x, targets), vectorize=vectorize, **options)

    assert made().counts_hits
    assert not made(vectorize=True).counts_hits
    assert not made(some).counts_hits
    assert not made(x[:, :2], loss="mse").counts_hits
    assert not made(transform=lambda rows, generator: rows).counts_hits
    assert not Quadratic([1.0, 0.5], [1.0, 1.0]).counts_hits
