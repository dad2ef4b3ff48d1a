"""`threshold` at the best learning rate: what is trained, what is told, what is said of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from synthetic import record

import subspan as ss
from subspan.errors import InputError
from subspan.report.response_surface import draw_response_surface, response_surface_data
from subspan.report.success_curve import success_curve_data
from subspan.spec import TrainSpec
from subspan.streams import normals
from subspan.success.graded import Scale
from subspan.success.joint_design import JointDesign
from subspan.success.posterior import Count
from subspan.trials.lr_scale import LrScale
from subspan.trials.runner import TrialRunner
from subspan.trials.stores.sql import Store
from subspan.trials.trial import Outcome

D = 2410
STEPS = 400
SPEC = TrainSpec(steps=STEPS, lr="auto")
NOISE = 0.08


class Weights:
    """A problem as far as `threshold` looks at it: ‖w₀‖ = 2, D = 2,410."""

    ambient_dim = D
    train_size = 100
    default_spec = TrainSpec(steps=STEPS, lr=0.001)

    def init(self, seed: int) -> torch.Tensor:
        start = torch.zeros(D)
        start[seed] = 2.0
        return start


@dataclass
class World:
    """Trials whose loss is known, with v = log(ρ/best):

    log(0.1/loss) = slope·log(d/at) − log cosh(cost·v) + noise, so that d* at the best lr is
    at·exp(1.28·NOISE/slope).
    """

    at: float = 200.0
    best: float = 0.5
    slope: float = 1.5
    cost: float = 0.7
    beyond: float = 0.99  # of the level that it was to stop at, where a trial stopped
    plans: list[Any] = field(default_factory=list)

    @property
    def truth(self) -> float:
        return self.at * math.exp(1.28 * NOISE / self.slope)

    def run_each(self, method: Any, plan: Any, *, seed: int) -> list[Any]:
        self.plans.append(plan)
        return [self.one(*pair, spec, seed) for pair, spec in plan]

    run = None

    def z(self, dim: int, lr: float) -> float:
        v = math.log(lr * math.sqrt(dim) / 2 / self.best)
        return self.slope * math.log(dim / self.at) - math.log(math.cosh(self.cost * v))

    def one(self, dim: int, repeat: int, spec: TrainSpec, seed: int) -> Any:
        if dim == 0:
            return record(0, repeat, (2.3,), spec=spec, steps=0)
        z = self.z(dim, spec.lr) + NOISE * normals(seed, "world", dim, repeat, count=1)[0]
        loss = 0.1 * math.exp(-z)
        level = spec.stop_at.level
        if loss <= level:
            return record(
                dim, repeat, (2.3, level * self.beyond), spec=spec, steps=STEPS // 4,
                outcome=Outcome.STOPPED,
            )  # fmt: skip
        return record(dim, repeat, (2.3, loss), spec=spec, steps=STEPS)


def measure(world: World, **options: Any) -> Any:
    return ss.threshold(Weights(), "random", "loss<=0.1", runner=world, **options)


@pytest.fixture(scope="module")
def found() -> Any:
    return measure(World())


def test_the_threshold_at_the_best_learning_rate_is_found(found: Any) -> None:
    assert found.status == "ok"
    assert found.low <= World().truth <= found.high <= 1.5 * found.low
    assert found.design == "joint"
    at_best = 0.5 * 2 / math.sqrt(found.value)
    assert found.lr_low <= found.lr <= found.lr_high
    assert at_best / 2.5 <= found.lr <= 2.5 * at_best
    assert "at the best learning rate" in str(found)
    assert f"{found.trainings:.1f} trainings" in str(found)
    assert found.lr_at_edge is None


def test_learning_rates_said_to_be_as_good_are_those_of_the_figure(found: Any) -> None:
    """d* with one of them is at most a tenth above the best; an interval of dims is 4 % wide."""
    serves = found.response.threshold_at(np.array([found.lr_low, found.lr_high]), 0.95)[0]
    assert (serves <= 1.1 * 1.05 * found.value).all()
    beyond = found.response.threshold_at(np.array([found.lr_low / 3, 3 * found.lr_high]), 0.95)[0]
    assert (beyond > 1.1 * found.value).all()


def test_how_far_beyond_its_stop_a_trial_was_found_changes_nothing() -> None:
    """That is the step between two evaluations; taken as scatter it would cost many trials."""
    near, far = (measure(World(slope=4.0, beyond=beyond)) for beyond in (0.99, 0.05))
    assert any(record.outcome is Outcome.STOPPED for record in far.records)
    assert [record.dim for record in near.records] == [record.dim for record in far.records]
    assert (near.value, near.low, near.high) == (far.value, far.low, far.high)


def test_cost_is_the_steps_taken_over_those_of_a_full_training(found: Any) -> None:
    assert found.trainings == pytest.approx(sum(r.steps for r in found.records) / STEPS)
    assert 3 < found.trainings < 20


def test_each_trial_is_a_plain_one_with_the_learning_rate_it_was_asked_with(found: Any) -> None:
    lrs = {r.trial.spec["lr"] for r in found.records}
    assert len(lrs) > 3
    assert all(isinstance(lr, float) for lr in lrs)
    assert [r.trial.repeat for r in found.records] == list(range(len(found.records)))
    # Trials stop well above the goal: at 0.1/e.
    assert {r.trial.spec["stop_at"] for r in found.records} == {"loss<=0.0367879"}
    for r in found.records:
        plain = TrainSpec(
            steps=STEPS, lr=r.trial.spec["lr"], stop_at="loss<=0.0367879", eval_every="tenth"
        )
        assert r.trial.spec == plain.to_json()


def test_the_same_call_asks_the_same_and_goes_on_from_what_is_known(found: Any) -> None:
    again = World()
    assert measure(again) == found
    assert {len(plan) for plan in again.plans} == {2}
    assert measure(World(), spec=SPEC.replace(eval_every="tenth")) == found  # what None means


def test_success_that_falls_with_d_has_no_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = [Count(100, 0, 3), Count(260, 9, 9), Count(2000, 0, 9)]
    monkeypatch.setattr(JointDesign, "near_counts", lambda self: counts)
    found = measure(World())
    assert (found.status, found.value, found.low, found.high) == ("not monotone", None, None, None)
    assert "9 of 9 trials" in found.seen
    assert "0 of 9 from 2,000 on" in found.seen
    assert "max_dim below the fall" in found.remedy


def test_above_the_range_is_said_with_trials_there_that_fail() -> None:
    found = measure(World(at=50_000.0))
    assert (found.status, found.value, found.low, found.high) == ("above range", None, D, None)
    assert found.remedy == "Give more steps or a weaker goal."  # no larger max_dim than D
    assert sum(r.dim == D for r in found.records) >= 3
    assert "met the goal" in found.seen
    assert "more steps" in found.remedy


def test_trials_lost_whatever_d_is_are_a_level_with_what_to_do() -> None:
    @ss.trainable(name="loses three of ten", max_dim=2410, lr=(1e-3, 1.0))
    def training(trial: ss.Trial) -> dict[str, float]:
        rng = np.random.default_rng([trial.seed, trial.dim])
        if rng.random() < 0.3:
            return {"loss": 2.3 * math.exp(0.05 * rng.standard_normal())}
        up = 2.5 * math.log(trial.dim / 60) - 1.2 * (math.log10(trial.lr) + 1.5) ** 2
        return {"loss": 0.1 * math.exp(-up - 0.35 * rng.standard_normal())}

    found = ss.threshold(training, goal="loss<=0.1", seed=1, workers=1, max_trials=60)
    assert (found.status, found.value) == ("never reaches", None)
    assert found.level is not None
    assert found.level.low < 0.7 < found.level.high < 0.9
    assert "got nowhere where others do" in str(found)
    assert "larger delta" in found.remark


def test_below_the_range_is_said_with_trials_there_that_succeed() -> None:
    found = measure(World(at=5.0), min_dim=60)
    assert (found.status, found.value, found.high) == ("below range", 60, 60)
    assert sum(r.dim <= 66 for r in found.records) >= 3


def test_a_best_rate_beyond_those_searched_is_said_with_what_to_do() -> None:
    found = measure(World(best=40.0, cost=0.9, at=5.0), max_trials=30)
    assert found.lr_at_edge == "high"
    assert "beyond it d* may be smaller" in found.seen
    assert "lr_range=(" in found.remedy


def test_the_rates_searched_can_be_given() -> None:
    world = World(best=40.0, cost=0.9, at=50.0)
    found = measure(world, lr_range=(0.1, 100.0))
    assert found.status == "ok"
    assert found.low <= world.truth <= found.high
    assert all(0.1 <= r.trial.spec["lr"] <= 100 for r in found.records)


def test_diverged_and_failed_trials_are_told_as_such() -> None:
    class Rough(World):
        def one(self, dim: int, repeat: int, spec: TrainSpec, seed: int) -> Any:
            if repeat == 1:
                return record(dim, repeat, (2.3,), spec=spec, outcome=Outcome.FAILED, steps=1)
            if spec.lr * math.sqrt(dim) / 2 > 1.5:
                return record(
                    dim, repeat, (2.3, math.nan), spec=spec, outcome=Outcome.DIVERGED, steps=3
                )
            return super().one(dim, repeat, spec, seed)

    world = Rough()
    found = measure(world)
    assert found.status == "ok"
    assert found.low <= world.truth <= found.high
    assert found.trials == len(found.records)  # one that failed counts, as a miss
    assert found.endings.failed == 1


def test_the_budget_decides_where_twice_the_steps_move_the_threshold() -> None:
    class Slow(World):
        def one(self, dim: int, repeat: int, spec: TrainSpec, seed: int) -> Any:
            self.at = 200.0 * STEPS / spec.steps
            return super().one(dim, repeat, spec, seed)

    found = measure(Slow(), check_budget=True)
    assert found.status == "the budget decides"
    assert found.doubled.value < found.low
    assert "With twice the steps" in str(found)
    once = found.trainings - 2 * found.doubled.trainings
    assert once == pytest.approx(sum(r.steps for r in found.records) / STEPS)
    steady = measure(World(), check_budget=True)
    assert steady.status == "ok"
    assert "With twice the steps" in str(steady)


def test_what_contradicts_is_refused() -> None:
    for options, text in (
        ({"spec": SPEC, "design": "binary"}, "design: expected 'joint'"),
        ({"spec": TrainSpec(lr=0.1), "lr_range": (0.1, 1.0)}, "lr_range"),
        ({"lr_range": (1.0, 0.1)}, "0 < low < high"),
        ({"design": "both"}, "design"),
        ({"spec": TrainSpec("lbfgs"), "design": "joint"}, "lbfgs, which has no learning rate"),
    ):
        with pytest.raises(InputError, match=text):
            measure(World(), **options)


def test_trials_are_never_trained_at_auto() -> None:
    problem = ss.problems.load("digits-mlp", subset=20)
    with (
        TrialRunner(problem, workers=1) as runner,
        pytest.raises(InputError, match="lr: expected a number, got 'auto'"),
    ):
        runner.run(ss.RandomAffine(), [(4, 0)], spec=SPEC, seed=0)


def test_a_metric_without_a_range_has_the_binary_design_and_says_so() -> None:
    @ss.trainable(name="reward", max_dim=500, lr=(1e-3, 1e-1))
    def rewarding(trial: Any) -> dict[str, float]:
        return {"reward": -5.0 + 10 * (trial.dim >= 40)}

    found = ss.threshold(rewarding, goal="reward>=-1", workers=1)
    assert (found.design, found.status) == ("binary", "ok")
    assert "metrics.register('reward'" in found.note
    assert {r.trial.spec["lr"] for r in found.records} == {0.01}


def test_scales_come_from_the_range_of_the_metric() -> None:
    def of(goal: str) -> tuple[str, float]:
        scale = Scale.of(ss.parse_goal(goal))
        return scale.kind, scale.value_at(1.0)

    e = math.e
    assert of("loss<=0.1") == ("log", pytest.approx(0.1 / e))
    assert of("accuracy>=0.9") == ("logit", pytest.approx(9 * e / (1 + 9 * e)))
    assert of("error<=0.1") == ("logit", pytest.approx(1 / (1 + 9 * e)))
    assert of("r2>=0.9") == ("gap", pytest.approx(1 - 0.1 / e))
    assert of("perplexity<=20") == ("log", pytest.approx(20 / e))
    assert of("mine<=3") == ("log", pytest.approx(3 / e))
    for goal in ("loss<=0", "accuracy>=1", "error<=0", "mine>=3", "mine<=-3"):
        with pytest.raises(InputError, match="inside the range"):
            of(goal)


def test_a_function_is_searched_in_the_range_that_it_declares(tmp_path: Any) -> None:
    @ss.trainable(name="loop", max_dim=1000, lr=(1e-3, 10.0))
    def loop(trial: Any) -> dict[str, float]:
        noise = 0.05 * normals(trial.seed, "loop", count=1)[0]
        z = 1.5 * math.log(max(trial.dim, 1) / 60) - 0.6 * abs(math.log(trial.lr / 0.3)) + noise
        odds = 9 * math.exp(min(z, 20))
        return {"val:accuracy": odds / (1 + odds)}

    store = tmp_path / "runs.db"
    first = ss.threshold(loop, goal="val:accuracy>=0.9", workers=1, store=store, max_trials=4)
    assert (first.trials, first.status) == (4, "not converged")
    found = ss.threshold(loop, goal="val:accuracy>=0.9", workers=1, store=store)
    assert found.records[:4] == first.records  # what was done is not done again
    truth = 60 * math.exp(1.28 * 0.05 / 1.5)
    assert found.low <= truth <= found.high
    assert found.trainings == pytest.approx(len(found.records))
    assert all(1e-3 <= r.trial.spec["lr"] <= 10 for r in found.records)
    with Store(store) as kept:
        assert len(list(kept.records("loop"))) == len(found.records)
    plain = ss.threshold(loop, goal="val:accuracy>=0.9", workers=1, spec=ss.LoopSpec(0.3))
    assert plain.design == "binary"


def test_a_goal_met_untrained_is_zero() -> None:
    @ss.trainable(name="free", max_dim=50, lr=(1e-3, 10.0))
    def free(trial: Any) -> dict[str, float]:
        return {"accuracy": 0.99}

    found = ss.threshold(free, goal="accuracy>=0.9", workers=1)
    assert (found.status, found.value, found.low) == ("below range", 0, 0)


def test_at_one_learning_rate_how_good_trials_get_can_be_used_too() -> None:
    class AtOne(World):
        def z(self, dim: int, lr: float) -> float:
            return self.slope * math.log(dim / self.at)

    world = AtOne()
    found = measure(world, spec=TrainSpec(steps=STEPS, lr=0.02), design="joint")
    assert found.status == "ok"
    assert found.low <= world.truth <= found.high <= 1.5 * found.low
    assert (found.lr, found.lr_low) == (0.02, None)
    assert {r.trial.spec["lr"] for r in found.records} == {0.02}
    assert "best learning rate" not in str(found)
    assert f"at lr = 0.02, {found.trainings:.1f} trainings" in str(found)


def test_the_figure_holds_the_trials_and_the_level(found: Any) -> None:
    data = response_surface_data(found)
    assert sorted(data.dims) == sorted(r.dim for r in found.records)
    assert data.stopped.sum() == sum(r.outcome is Outcome.STOPPED for r in found.records)
    assert (data.low <= data.middle).all()
    assert (data.middle <= data.high).all()
    # The metric at the best lr passes the goal near d*.
    assert abs(math.log(data.middle[abs(data.grid - found.value).argmin()] / 0.1)) < 0.3
    best = abs(data.lr_grid - found.lr).argmin()
    assert found.low / 1.1 <= data.contour[best] <= found.high * 1.1
    figure = draw_response_surface(data)
    assert len(figure.axes) >= 2
    curve = success_curve_data(found)
    assert curve.fit[abs(curve.grid - found.value).argmin()] == pytest.approx(0.9, abs=0.15)
    with pytest.raises(InputError, match="joint design"):
        response_surface_data(ss.threshold(ss.problems.load("quadratic"), "random", "loss<=0.1"))


def test_scales_of_a_problem() -> None:
    adam = LrScale.of(Weights(), "adam")  # type: ignore[arg-type]
    assert adam.unit(100) == pytest.approx(0.2)
    assert LrScale.of(Weights(), "sgd").unit(241) == 10.0  # type: ignore[arg-type]

    class Pretrained(Weights):
        def init(self, seed: int) -> torch.Tensor:
            return torch.ones(D)

    assert LrScale.of(Pretrained(), "adam").low < adam.low  # type: ignore[arg-type]


def test_digits_end_to_end(tmp_path: Any) -> None:
    """200 rows, 20 epochs: d* for accuracy ≥ 0.8 at the best lr, and the store it leaves."""
    problem = ss.problems.load("digits-mlp", subset=200)
    spec = TrainSpec(lr="auto", epochs=20, batch_size=50, schedule="linear")
    call = dict(spec=spec, store=tmp_path / "runs.db", workers=1, ratio=2.0)
    found = ss.threshold(problem, "random", "accuracy>=0.8", **call)
    assert found.status == "ok"
    assert found.experiment.spec["lr"] == "auto"
    again = ss.threshold(problem, "random", "accuracy>=0.8", **call)
    assert again == found
    # A trial of it is that of `run` with its learning rate: the same key, so it is found there.
    one = found.records[0]
    (same,) = ss.run(
        problem, "random", [one.dim], 1, TrainSpec.from_json(one.trial.spec), workers=1
    )
    assert same.key == one.key
    assert same.curve == one.curve


def test_where_no_trial_has_a_finite_metric_the_sentence_says_so() -> None:
    @ss.trainable(name="nan", max_dim=40, version="1", lr=(1e-3, 1e-1))
    def nowhere(trial: Any) -> dict[str, float]:
        return {"val:accuracy": math.nan}

    found = ss.threshold(nowhere, goal="val:accuracy>=0.9", executor="inline", max_trials=9)
    assert found.value is None
    assert f"{found.trials} of {found.trials} ended without a finite metric" in str(found)
    assert "as good" not in str(found)
    assert found.as_good == ""
