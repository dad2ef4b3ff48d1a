"""The design over (d, lr): its laws, and its cost and coverage where the truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from lr_worlds import FAMILIES, BankWorld, Family, World, oracle

from subspan.errors import InputError
from subspan.success.graded import Scale
from subspan.success.joint_design import ENOUGH, JointDesign
from subspan.success.joint_estimate import JointEstimate
from subspan.trials.lr_scale import LrScale

Z = Scale(0.0, higher_is_better=True, kind="linear")
RHO = LrScale.adam(1.0)  # worlds speak of ρ: at ‖w₀‖ = 1 the lr is ρ/√d


def measure(
    world: World, seed: int, *, ratio: float = 1.5, batch: int = 2, most: int = 60
) -> JointEstimate:
    """Run the design to its end in a world."""
    rng = np.random.default_rng([seed, 7])
    design = JointDesign(Z, RHO, world.max_dim, min_dim=world.min_dim, ratio=ratio, max_trials=most)
    while not design.done:
        for dim, lr in design.ask(batch):
            log_rho = math.log(lr * math.sqrt(dim))
            z = world.draw(dim, log_rho, rng)
            if z <= ENOUGH or not isinstance(world, BankWorld):
                design.tell(dim, lr, z)
                continue
            level = world.level
            odds = level / (1 - level) * math.exp(ENOUGH) if world.metric == "accuracy" else 0.0
            enough = level * math.exp(-ENOUGH) if world.metric == "loss" else odds / (1 + odds)
            design.tell(dim, lr, ENOUGH, "stopped", world.share(dim, log_rho, enough))
    return design.estimate()


def told(rows: list[tuple[int, float, float]], **options: float) -> JointDesign:
    design = JointDesign(Z, RHO, 10_000, **options)
    for dim, rho, z in rows:
        design.tell(dim, rho / math.sqrt(dim), z)
    return design


ROWS = [(450, 0.6, -0.3), (2000, 0.6, 0.9), (800, 1.2, 0.25), (800, 0.3, 0.1), (600, 0.6, 0.05)]


def test_the_same_tells_give_the_same_asks_in_any_order() -> None:
    one, other = told(ROWS), told(ROWS[::-1])
    assert one.ask(3) == other.ask(3)
    assert one.estimate() == other.estimate()
    assert one.ask(2) == one.ask(3)[:2]


def test_asks_lie_in_range_and_a_batch_is_not_one_trial_many_times() -> None:
    design = JointDesign(Z, LrScale.declared(1e-4, 1e-1), 5000, min_dim=3)
    asked = design.ask(6)
    assert len(set(asked)) >= 3
    for dim, lr in asked:
        assert 3 <= dim <= 5000
        assert 0.99e-4 <= lr <= 1.01e-1


def test_trials_under_way_are_reckoned_with() -> None:
    design = told(ROWS)
    asked = design.ask(4)
    assert design.ask(2, beside=asked[:2]) == asked[2:]
    assert design.ask(1, beside=asked[:1]) != design.ask(1)


def test_a_sharp_peak_is_looked_for_between_the_points_of_the_grid() -> None:
    grid = np.linspace(math.log(RHO.low), math.log(RHO.high), 13)
    off = [abs(grid - math.log(ask.lr * math.sqrt(ask.dim))).min() for ask in told(ROWS * 2).ask(4)]
    assert max(off) > 0.05  # rounding makes 0.005


def test_what_a_trial_cost_is_summed() -> None:
    design = JointDesign(Z, RHO, 100)
    design.tell(10, 0.1, -0.5)
    design.tell(50, 0.1, 1.2, "stopped", share=0.25)
    design.tell(90, 0.9, None, "diverged", share=0.1)
    assert design.estimate().trainings == pytest.approx(1.35)
    assert design.trials == 3


def test_enough_is_the_value_beyond_which_a_trial_may_stop() -> None:
    design = JointDesign(Scale(0.1, False, "log"), RHO, 100)
    assert design.enough == pytest.approx(0.1 * math.exp(-ENOUGH))


@pytest.mark.parametrize(
    ("change", "named"),
    [({"ratio": 1.0}, "ratio"), ({"max_trials": 0}, "max_trials"), ({"confidence": 95}, "conf")],
)
def test_arguments_out_of_range_are_refused(change: dict[str, float], named: str) -> None:
    with pytest.raises(InputError, match=named):
        JointDesign(Z, RHO, 100, **change)


def test_what_is_told_is_checked() -> None:
    design = JointDesign(Z, RHO, 100)
    for dim, lr, named in ((0, 0.1, "dim"), (101, 0.1, "dim"), (5, 0.0, "lr"), (5, math.inf, "lr")):
        with pytest.raises(InputError, match=named):
            design.tell(dim, lr, 0.0)
    with pytest.raises(InputError, match="n:"):
        design.ask(0)
    with pytest.raises(InputError, match="lr"):
        LrScale.declared(0.1, 0.01)


def test_counts_that_contradict_the_surface_hold_the_verdict_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The surface puts d* near 650; these counts put it between 2,000 and 9,000."""
    from subspan.success.posterior import Count

    design = told(ROWS * 3, ratio=3.0)
    assert design.estimate().status == "ok"
    counts = [Count(700, 0, 20), Count(2000, 1, 20), Count(9000, 20, 20)]
    monkeypatch.setattr(design, "near_counts", lambda: counts)
    held = design.estimate()
    assert held.status == "not converged"
    assert held.low <= 700
    assert held.high >= 2000


