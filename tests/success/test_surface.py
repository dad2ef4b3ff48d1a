from __future__ import annotations

import json

import pytest
from synthetic import SPEC, grid, record

from subspan.errors import InputError
from subspan.goals import AccuracyAbove, LossBelow
from subspan.intervals import binomial_interval
from subspan.success import success_surface
from subspan.trials.trial import Outcome


def test_counts_against_a_loop_over_the_records() -> None:
    trials = grid([16, 64, 256], 7)
    surface = success_surface(trials, ["loss<=1", "accuracy>=0.9", "test:loss<=0.5"])
    assert surface.dims == (16, 64, 256)
    assert len(surface.cells) == 9
    for cell in surface.cells:
        met = [t.meets(cell.goal) for t in trials if t.dim == cell.dim]
        assert (cell.successes, cell.trials) == (sum(map(bool, met)), 7)
        assert cell.probability == pytest.approx(sum(map(bool, met)) / 7)
        low, high = binomial_interval(sum(map(bool, met)), 7)
        assert (cell.low, cell.high) == (pytest.approx(float(low)), pytest.approx(float(high)))
    assert {c.successes for c in surface.at("loss<=1")} != {0}


def test_a_stricter_goal_than_the_stop_leaves_draws_undetermined() -> None:
    stop = SPEC.replace(stop_at="loss<=1")
    trials = [
        record(8, 0, (2.3, 0.9), spec=stop, outcome=Outcome.STOPPED),
        record(8, 1, (2.3, 1.5), spec=stop),
        record(8, 2, (2.3, 0.05), spec=stop, outcome=Outcome.STOPPED),
    ]
    (cell,) = success_surface(trials, ["loss<=0.1"]).cells
    assert (cell.successes, cell.trials, cell.undetermined) == (1, 2, 1)
    assert cell.probability is None  # 1/2 would be biased
    assert cell.low == pytest.approx(float(binomial_interval(1, 3)[0]))
    assert cell.high == pytest.approx(float(binomial_interval(2, 3)[1]))
    with pytest.raises(InputError, match="1 that stopped early at another goal"):
        success_surface(trials, ["loss<=0.1"]).counts("loss<=0.1")


def test_one_draw_in_two_records_counts_once() -> None:
    short = record(8, 0, (2.3, 0.9), spec=SPEC.replace(stop_at="loss<=1"), outcome=Outcome.STOPPED)
    long = record(8, 0, (2.3, 0.9, 0.05))
    for trials in ([short, long], [long, short]):
        (cell,) = success_surface(trials, "loss<=0.1").cells
        assert (cell.successes, cell.trials, cell.undetermined) == (1, 1, 0)


def test_a_diverged_trial_counts_by_what_it_reached_before() -> None:
    nan = float("nan")
    trials = [
        record(8, 0, (2.3, 0.05, nan), outcome=Outcome.DIVERGED),
        record(8, 1, (2.3, nan), outcome=Outcome.DIVERGED),
    ]
    (cell,) = success_surface(trials, "loss<=0.1").cells
    assert (cell.successes, cell.trials) == (1, 2)


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"problem": "another"}, "one problem"),
        ({"method": "burn-in"}, "one method"),
        ({"spec": SPEC.replace(lr=0.1)}, "one spec"),
    ],
)
def test_a_mixture_of_experiments_is_refused(other: dict, what: str) -> None:
    with pytest.raises(InputError, match=f"expected records of {what}, got 2"):
        success_surface([record(8), record(8, 1, **other)], ["loss<=0.1"])


def test_nothing_to_do_is_refused() -> None:
    with pytest.raises(InputError, match="trials: expected at least one record"):
        success_surface([], ["loss<=0.1"])
    with pytest.raises(InputError, match="goals: expected at least one goal"):
        success_surface([record(8)], [])
    with pytest.raises(InputError, match=r"expected one of loss<=0\.1"):
        success_surface([record(8)], ["loss<=0.1"]).at("loss<=0.2")


def test_frame_and_json() -> None:
    surface = success_surface(grid([16, 64], 3), [LossBelow(1), AccuracyAbove(0.9, "test")])
    frame = surface.to_frame()
    assert list(frame["goal"].unique()) == ["loss<=1", "test:accuracy>=0.9"]
    assert list(frame["split"]) == ["train", "train", "test", "test"]
    assert frame["trials"].sum() == 12
    data = json.loads(json.dumps(surface.to_json(), allow_nan=False))
    assert data["experiment"]["ambient_dim"] == 2410
    assert data["cells"][0]["goal"] == "loss<=1"
