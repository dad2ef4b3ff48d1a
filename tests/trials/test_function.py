import dataclasses
import math
import random

import numpy as np
import pytest
import torch

import subspan as ss
from subspan.errors import InputError
from subspan.training.outcome import Outcome
from subspan.trials.runner import TrialsFailed


def world(needed, name="world", **options):
    """A function that reaches accuracy 1 from d = `needed` on, in three reports."""

    @ss.trainable(name=name, max_dim=1000, **options)
    def function(trial):
        level = 1.0 if trial.dim >= needed else trial.dim / needed
        for step in range(1, 4):
            if trial.report(step=step, **{"val:accuracy": level * step / 3}):
                return None
        return {"val:accuracy": level, "loss": 1 - level}

    return function


def test_a_run_has_records_keyed_by_metric():
    first, *_ = records = ss.run(world(8), dims=[4, 8], repeats=2)
    assert [(r.dim, r.trial.repeat, r.steps, r.outcome) for r in records] == [
        (4, 0, 3, "finished"), (4, 1, 3, "finished"), (8, 0, 3, "finished"), (8, 1, 3, "finished"),
    ]  # fmt: skip
    assert first.metrics == ("val:accuracy", "train:loss")
    assert first.best("accuracy", "val") == 0.5
    assert first.final("loss") == 0.5
    assert first.ambient_dim == 1000
    assert first.trial.problem == {
        "name": "world", "kind": "trainable", "version": "1", "max_dim": 1000,
    }  # fmt: skip


def test_threshold_of_a_function():
    estimate = ss.threshold(world(60), goal="val:accuracy>=0.99", seed=0)
    assert estimate.low <= 60 <= estimate.high
    assert estimate.status == "ok"
    assert {r.outcome for r in estimate.records if r.dim >= 60} == {Outcome.STOPPED}


def test_a_goal_that_is_met_untrained_has_threshold_zero():
    estimate = ss.threshold(world(0), goal="val:accuracy>=0.9")
    assert (estimate.value, estimate.low) == (0, 0)
    problem = ss.Problem(
        lambda: torch.nn.Linear(3, 2), (torch.zeros(8, 3), torch.zeros(8).long()), name="easy"
    )
    spec = ss.TrainSpec(steps=2, batch_size=None)
    assert ss.threshold(problem, "random", "loss<=5", spec=spec, workers=1).value == 0
    returns = ss.trainable(name="returns", max_dim=100)(lambda trial: {"loss": 0.0**trial.dim})
    assert (
        ss.threshold(returns, goal="loss<=0.5").value == 1
    )  # metrics at the end, not at the start
    needed = ss.threshold(world(1), goal="val:accuracy>=0.9")
    assert needed.value == 1


def test_nothing_is_trained_at_d_0():
    problem = ss.problems.load("digits-mlp", subset=100)
    spec = ss.TrainSpec(steps=3, batch_size=32)
    zero, one = ss.run(problem, "random", [0, 1], 1, spec, workers=1)
    start = problem.evaluate(problem.init(ss.subspaces.base.Draw(1, 0, 0).init_seed))
    assert (zero.dim, zero.steps, zero.theta_norm) == (0, 0, 0.0)
    assert zero.final_train_loss == start.loss
    assert one.final_train_loss != start.loss


def test_an_exception_is_an_outcome_with_its_reason(tmp_path):
    @ss.trainable(name="breaks", max_dim=10)
    def breaks(trial):
        trial.report(step=1, loss=0.5)
        if trial.dim == 2:
            raise MemoryError("no room")
        if trial.dim == 3:
            trial.report(step=2, loss=float("nan"))

    found = {r.dim: r for r in ss.run(breaks, dims=[1, 2, 3], repeats=1, store=tmp_path / "s.db")}
    assert [found[d].outcome for d in (1, 2, 3)] == ["finished", "failed", "diverged"]
    assert found[2].reason == "out of memory: no room"
    assert "raise MemoryError" in found[2].provenance["traceback"]
    assert found[3].reason == "train:loss is nan at step 2"
    assert found[2].meets(ss.LossBelow(0.5)) is True  # before it failed
    assert found[2].meets(ss.LossBelow(0.1)) is False  # a miss
    with ss.Store(tmp_path / "s.db") as store:
        assert {r.dim: r.reason for r in store.records()} == {d: found[d].reason for d in found}


