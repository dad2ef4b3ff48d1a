from __future__ import annotations

import math

import pytest
from synthetic import AMBIENT, SPEC, STEPS, FakeRunner, fake_problem, record

from subspan.canonical import digest
from subspan.errors import InputError
from subspan.success import threshold
from subspan.success.threshold import _prices
from subspan.trials.trial import Outcome


def logistic(dim: int) -> float:
    return 1 / (1 + math.exp(-12 * (math.log(dim) - math.log(100))))


TRUTH = 100 * 9 ** (1 / 12)


def measure(runner: FakeRunner, **options):
    return threshold(
        fake_problem(), "random", "loss<=0.1", runner=runner, design="binary", **options
    )


def test_finds_the_threshold_and_keeps_the_trials() -> None:
    runner = FakeRunner(logistic)
    found = measure(runner, ratio=1.25)
    assert found.status == "ok"
    assert found.low <= TRUTH <= found.high
    assert found.ratio <= 1.25
    assert found.trials == len(found.records) == sum(c.total for c in found.counts)
    assert found.ambient_dim == AMBIENT
    assert all(r.trial.spec["stop_at"] == "loss<=0.1" for r in found.records)


def test_at_a_learning_rate_that_is_given_nothing_has_changed() -> None:
    """Printed by the same binary design before learning rates were searched, but for one number.

    The interval's low end was 105 then: which trials there are is the same to the bit.
    """
    runner = FakeRunner(logistic)
    problem = fake_problem()
    found = threshold(problem, "random", "loss<=0.1", spec=SPEC, runner=runner, ratio=1.25)
    assert (found.value, found.low, found.high, found.trials) == (112, 104, 127, 56)
    plans = [[list(pair) for pair in plan] for plan in runner.plans]
    assert digest(plans) == "469ed7e706adb9bbef5beefeb0fdd7bc"
    assert digest([r.key for r in found.records]) == "015aac8655a59560e68ca23067c8f084"
    assert (found.design, found.lr, found.note) == ("binary", SPEC.lr, "")


def test_every_trial_has_its_own_repeat() -> None:
    runner = FakeRunner(logistic)
    measure(runner, width=5)
    repeats = [repeat for plan in runner.plans for _, repeat in plan]
    assert repeats == list(range(len(repeats)))
    assert {len(plan) for plan in runner.plans} == {5}


def test_the_same_call_makes_the_same_plans() -> None:
    one, two, other = FakeRunner(logistic), FakeRunner(logistic), FakeRunner(logistic)
    assert measure(one, seed=3) == measure(two, seed=3)
    measure(other, seed=4)
    assert one.plans == two.plans
    assert one.plans != other.plans


def test_success_without_training_is_zero() -> None:
    class Offset(FakeRunner):
        def one(self, dim, repeat, spec, seed):
            return record(dim, repeat, (0.05,), spec=spec, outcome=Outcome.STOPPED, steps=0)

    found = measure(Offset(logistic))
    assert (found.status, found.value, found.low) == ("below range", 0, 0)
    assert found.high <= 2


def test_divergence_is_failure() -> None:
    class Diverging(FakeRunner):
        def one(self, dim, repeat, spec, seed):
            return record(
                dim, repeat, (2.3, math.nan), spec=spec, outcome=Outcome.DIVERGED, steps=3
            )

    found = measure(Diverging(logistic))
    assert (found.status, found.low, found.high) == ("above range", AMBIENT, None)


def test_limits_are_kept() -> None:
    found = measure(FakeRunner(logistic), max_trials=10, width=8)
    assert (found.trials, found.status) == (10, "not converged")
    narrow = FakeRunner(logistic)
    found = measure(narrow, min_dim=30, max_dim=60)
    assert found.status == "above range"
    assert all(30 <= dim <= 60 for plan in narrow.plans for dim, _ in plan)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"max_dim": AMBIENT + 1}, f"max_dim: expected at most D = {AMBIENT}"),
        ({"min_dim": 0}, "1 <= min_dim"),
        ({"width": 0}, "width"),
        ({"ratio": 1}, "ratio"),
        ({"delta": 2}, "delta"),
        ({"confidence": 0}, "confidence"),
    ],
)
def test_bad_arguments_are_refused_before_any_trial(options: dict, text: str) -> None:
    runner = FakeRunner(logistic)
    with pytest.raises(InputError, match=text):
        measure(runner, **options)
    assert runner.plans == []


def test_prices_are_mean_steps_by_outcome() -> None:
    good, bad = (2.3, 0.05), (2.3, 2.0)
    from subspan.goals import LossBelow

    goal = LossBelow(0.1)
    trials = [record(8, 0, good, steps=100), record(8, 1, good, steps=200)]
    assert _prices(trials, goal) == {True: 150, False: 300}
    trials.append(record(8, 2, bad, steps=STEPS))
    assert _prices(trials, goal) == {True: 150, False: STEPS}
    assert _prices([], goal) == {True: 0.5, False: 1.0}
    assert _prices([record(8, 0, good, steps=0)], goal) == {True: 1.0, False: 1.0}
