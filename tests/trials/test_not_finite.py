"""A metric that is not finite, or no number: a problem's record says so as a function's does."""

import math

import pytest
import torch

import subspan as ss
from subspan.training.outcome import Outcome

_SPEC = ss.TrainSpec(steps=2, eval_every=1, batch_size=8, lr=0.1)


def _problem(metric, **options):
    rows = torch.Generator().manual_seed(0)
    x = torch.randn(16, 4, generator=rows)
    return ss.Problem(
        lambda: torch.nn.Linear(4, 2),
        (x, (x[:, 0] > 0).long()),
        name="odd",
        metrics={"mine": metric},
        identity={"name": "odd", "version": 1},
        **options,
    )


def _run(problem, dims=(2,), spec=_SPEC, **options):
    return ss.run(problem, "random", dims, 1, spec, executor="inline", **options)


def _function(values):
    @ss.trainable(name="reports", max_dim=9)
    def reports(trial):
        for step, value in enumerate(values, 1):
            trial.report(step=step, loss=0.5, mine=value)

    return reports


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_both_kinds_say_which_metric_was_not_finite(value):
    zero, two = _run(_problem(lambda outputs, targets: value), dims=(0, 2))
    (told,) = ss.run(_function([value, value]), dims=[2], repeats=1, executor="inline")
    assert zero.reason == f"train:mine is {value} at step 0"
    assert two.reason == told.reason == f"train:mine is {value} at step 1"
    assert zero.outcome is two.outcome is told.outcome is Outcome.DIVERGED
    assert [point.step for point in two.curve] == [1, 2]  # a metric changes nothing in training
    assert "train:mine" not in two.metrics
    assert math.isfinite(two.final_train_loss)
    for record in (two, told):
        (cell,) = ss.success_surface([record], "mine>=-1e300").cells
        assert (cell.successes, cell.trials) == (0, 1)  # a miss


def test_a_metric_that_came_back_leaves_its_reason_in_both_kinds():
    seen = iter([math.nan, 0.25])
    (record,) = _run(_problem(lambda outputs, targets: next(seen)))
    (told,) = ss.run(_function([math.nan, 0.25]), dims=[2], repeats=1, executor="inline")
    assert record.reason == told.reason == "train:mine is nan at step 1"
    assert record.outcome is told.outcome is Outcome.FINISHED
    assert record.final("mine") == told.final("mine") == 0.25


def test_a_trial_cut_short_at_its_goal_says_nothing_of_what_it_might_have_reached():
    goal = ss.LossBelow(10.0)
    (record,) = _run(_problem(lambda outputs, targets: math.nan), spec=_SPEC.replace(stop_at=goal))
    (told,) = ss.run(
        _function([math.nan]), dims=[2], repeats=1, spec=ss.LoopSpec(stop_at=goal), workers=1
    )
    for each in (record, told):
        assert each.outcome is Outcome.STOPPED
        assert each.meets(goal)
        assert each.meets(ss.LossBelow(1e-9)) is None
        assert each.reason == "train:mine is nan at step 1"


def test_infinity_meets_no_goal():
    spec = ss.LoopSpec(stop_at="mine>=0.9")
    (told,) = ss.run(_function([math.inf]), dims=[2], repeats=1, spec=spec, workers=1)
    (record,) = _run(
        _problem(lambda outputs, targets: math.inf), spec=_SPEC.replace(stop_at="mine>=0.9")
    )
    assert told.outcome is record.outcome is Outcome.DIVERGED
    assert told.meets(spec.stop_at) is record.meets(spec.stop_at) is False


@pytest.mark.parametrize("value", [None, "a", 1j, torch.zeros(2, 2)])
def test_what_is_no_number_fails_its_trial_in_both_kinds(value):
    (record,) = _run(_problem(lambda outputs, targets: value))
    (told,) = ss.run(_function([value]), dims=[2], repeats=1, executor="inline")
    assert record.outcome is told.outcome is Outcome.FAILED
    assert "metric mine: expected one number, got " in record.reason
    assert "metric mine: expected a number, " in told.reason  # or several evaluations of it


def test_a_loss_that_is_not_finite_has_its_reason():
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
    problem = ss.Problem(lambda: torch.nn.Linear(4, 1), (x, x[:, :1]), loss="mse", name="plain")
    (record,) = _run(problem, spec=_SPEC.replace(optimizer="sgd", lr=1e30))
    assert record.outcome is Outcome.DIVERGED
    assert record.reason == "train:loss is inf at step 1"  # (1e30)² in float32
    assert record.curve == ()


def test_data_without_labels_or_a_test_split_have_no_such_metrics_and_no_reason():
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
    problem = ss.Problem(lambda: torch.nn.Linear(4, 1), (x, x[:, :1]), loss="mse", name="plain")
    (record,) = _run(problem)
    assert (record.outcome, record.reason) == (Outcome.FINISHED, "")
    assert record.metrics == ("train:loss",)
    well = ss.problems.load("quadratic", eigenvalues=[1.0, 2.0], displacement=[1.0, 1.0])
    zero, one = ss.run(well, "random", [0, 1], 1, workers=1)
    assert (zero.reason, one.reason) == ("", "")


def test_a_metric_on_other_data_that_is_not_finite_has_its_reason():
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
    far = {"val": (x, torch.full((16, 1), 1e30))}  # whose square float32 does not hold
    problem = ss.Problem(lambda: torch.nn.Linear(4, 1), (x, x[:, :1]), loss="mse", splits=far)
    (record,) = _run(problem)
    assert record.reason == "val:loss is inf at step 1"
    assert record.outcome is Outcome.DIVERGED
    assert len(record.curve) == 2