def test_failures_far_above_the_threshold_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from subspan.success.posterior import Count

    design = told(ROWS * 3, ratio=3.0)
    counts = [Count(500, 0, 3), Count(700, 6, 6), Count(5000, 0, 6)]
    monkeypatch.setattr(design, "near_counts", lambda: counts)
    assert design.estimate().status == "not monotone"


LOST = [(900, 0.6, -3.5), (1100, 0.6, -3.2), (700, 0.5, -3.9), (1000, 0.7, -3.1)]


def test_a_trial_lost_at_a_good_learning_rate_asks_for_more() -> None:
    """At δ = 0.1 one of ten leaves a share of lost trials of up to 45 %; one of 48 does not."""
    assert told(ROWS * 3, ratio=3.0).estimate().status == "ok"
    assert told(ROWS * 3 + LOST[:1], ratio=3.0).estimate().status == "not converged"
    assert told(ROWS * 10 + LOST[:1], ratio=3.0).estimate().status == "ok"


def test_trials_lost_too_often_at_any_d_are_a_level_and_no_threshold() -> None:
    world = Family("dead trials", 2)
    found = measure(world, 2)
    assert (found.status, found.value, found.high) == ("never reaches", None, None)
    assert found.low == world.max_dim
    assert found.level is not None
    assert found.level.high < 0.9


def test_collapse_at_a_learning_rate_too_large_is_no_lost_trial() -> None:
    collapsed = [(d, rho, -4.0) for d in (400, 900, 2000) for rho in (10.0, 20.0)]
    design = told(ROWS * 3 + collapsed, ratio=3.0)
    assert design.posterior.lapses(design.told)[0] == 0
    assert design.estimate().status == "ok"


def test_the_edge_of_the_learning_rates_is_named() -> None:
    rows = [
        (d, rho, math.log(d / 300) + 0.9 * math.log(rho / 3.2))
        for d in (150, 300, 600)
        for rho in (0.2, 0.8, 3.2)
    ]
    assert told(rows).estimate().lr_at_edge == "high"
    assert told(ROWS * 2).estimate().lr_at_edge is None


def test_the_estimate_says_what_it_cost() -> None:
    text = str(told(ROWS).estimate())
    assert "at the best learning rate" in text
    assert "5.0 trainings" in text


@pytest.mark.parametrize("kind", ["the model", "cusp"])
def test_a_known_threshold_is_found(kind: str) -> None:
    world = Family(kind, 2)
    world.sd, world.slope = 0.08, 1.2
    truth, _ = oracle(world)
    found = measure(world, 2)
    assert found.status == "ok"
    assert found.low - 1 <= truth <= found.high + 1
    assert found.high <= 1.5 * found.low
    assert found.trainings <= 20


def test_a_plateau_below_the_level_is_above_the_range() -> None:
    assert measure(Family("plateau below the level", 2), 2).status == "above range"


BANKED = [("digits-mlp", "loss", 0.1), ("mnist-mlp", "accuracy", 0.9)]


def test_real_trials_replayed() -> None:
    world = BankWorld(*BANKED[1])
    truth, _ = oracle(world)
    found = measure(world, 0)
    assert found.low <= truth <= found.high
    assert found.trainings <= 20


@pytest.mark.slow
@pytest.mark.parametrize("bank", [*BANKED, ("mnist-conv2", "accuracy", 0.9)])
@pytest.mark.parametrize("ratio", [1.5, 1.25])
def test_coverage_and_cost_on_real_trials(bank: tuple[str, str, float], ratio: float) -> None:
    """At a true 95 %, fewer than 34 of 40 has probability 0.6 %."""
    world = BankWorld(*bank)
    truth, _ = oracle(world)
    found = [measure(world, seed, ratio=ratio) for seed in range(40)]
    assert sum(e.low <= truth <= (e.high or math.inf) for e in found) >= 35
    most = 10 if bank[0] != "mnist-conv2" else 20
    assert np.median([e.trainings for e in found]) <= most * (1.0 if ratio == 1.5 else 1.6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", FAMILIES)
def test_coverage_on_synthetic_surfaces(kind: str) -> None:
    """At a true 95 %, fewer than 33 of 40 has probability 0.2 %."""
    held = 0
    for seed in range(40):
        world = Family(kind, seed)
        truth, _ = oracle(world)
        e = measure(world, seed)
        inside = e.low - 1 <= truth <= (e.high or math.inf) + 1
        held += e.high is None if math.isinf(truth) else inside
    assert held >= 33
