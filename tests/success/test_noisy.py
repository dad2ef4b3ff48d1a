"""d* of a noisy reward: the goal is on the mean, and the interval knows of the noise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

import subspan as ss
from subspan.streams import stream
from subspan.success.estimate import fit_threshold
from subspan.success.noisy import chance_met

DIMS = [4, 8, 16, 32, 64, 128]
GOAL = "test:reward>=0"


def player(noise: float, n: int = 5, scatter: float = 0.2):
    """A mean reward that passes 0 at about d = 24, seen n times with noise."""

    @ss.trainable(name=f"reward-{noise}-{n}-{scatter}", max_dim=128)
    def play(trial):
        draw = stream(trial.seed, "reward", trial.dim)
        mean = math.log(trial.dim / 24) + scatter * draw.standard_normal()
        trial.report(**{"test:reward": (mean + noise * draw.standard_normal(n)).tolist()})

    return play


def rewards(noise: float, n: int = 5):
    return ss.run(player(noise, n), dims=DIMS, repeats=8, workers=1)


def test_a_list_is_its_mean_with_error_and_number() -> None:
    @ss.trainable(name="list", max_dim=4)
    def play(trial):
        values = {"test:reward": np.array([1.0, 2.0, 4.0]), "loss": 0.5}
        trial.report(**values)

    record = ss.run(play, dims=[2], repeats=1, workers=1)[0]
    assert record.final("reward", "test") == pytest.approx(7 / 3)
    assert record.final("reward.se", "test") == pytest.approx(stats.sem([1, 2, 4]))
    assert record.final("reward.n", "test") == 3
    chance = chance_met(record, "test:reward>=2")
    one_sided = stats.ttest_1samp([1, 2, 4], 2, alternative="greater").pvalue
    assert chance == pytest.approx(1 - one_sided)
    assert chance_met(record, "test:reward<=2") == pytest.approx(one_sided)


def test_noise_widens_the_interval_and_without_noise_it_is_the_usual_one() -> None:
    exact = rewards(1e-9)
    plain = fit_threshold(exact, GOAL)
    clear, noisy = (ss.noisy_threshold(t, GOAL) for t in (exact, rewards(1.0)))
    assert (clear.value, clear.low, clear.high) == (plain.value, plain.low, plain.high)
    truth = 24 * math.exp(0.2 * stats.norm.ppf(0.9))  # where nine trials of ten pass
    assert plain.low <= truth <= plain.high
    assert noisy.low <= truth <= (noisy.high or 128)
    assert noisy.low <= clear.low
    assert (noisy.high or math.inf) >= clear.high


@pytest.mark.parametrize("bad", [[1.0], [], ["a", "b"], [[1.0, 2.0], [3.0, 4.0]]])
def test_what_is_no_list_of_evaluations_fails_the_trial(bad) -> None:
    @ss.trainable(name="bad", max_dim=4)
    def play(trial):
        trial.report(**{"test:reward": bad})

    record = ss.run(play, dims=[2], repeats=1, workers=1)[0]
    assert record.outcome.value == "failed"
    assert "two or more independent evaluations" in record.reason


def test_single_numbers_are_refused() -> None:
    @ss.trainable(name="single", max_dim=4)
    def play(trial):
        trial.report(**{"test:reward": 1.0})

    records = ss.run(play, dims=[2, 4], repeats=1, workers=1)
    with pytest.raises(ss.InputError, match="Report a list of two or more evaluations"):
        ss.noisy_threshold(records, GOAL)
    with pytest.raises(ss.InputError, match="trials: expected some with a dim above 0"):
        ss.noisy_threshold([], GOAL)


def test_threshold_has_the_noise_in_its_interval() -> None:
    found = ss.threshold(player(1.0), goal=GOAL, workers=1, max_trials=48, min_dim=4)
    plain = fit_threshold(found.records, GOAL, min_dim=4, max_dim=128)
    assert found.low <= plain.low
    assert (found.high or math.inf) >= (plain.high or math.inf)
    assert (found.low, found.high) != (plain.low, plain.high)
    assert "report more evaluations" in str(found.advice)
    clear = ss.threshold(player(1e-9), goal=GOAL, workers=1, max_trials=48, min_dim=4)
    plain = fit_threshold(clear.records, GOAL, min_dim=4, max_dim=128, ratio=1.5)
    assert clear.estimate == plain.estimate


@pytest.mark.slow
def test_the_interval_covers_the_truth_where_counts_of_noisy_means_do_not() -> None:
    """40 worlds, 36 trials each, five evaluations with noise five times the trials' scatter."""
    truth = 24 * math.exp(0.3 * stats.norm.ppf(0.9))
    play, worlds = player(1.5, 5, 0.3), 40

    def holds(estimate) -> bool:
        return (estimate.low or 0) <= truth <= (estimate.high or math.inf)

    every = [ss.run(play, dims=DIMS, repeats=6, workers=1, seed=world) for world in range(worlds)]
    aware = sum(holds(ss.noisy_threshold(trials, GOAL)) for trials in every)
    counted = sum(holds(fit_threshold(trials, GOAL)) for trials in every)
    print(f"{aware} of {worlds} with the noise, {counted} without")
    assert aware >= 0.93 * worlds
    assert counted < 0.93 * worlds
