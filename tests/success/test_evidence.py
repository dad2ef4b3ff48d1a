from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.optimize import isotonic_regression

from subspan.success.evidence import (
    fall_evidence,
    isotonic_rates,
    rate_evidence,
    steepest_fall,
)
from subspan.success.posterior import Count, Range


def test_rate_evidence_is_the_log_likelihood_ratio_with_the_side() -> None:
    assert rate_evidence(29, 29, 0.9) == pytest.approx(29 * math.log(1 / 0.9))
    assert rate_evidence(0, 2, 0.9) == pytest.approx(-2 * math.log(10))
    won, lost = 7 * math.log(0.7 / 0.9), 3 * math.log(0.3 / 0.1)
    assert rate_evidence(7, 10, 0.9) == pytest.approx(-(won + lost))
    assert rate_evidence(9, 10, 0.9) == pytest.approx(0)
    assert rate_evidence(0, 0, 0.9) == 0
    assert rate_evidence(28, 28, 0.9) < math.log(20) < rate_evidence(29, 29, 0.9)


@pytest.mark.parametrize(("rate", "most"), [(0.9, 0.085), (0.88, 0.035), (0.8, 0.005)])
def test_ln_20_is_seldom_passed_by_chance(rate: float, most: float) -> None:
    """Exactly: the chance that counts at any of 200 looks are evidence for more than 0.9."""
    left, passed = np.array([1.0]), 0.0  # left[k]: chance of k failures and no evidence so far
    for n in range(1, 201):
        left = np.append(left * rate, 0.0) + np.append(0.0, left * (1 - rate))
        told = np.array([rate_evidence(n - k, n, 0.9) >= math.log(20) for k in range(n + 1)])
        passed += left[told].sum()
        left[told] = 0
    assert passed < most
    assert passed > most / 4


def test_isotonic_rates_agree_with_scipy() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        total = rng.integers(1, 6, 8)
        wins = rng.binomial(total, rng.uniform(0, 1, 8))
        expected = isotonic_regression(wins / total, weights=total).x
        assert isotonic_rates(wins, total - wins) == pytest.approx(expected)


@pytest.mark.parametrize("curve", [(0.5, 0.5, 0.5), (0.05, 0.5, 0.9), (0.9, 0.9, 0.9), (0, 0, 1)])
def test_evidence_of_a_fall_is_one_at_most_in_the_mean_if_success_rises(curve) -> None:
    """Exactly, over every outcome of nine trials: so that ln 20 has a chance of 5 % at most."""
    span, mean = Range(1, 100, 0.1), 0.0
    for wins in itertools.product(range(4), repeat=3):
        chance = math.prod(
            math.comb(3, k) * p**k * (1 - p) ** (3 - k) for k, p in zip(wins, curve, strict=True)
        )
        counts = [Count(dim, k, 3) for dim, k in zip((2, 20, 90), wins, strict=True)]
        mean += chance * math.exp(fall_evidence(counts, span))
    assert mean <= 1


def test_a_fall_is_seen() -> None:
    span = Range(1, 10_000, 0.1)
    fallen = [Count(10, 0, 4), Count(100, 12, 12), Count(5000, 0, 8)]
    assert fall_evidence(fallen, span) > math.log(20)
    assert fall_evidence([Count(10, 0, 4), Count(100, 8, 12), Count(5000, 8, 8)], span) < 0
    assert fall_evidence([Count(7, 3, 9)], Range(7, 7, 0.1)) == 0
    assert steepest_fall(fallen) == (
        "Success falls with d: 12 of 12 trials at d = 100 met the goal, 0 of 8 trials at d = 5,000."
    )
