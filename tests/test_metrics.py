import math

import numpy as np
import pytest
import torch
from sklearn import metrics as reference

import subspan as ss
from subspan.errors import InputError
from subspan.goals import MetricGoal, parse_goal
from subspan.metrics import METRICS, find, parse, qualified, register

rng = np.random.Generator(np.random.Philox(key=3))
OUTPUTS = torch.from_numpy(rng.normal(size=(90, 7)).astype(np.float32))
LABELS = torch.from_numpy(rng.integers(0, 5, 90))  # no rows of the last two classes
NUMBERS, TARGETS = (torch.from_numpy(rng.normal(5, 1, size=(90, 3))) for _ in range(2))


def chunked(name, outputs, targets, size=32):
    """The metric of all rows, put together from chunks as `measure` does."""
    metric = find(name)
    parts = zip(outputs.split(size), targets.split(size), strict=True)
    return metric.value(sum(metric.sums(x, y) for x, y in parts), len(targets))


named = OUTPUTS.argmax(1)
RECALL = np.mean([float((named[c == LABELS] == c).double().mean()) for c in range(5)])
log_probabilities = torch.log_softmax(OUTPUTS.double(), 1)[torch.arange(90), LABELS]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("accuracy", reference.accuracy_score(LABELS, named)),
        ("error", 1 - reference.accuracy_score(LABELS, named)),
        ("top5_accuracy", reference.top_k_accuracy_score(LABELS, OUTPUTS, k=5, labels=range(7))),
        ("top2_accuracy", reference.top_k_accuracy_score(LABELS, OUTPUTS, k=2, labels=range(7))),
        (
            "balanced_accuracy",
            np.mean([float((named[c == LABELS] == c).double().mean()) for c in range(5)]),
        ),
        ("f1", reference.f1_score(LABELS, named, average="macro")),
        ("perplexity", math.exp(-float(log_probabilities.mean()))),
    ],
)
def test_classification_metrics(name, expected):
    assert chunked(name, OUTPUTS, LABELS) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("r2", reference.r2_score(TARGETS, NUMBERS)),
        ("mean_absolute_error", reference.mean_absolute_error(TARGETS, NUMBERS)),
    ],
)
def test_regression_metrics(name, expected):
    assert chunked(name, NUMBERS, TARGETS) == pytest.approx(expected, rel=1e-9)


def test_every_registered_metric_but_the_loss_is_tried_here():
    tried = {"accuracy", "error", "top5_accuracy", "balanced_accuracy", "f1", "perplexity"}
    usual = {name for name, metric in METRICS.items() if metric.sums is not None}
    assert usual == tried | {"r2", "mean_absolute_error"}


def test_names():
    assert parse("val:accuracy") == ("accuracy", "val")
    assert parse(" f1 ") == ("f1", "train")
    assert qualified(*parse("val:accuracy")) == "val:accuracy"
    with pytest.raises(InputError, match="'split:metric'"):
        parse("a:b:c")


def test_goals_on_any_metric():
    goal = parse_goal("val:perplexity<=20")
    assert (goal.metric, goal.split, goal.level, goal.higher) == ("perplexity", "val", 20, False)
    assert goal.met_by(20)
    assert not goal.met_by(math.nan)
    assert str(goal) == "val:perplexity<=20"
    assert parse_goal(str(goal)) == goal
    assert parse_goal("loss<=-3") == ss.LossBelow(-3)
    assert parse_goal(MetricGoal("loss", 0.1)) == ss.LossBelow(0.1)
    assert parse_goal("reward>=-5").met_by(-5)  # nobody's metric yet: the sign says which way
    with pytest.raises(InputError, match=r"perplexity<=LEVEL, since lower is better"):
        parse_goal("perplexity>=3")
    with pytest.raises(InputError, match=r"Give higher=True"):
        MetricGoal("reward", 3)


def test_a_metric_of_ones_own_has_a_direction(monkeypatch):
    monkeypatch.setattr(ss.metrics, "METRICS", dict(METRICS))
    with pytest.raises(InputError, match="unknown name 'regret'"):
        ss.metrics.known("regret")
    register("regret", "lower", least=0)
    assert not ss.metrics.known("regret").higher
    with pytest.raises(InputError, match="'lower', as registered"):
        register("regret", "higher")
    with pytest.raises(InputError, match="regret<=LEVEL"):
        parse_goal("regret>=1")


