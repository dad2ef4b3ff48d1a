"""Training that fails at large d alone is no training that needs more dimensions."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

import subspan as ss
from subspan.success.falls import Place, best_below, first_fall, unseen_below
from subspan.success.graded import Observation
from subspan.success.posterior import Count, Range
from subspan.trials.lr_scale import LrScale

SPAN = Range(1, 5000, 0.1)
SCALE = LrScale(lambda dim: 1.0, 1e-4, 1e-1, LrScale.adam(1.0).ridge)


def accuracy(trial: ss.Trial) -> float:
    """Reach 0.9 at d = 100 and lr 0.01, with a noise of 0.1 in the logit."""
    rate = math.log(trial.lr / 0.01)
    logit = 2.2 + 1.3 * math.log(max(trial.dim, 1) / 100) - 0.5 * rate**2
    logit += 0.1 * np.random.default_rng(trial.seed).standard_normal()
    return 1 / (1 + math.exp(-logit))


def measured(name: str, of: Callable[[ss.Trial], float]) -> ss.ThresholdEstimate:
    function = ss.trainable(name=name, max_dim=5000, version="1", lr=(1e-4, 1e-1))(
        lambda trial: {"val:accuracy": of(trial)}
    )
    return ss.threshold(function, goal="val:accuracy>=0.9", executor="inline", seed=0)


@pytest.mark.parametrize(
    "fails",
    [lambda t: t.dim >= 800, lambda t: t.dim * t.lr >= 3],
    ids=["from d = 800 on", "where lr is too large for d"],
)
def test_a_fall_is_not_above_range(fails: Callable[[ss.Trial], bool]) -> None:
    """d* is about 110 in both; at max_dim nothing works, or nothing that seems best."""
    found = measured("falls", lambda t: 0.2 if fails(t) else accuracy(t))
    assert found.status == "not monotone"
    assert found.value is None
    assert "met the goal, but 0 of " in str(found)
    assert "max_dim" in str(found)


def test_it_is_above_range_where_no_d_does() -> None:
    found = measured("never", lambda t: 0.8 * accuracy(t))
    assert found.status == "above range"
    below = {r.dim for r in found.records if r.dim < 5000}
    assert below >= {round(5000**share) for share in (5 / 6, 2 / 3, 1 / 2)}


def test_places_are_seen_once() -> None:
    asked = unseen_below([], SPAN, SCALE)
    assert len(asked) == len(set(asked)) == 9
    assert {dim for dim, _ in asked} == {round(5000**share) for share in (5 / 6, 2 / 3, 1 / 2)}
    seen = [(math.log(dim), log_lr) for dim, log_lr in asked]
    assert unseen_below(seen, SPAN, SCALE) == []
    assert unseen_below(seen[1:], SPAN, SCALE) == asked[:1]


@pytest.mark.parametrize("span", [Range(5000, 5000, 0.1), Range(4999, 5000, 0.1)])
def test_a_narrow_range_has_few_places(span: Range) -> None:
    assert {dim for dim, _ in unseen_below([], span, SCALE)} <= {4999}


def test_one_learning_rate_is_one_place_a_dim() -> None:
    fixed = LrScale(lambda dim: 1.0, 0.01, 0.01, SCALE.ridge)
    assert len(unseen_below([], SPAN, fixed)) == 3


def test_the_best_place_is_where_most_trials_succeed() -> None:
    def row(dim: int, z: float) -> Observation:
        return Observation(math.log(dim), -4.0, z)

    told = [row(10, 1.0), row(10, -1.0), row(300, 0.5), row(300, 0.5), row(5000, 2.0)]
    assert best_below(told, SPAN) == Place(300, -4.0, 2, 2)
    assert best_below(told[-1:], SPAN) is None
    assert best_below([row(10, -1.0)], SPAN) is None


@pytest.mark.parametrize(("place", "goes_on"), [((1, 1), True), ((1, 3), False), ((8, 8), False)])
def test_a_place_is_tried_until_it_tells(place: tuple[int, int], goes_on: bool) -> None:
    assert Place(300, -4.0, *place).worth_another(0.1) is goes_on


def test_eight_successes_beside_three_failures_tell() -> None:
    assert Place(300, -4.0, 8, 8).beats(0, 3)
    assert not Place(300, -4.0, 5, 5).beats(0, 3)
    assert not Place(300, -4.0, 8, 8).beats(5, 8)


def test_a_fall_is_where_trials_farther_up_fail() -> None:
    counts = [Count(10, 0, 4), Count(100, 9, 9), Count(1000, 0, 4)]
    assert first_fall(counts, 50, 0.1) == (counts[1:2], counts[2:])
    assert first_fall(counts, math.inf, 0.1) is None
    assert first_fall([Count(100, 9, 9), Count(1000, 3, 4)], 50, 0.1) is None
