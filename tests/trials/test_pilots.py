"""`lr="auto"` on a grid: the learning rate is the best, chosen by trials that are not measured."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import subspan as ss
from subspan.errors import InputError
from subspan.report import experiments
from subspan.spec import FINAL_LOSS, LrChoice, TrainSpec
from subspan.trials.function import FunctionTrainable, LoopSpec
from subspan.trials.pilots import chosen_lrs
from subspan.trials.stores.sql import Store

AUTO = LoopSpec(lr="auto")
ENDS = (1e-3, 1.024)  # eleven learning rates, in steps of 2


def world(
    name: str = "known", best: float = 0.03, *, cost: float = 0.5, calls: list[Any] | None = None
) -> FunctionTrainable:
    """Loss 0.1·(100/d)·exp(cost·log²(lr/best)): at every d the same lr is best."""

    @ss.trainable(name=name, max_dim=1000, lr=ENDS)
    def train(trial: Any) -> dict[str, float]:
        if calls is not None:
            calls.append((trial.dim, trial.lr, trial.seed))
            if len(calls) == 15:
                raise KeyboardInterrupt
        loss = 0.1 * 100 / trial.dim * math.exp(cost * math.log(trial.lr / best) ** 2)
        return {"loss": loss, "accuracy": min(1.0, 1 - loss)}

    return train


def run(function: FunctionTrainable, dims: list[int], **options: Any) -> list[Any]:
    return ss.run(
        function, dims=dims, **{"repeats": 2, "spec": AUTO, "workers": 1, "store": None, **options}
    )


@pytest.mark.parametrize("best", [0.0021, 0.03, 0.5])
def test_it_is_the_best_of_the_grid(best: float) -> None:
    grid = [ENDS[0] * 2**i for i in range(11)]
    nearest = min(grid, key=lambda lr: abs(math.log(lr / best)))
    for record in run(world(best=best), [50, 200]):
        assert record.trial.spec["lr"] == pytest.approx(nearest, rel=0.01)


@pytest.mark.parametrize(("cost", "low", "high"), [(0.01, 0, 8), (0.15, 3, 5), (0.5, 4, 4)])
def test_how_flat_it_is_follows_from_the_losses(cost: float, low: int, high: int) -> None:
    """At most a tenth above the best: |log(lr/best)| ≤ √(log 1.1 / cost), 4.5, 1.2, 0.6 octaves."""
    (record,) = run(world(best=ENDS[0] * 2**4, cost=cost), [50], repeats=1)
    choice = LrChoice(**record.trial.spec["lr_choice"])
    assert choice.low == pytest.approx(ENDS[0] * 2**low, rel=0.01)
    assert choice.high == pytest.approx(ENDS[0] * 2**high, rel=0.01)


def test_the_effort_is_the_same_at_every_dim_and_for_every_method_and_is_charged() -> None:
    table = ss.compare(
        [world("one", 0.0011), world("two", 0.05)], dims=[20, 90], repeats=2, spec=AUTO, workers=1
    )
    chosen = [one for own in table.learning_rates.values() for one in own]
    assert [(c.choice.pilots, c.choice.trainings, c.choice.by) for c in chosen] == (
        [(11, 11.0, FINAL_LOSS)] * 4
    )
    assert chosen[0].choice.at_edge == "low"
    assert chosen[2].choice.at_edge is None
    assert chosen[2].lr == pytest.approx(0.064, rel=0.01)
    assert "44 pilot trials (44.0 full trainings)" in table.footer
    assert set(table.to_json()["learning_rates"]) == {"one", "two"}


def test_pilots_are_kept_and_have_draws_that_no_measured_trial_has(tmp_path: Path) -> None:
    with Store(tmp_path / "t.db") as store:
        measured = run(world(), [50, 200], store=store)
        every = list(store.records())
        pilots = [r for r in every if LrChoice(**r.trial.spec["lr_choice"]).is_pilot]
        assert len(pilots) == 22
        assert len(every) == 22 + len(measured)
        assert not {r.trial.seed for r in pilots} & {r.trial.seed for r in measured}
        (shown,) = experiments(store)  # what the report counts
        assert {r.key for r in shown.records} == {r.key for r in measured}
        assert shown.experiment.spec["lr"] == "auto"
        assert f"best lr for {FINAL_LOSS}" in shown.training


def test_cut_off_and_begun_again_nothing_is_trained_twice(tmp_path: Path) -> None:
    calls: list[Any] = []
    with Store(tmp_path / "t.db") as store, pytest.raises(KeyboardInterrupt):
        run(world(calls=calls), [50, 200], store=store)
    calls.pop()  # the one that was cut off
    with Store(tmp_path / "t.db") as store:
        calls.append(None)  # so that none of the rest is the fifteenth
        again = run(world(calls=calls), [50, 200], store=store)
    once = run(world(), [50, 200])
    assert [r.key for r in again] == [r.key for r in once]
    assert max(Counter(calls).values()) == 1
    with Store(tmp_path / "t.db") as store:
        before = len(calls)
        run(world(calls=calls), [50, 200], store=store)
    assert len(calls) == before


def test_a_goal_is_served_and_of_equals_the_one_amid_them_is_taken() -> None:
    @ss.trainable(name="steps", max_dim=100, lr=ENDS)
    def train(trial: Any) -> dict[str, float]:
        return {"accuracy": 1.0 if 0.004 < trial.lr < 0.3 else 0.5, "loss": trial.lr}

    by_loss, by_goal = (
        run(train, [10], repeats=1, goal=goal)[0].trial.spec for goal in (None, "accuracy>=0.9")
    )
    assert by_loss["lr"] == ENDS[0]
    assert by_goal["lr"] == pytest.approx(0.064, rel=0.01)
    assert by_goal["lr_choice"]["by"] == "accuracy>=0.9"
    assert by_goal["lr_choice"]["at_edge"] is None


def test_a_surface_is_counted_at_each_dims_own_learning_rate() -> None:
    problem = ss.problems.load("digits-mlp", subset=100)
    spec = TrainSpec(lr="auto", steps=20, batch_size=50)
    trials = ss.run(problem, "random", [4, 64], 2, spec, goal="loss<=1.5", workers=1)
    lrs = {r.dim: r.trial.spec["lr"] for r in trials}
    norm = float(problem.init(0).norm())
    for dim, lr in lrs.items():
        rho = lr * math.sqrt(dim) / norm
        assert min(abs(math.log2(rho / 0.0125) - i) for i in range(9)) < 0.02
    surface = ss.success_surface(trials, "loss<=1.5")
    assert [(c.dim, c.trials) for c in surface.cells] == [(4, 2), (64, 2)]
    assert {one.dim: one.lr for one in surface.learning_rates} == lrs
    assert {one.choice.pilots for one in chosen_lrs(trials)} == {10}
    alone = ss.run(problem, "random", [4], 2, spec.replace(lr=lrs[4]), workers=1)
    for given, chosen in zip(alone, trials, strict=False):
        assert given.curve == chosen.curve
        assert given.key != chosen.key
        assert "lr_choice" not in given.trial.spec


def test_what_cannot_be_chosen_is_refused() -> None:
    @ss.trainable(name="own", max_dim=100)
    def plain(trial: Any) -> dict[str, float]:
        return {"reward": 1.0}

    @ss.trainable(name="silent", max_dim=100, lr=ENDS)
    def silent(trial: Any) -> dict[str, float]:
        return {"reward": 1.0}

    with pytest.raises(InputError, match="lr: expected a function that declares"):
        run(plain, [10])
    with pytest.raises(InputError, match=r"goal: .*no train loss among train:reward"):
        run(silent, [10])
    assert run(silent, [10], goal="reward>=0")
    assert run(plain, [10], spec=LoopSpec(lr=0.1))