def spread(outputs, targets):
    return outputs.std()  # no mean over rows: chunks must not show


def make():
    return torch.nn.Linear(64, 10)


@pytest.fixture(scope="module")
def digits():
    return ss.problems.load("digits-mlp", subset=100).batch()


def test_a_problem_records_its_metrics_and_is_told_apart_by_them(digits):
    problem = ss.Problem(make, digits, name="own", eval_rows=32, metrics={"spread": spread})
    names = ss.Problem(make, digits, name="own", eval_rows=32, metrics=["f1", "top3_accuracy"])
    plain = ss.Problem(make, digits, name="own")
    assert problem.identity["metrics"]["spread"][0] == "spread"
    assert {**problem.identity, "metrics": None} == {**plain.identity, "metrics": None}
    assert names.identity["metrics"] == {"f1": "registered", "top3_accuracy": "registered"}
    spec = ss.TrainSpec(steps=2, batch_size=32)
    (record,) = ss.run(problem, "random", [4], 1, spec, workers=1)
    (other,) = ss.run(names, "random", [4], 1, spec, workers=1)
    assert record.metrics == ("train:accuracy", "train:loss", "train:spread")
    assert set(other.metrics) == {
        "train:accuracy", "train:loss", "train:f1", "train:top3_accuracy",
    }  # fmt: skip
    assert record.final_train_loss == other.final_train_loss
    start = problem.init(3)
    (found,) = problem.measure_many(start[None], "train", ["spread", "accuracy"])
    with torch.no_grad():
        expected = float(problem.outputs(start, digits[0]).std())
    assert found["spread"] == pytest.approx(expected, rel=1e-6)
    assert found["accuracy"] == problem.evaluate(start).accuracy


def test_a_goal_on_a_registered_metric_needs_nothing_said_beforehand(digits):
    problem = ss.Problem(make, digits, name="own")
    spec = ss.TrainSpec(steps=400, batch_size=None, lr=0.1, eval_every=10)
    estimate = ss.threshold(
        problem, "random", "error<=0.3", spec=spec, workers=1, ratio=4, max_trials=16
    )
    assert any(r.outcome == "stopped" for r in estimate.records)
    for record in estimate.records:
        for point in record.curve:
            assert point.value("error") == pytest.approx(1 - point.train_accuracy)
    with pytest.raises(InputError, match=r"goal metric: unknown name 'f2'"):
        ss.threshold(problem, "random", "f2>=0.3", spec=spec)
    with pytest.raises(InputError, match="targets which are no labels"):
        ss.Problem(make, (digits[0], digits[0][:, :10]), loss="mse").check_metric("f1")


def test_labels_of_tokens_that_do_not_count_are_left_out():
    x = torch.from_numpy(rng.normal(size=(6, 4, 3)).astype(np.float32))
    y = torch.from_numpy(rng.integers(0, 5, (6, 4)))
    y[:, 2:] = -100
    problem = ss.Problem(lambda: torch.nn.Linear(3, 5), (x, y), name="tokens", eval_rows=4)
    weights = problem.init(0)
    (found,) = problem.measure_many(weights[None], "train", ["error", "perplexity", "accuracy"])
    outputs = problem.outputs(weights, x).detach()[:, :2].reshape(-1, 5)
    labels = y[:, :2].reshape(-1)
    assert found["error"] == pytest.approx(float((outputs.argmax(1) != labels).double().mean()))
    assert found["accuracy"] == pytest.approx(1 - found["error"])
    loss = torch.nn.functional.cross_entropy(outputs.double(), labels)
    assert found["perplexity"] == pytest.approx(float(loss.exp()), rel=1e-6)


def test_an_unknown_metric_says_how_to_make_ones_own_known():
    @ss.trainable(name="regrets", max_dim=9)
    def regrets(trial):
        return {"remorse": 1.0}

    remedy = r"unknown name 'remorse'.* subspan\.metrics\.register\('remorse', 'higher'\)"
    with pytest.raises(InputError, match=remedy):
        ss.compare([regrets, regrets], dims=[1], repeats=1, metric="train:remorse", workers=1)