def test_too_many_failures_stop_a_sweep_and_are_tried_again(tmp_path):
    broken = True

    @ss.trainable(name="typo", max_dim=10)
    def typo(trial):
        if broken:
            raise NameError("lsos")
        return {"loss": 0.0}

    path = tmp_path / "s.db"
    with pytest.raises(TrialsFailed, match=r"max_failures is 2(.|\n)*NameError: lsos"):
        ss.run(typo, dims=[1, 2, 3, 4], repeats=1, store=path, workers=1, max_failures=2)
    broken = False
    again = ss.run(typo, dims=[1, 2, 3, 4], repeats=1, store=path, workers=1)
    assert [r.outcome for r in again] == ["finished"] * 4
    with ss.Store(path) as store:
        assert {r.outcome for r in store.records()} == {Outcome.FINISHED}


def test_failures_are_misses_to_a_threshold_and_told_apart():
    calls = []

    @ss.trainable(name="unlucky", max_dim=1000)
    def unlucky(trial):
        calls.append(trial.dim)
        if trial.dim < 60 and trial.repeat % 2:
            raise RuntimeError("too narrow for the solver")
        return {"loss": float(trial.dim < 60)}

    estimate = ss.threshold(unlucky, goal="loss<=0.5", workers=1, max_failures=1000)
    assert estimate.low <= 60 <= estimate.high
    assert sum(count.total for count in estimate.counts) == len(calls)
    failed = sum(r.outcome is Outcome.FAILED for r in estimate.records)
    assert estimate.endings.failed == estimate.to_json()["endings"]["failed"] == failed > 0
    surface = ss.success_surface(estimate.records, "loss<=0.5")
    assert [(c.successes, c.trials) for c in surface.cells] == [
        (count.successes, count.total) for count in estimate.counts
    ]


def test_global_generators_are_seeded_by_the_trial_and_put_back():
    @ss.trainable(name="draws", max_dim=10)
    def draws(trial):
        return {"loss": random.random() + float(np.random.rand()) + float(torch.rand(()))}  # noqa: NPY002

    def losses():
        return [r.final_train_loss for r in ss.run(draws, dims=[1, 2], repeats=2, workers=1)]

    before = random.getstate(), torch.get_rng_state()
    one = losses()
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    random.seed(7)
    assert losses() == one
    assert one[0] == one[2]  # the same repeat at another dim
    assert one[0] != one[1]


def test_compare_functions():
    table = ss.compare([world(8, "one"), world(2, "two")], dims=[4], repeats=3)
    assert (table.null, table.metric) == ("one", "val:accuracy")
    row = table.of("two")[0]
    assert (row.value, row.difference) == (1.0, 0.5)


def test_diagnose_functions():
    found = ss.diagnose(world(60, "weak"), goal="val:accuracy>=0.9", stronger=world(8, "strong"))
    assert found.cause == "optimiser"
    assert "with strong" in found.verdict
    with pytest.raises(InputError, match="stronger"):
        ss.diagnose(world(60, "weak"), goal="val:accuracy>=0.9")


def test_version_lr_and_goal_are_part_of_the_key():
    keys = {r.key for r in ss.run(world(8), dims=[4], repeats=1)}
    keys |= {r.key for r in ss.run(world(8, version="2"), dims=[4], repeats=1)}
    keys |= {r.key for r in ss.run(world(8, lr=0.1), dims=[4], repeats=1)}
    keys |= {r.key for r in ss.run(world(8, lr=(0.01, 1.0)), dims=[5], repeats=1)}
    assert len(keys) == 4
    (record,) = ss.run(world(8, lr=(0.01, 1.0)), dims=[5], repeats=1)
    assert math.isclose(record.trial.spec["lr"], 0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "", "max_dim": 3}, "name"),
        ({"name": "x", "max_dim": 0}, "max_dim"),
        ({"name": "x", "max_dim": 3, "lr": -1.0}, "lr"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        ss.run(ss.trainable(**arguments)(lambda trial: None), dims=[1])


def test_what_is_not_made_trainable_is_told_how():
    with pytest.raises(InputError, match=r"@subspan\.trainable"):
        ss.run(lambda trial: None, dims=[1])
    with pytest.raises(InputError, match="none for a function"):
        ss.run(world(3), "random", dims=[1])
    with pytest.raises(InputError, match="0 … 1000, got 1001"):
        ss.run(world(3), dims=[1001])


def test_a_function_stays_callable_and_named():
    function = world(3)
    assert function.__name__ == "function"
    assert dataclasses.is_dataclass(function.default_spec)
    assert "max_dim = 1,000" in repr(function)
