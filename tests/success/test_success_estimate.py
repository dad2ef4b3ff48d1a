from __future__ import annotations

import json
import math

import numpy as np
import pytest
from synthetic import AMBIENT, SPEC, grid, record

from subspan.errors import InputError
from subspan.goals import LossBelow
from subspan.success import Count, Range, estimate_from_counts, fit_threshold
from subspan.trials.trial import Outcome

GOAL = LossBelow(0.1)


def test_fit_of_a_grid_holds_the_true_threshold() -> None:
    dims = [2**i for i in range(2, 11)]
    # final_loss: ln(2.3 / 0.1) = (d e^{0.13 z} / 60)^1.2, and 90 % of z exceed -1.2816.
    truth = 60 * math.log(23) ** (1 / 1.2) * math.exp(0.13 * 1.2816)
    estimate = fit_threshold(grid(dims, 10), GOAL)
    assert estimate.status == "ok"
    assert estimate.low <= truth <= estimate.high
    assert (estimate.low, estimate.high) == (129, 512)  # no design chose the dims
    assert estimate.trials == 90 == len(estimate.records)
    assert estimate.compression == pytest.approx(AMBIENT / estimate.value)
    assert estimate.experiment.problem["name"] == "synthetic"


def test_more_trials_narrow_the_interval_around_the_truth() -> None:
    dims = np.unique(np.geomspace(20, 500, 25).round().astype(int))
    p = 1 / (1 + np.exp(-6 * np.log(dims / 100)))
    truth = 100 * 9 ** (1 / 6)
    ratios = []
    for n in (10, 100, 1000):
        counts = [Count(int(d), round(n * q), n) for d, q in zip(dims, p, strict=True)]
        span = Range(1, AMBIENT, 0.1)
        found = estimate_from_counts(counts, GOAL, span, ambient_dim=AMBIENT, designed=True)
        assert found.low <= truth <= found.high
        ratios.append(found.ratio)
    assert ratios[0] - 1 > 5 * (ratios[2] - 1)
    assert ratios[2] < 1.08


def test_all_failures_are_above_the_range_tried() -> None:
    found = fit_threshold([record(d, r) for d in (8, 16, 32) for r in range(10)], GOAL)
    assert (found.status, found.value, found.low, found.high) == ("above range", None, 32, None)
    assert found.compression is None
    json.dumps(found.to_json(), allow_nan=False)


def test_all_successes_are_below_the_range_tried() -> None:
    good = (2.3, 0.05)
    found = fit_threshold([record(d, r, good) for d in (8, 16) for r in range(60)], GOAL)
    assert (found.status, found.value, found.low, found.high) == ("below range", 8, 1, 8)


def test_offsets_that_meet_the_goal_make_it_zero() -> None:
    found = fit_threshold([record(1, r, (0.05,)) for r in range(40)], GOAL)
    assert (found.status, found.value, found.low, found.high) == ("below range", 0, 0, 0)
    assert found.compression is None
    assert found.ratio is None
    few = fit_threshold([record(1, r, (0.05,)) for r in range(20)], GOAL)
    assert (few.status, few.value, few.low) == ("below range", 0, 0)
    assert few.high is None or few.high >= 1


def test_a_thin_grid_is_not_converged() -> None:
    trials = [record(8), record(64, 1, (2.3, 0.05))]
    assert fit_threshold(trials, GOAL).status == "not converged"


def test_a_ratio_asked_for_is_judged() -> None:
    trials = grid([2**i for i in range(2, 11)], 10)
    assert fit_threshold(trials, GOAL, ratio=1.01).status == "not converged"
    assert fit_threshold(trials, GOAL, ratio=10).status == "ok"


def test_json_says_what_it_rests_on() -> None:
    data = json.loads(json.dumps(fit_threshold(grid([64, 128, 256, 512], 10), GOAL).to_json()))
    assert data["trials"] == 40
    assert data["goal"] == "loss<=0.1"
    assert sum(c["total"] for c in data["counts"]) == 40
    assert {"value", "low", "high", "status", "confidence", "delta", "compression"} <= set(data)


def test_draws_that_cannot_tell_are_refused() -> None:
    stop = SPEC.replace(stop_at="loss<=1")
    trial = record(8, 0, (2.3, 0.9), spec=stop, outcome=Outcome.STOPPED)
    with pytest.raises(InputError, match="stopped early at another goal"):
        fit_threshold([trial], GOAL)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"delta": 0.0}, "delta"),
        ({"confidence": 1.0}, "confidence"),
        ({"min_dim": 0}, "min_dim"),
        ({"min_dim": 70, "max_dim": 60}, "min_dim <= max_dim"),
    ],
)
def test_bad_arguments_are_refused(options: dict, text: str) -> None:
    with pytest.raises(InputError, match=text):
        fit_threshold(grid([64, 128], 2), GOAL, **options)


def test_no_counts_are_refused() -> None:
    with pytest.raises(InputError, match="at least one trial"):
        estimate_from_counts([], GOAL, Range(1, 5, 0.1), ambient_dim=5)


def test_another_delta_moves_the_threshold_up() -> None:
    trials = grid(list(range(100, 300, 10)), 20)
    strict, loose = (fit_threshold(trials, GOAL, delta=d, max_dim=AMBIENT) for d in (0.05, 0.5))
    assert strict.value > loose.value
    median = 60 * math.log(23) ** (1 / 1.2)
    assert loose.low <= median <= loose.high
