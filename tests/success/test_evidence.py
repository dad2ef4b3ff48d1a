from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.optimize import isotonic_regression

from subspan.success.drops import drops
from subspan.success.evidence import (
    fall_evidence,
    isotonic_rates,
    rate_evidence,
    refutes_level,
    shows_level,
    steepest_fall,
)
from subspan.success.posterior import (
    PRIOR_FALL,
    PRIOR_PLATEAU,
    Count,
    Range,
    outcomes,
    posterior,
)


def test_rate_evidence_is_the_log_likelihood_ratio_with_the_side() -> None:
    assert rate_evidence(29, 29, 0.9) == pytest.approx(29 * math.log(1 / 0.9))
    assert rate_evidence(0, 2, 0.9) == pytest.approx(-2 * math.log(10))
    won, lost = 7 * math.log(0.7 / 0.9), 3 * math.log(0.3 / 0.1)
    assert rate_evidence(7, 10, 0.9) == pytest.approx(-(won + lost))
    assert rate_evidence(9, 10, 0.9) == pytest.approx(0)
    assert rate_evidence(0, 0, 0.9) == 0
    assert rate_evidence(28, 28, 0.9) < math.log(20) < rate_evidence(29, 29, 0.9)


def ever_shown(rate: float, delta: float, confidence: float) -> float:
    """Exactly: the chance that counts at any of 1,000 looks show 1 − δ at another rate."""
    left, passed = np.array([1.0]), 0.0  # left[k]: chance of k failures and nothing shown so far
    for n in range(1, 1001):
        left = np.append(left * rate, 0.0) + np.append(0.0, left * (1 - rate))
        most = math.floor(delta * n)  # more failures lie below 1 − δ
        assert not shows_level(n - most - 1, n, delta, confidence)
        for k in range(most + 1):
            if shows_level(n - k, n, delta, confidence):
                passed += left[k]
                left[k] = 0
    return passed


@pytest.mark.parametrize(
    ("rate", "chance"), [(0.9, 0.134), (0.89, 0.0747), (0.88, 0.0491), (0.8, 0.0038)]
)
def test_a_level_is_seldom_shown_by_chance(rate: float, chance: float) -> None:
    assert ever_shown(rate, 0.1, 0.95) == pytest.approx(chance, abs=5e-4)


@pytest.mark.parametrize("delta", [0.05, 0.1, 0.25, 0.5])
@pytest.mark.parametrize("confidence", [0.8, 0.9, 0.95, 0.99])
def test_a_fifth_more_failures_than_delta_pass_with_the_stated_error(delta, confidence) -> None:
    assert ever_shown(1 - 1.2 * delta, delta, confidence) <= 1 - confidence


def test_what_shows_a_level() -> None:
    assert [shows_level(n, n, 0.1, 0.95) for n in (0, 24, 25, 60)] == [False, False, True, True]
    assert [shows_level(n - 1, n, 0.1, 0.95) for n in (25, 55, 56)] == [False, False, True]
    assert not shows_level(1, 1, 0.9, 0.95)  # 1 − 1.2 δ would be below 0


def ever_refuted(rate: float, delta: float, confidence: float) -> float:
    """Exactly: the chance that counts at any of 1,000 looks refute 1 − δ at another rate."""
    left, passed = np.array([1.0]), 0.0  # left[k]: chance of k successes and nothing refuted so far
    for n in range(1, 1001):
        left = np.append(left * (1 - rate), 0.0) + np.append(0.0, left * rate)
        k = 0  # the fewer succeed, the clearer
        while k <= n and refutes_level(k, n, delta, confidence):
            passed += left[k]
            left[k] = 0
            k += 1
    return passed


@pytest.mark.parametrize(("rate", "chance"), [(0.9, 0.0354), (0.91, 0.0166), (0.95, 0.0025)])
def test_a_level_that_is_reached_is_seldom_refuted(rate: float, chance: float) -> None:
    assert ever_refuted(rate, 0.1, 0.95) == pytest.approx(chance, abs=5e-4)


@pytest.mark.parametrize("delta", [0.05, 0.1, 0.25, 0.5])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_a_level_that_is_just_reached_is_refuted_with_the_stated_error(delta, confidence) -> None:
    assert ever_refuted(1 - delta, delta, confidence) <= 1 - confidence


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
        drop = drops(posterior(counts, span), counts).log_evidence
        mean += chance * math.exp(fall_evidence(counts, span, drop))
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


def test_a_few_failures_far_above_a_well_known_rise_are_a_drop() -> None:
    """No curve fixed beforehand follows a rise that so many trials lie on."""
    span = Range(1, 62_006, 0.1)
    rise = [Count(438, 0, 8), Count(657, 8, 20), Count(804, 16, 20), Count(1000, 39, 40)]
    counts = [*rise, Count(30_000, 0, 1), Count(62_006, 1, 3)]
    found = drops(posterior(counts, span), counts)
    assert found.mass > 0.5
    assert found.last == 62_006
    more = [*rise, Count(30_000, 0, 3), Count(62_006, 1, 5)]
    log_evidence = drops(posterior(more, span), more).log_evidence
    assert fall_evidence(more, span) < math.log(20) < fall_evidence(more, span, log_evidence)
    kept = [*rise, Count(30_000, 1, 1), Count(62_006, 3, 3)]
    assert drops(posterior(kept, span), kept).mass < 0.05


def test_no_drop_is_reckoned_with_where_no_success_lies_below_a_failure() -> None:
    for counts in ([Count(5, 0, 3), Count(9, 4, 4)], [Count(5, 2, 4)], [Count(5, 3, 3)]):
        span = Range(1, 100, 0.1)
        assert drops(posterior(counts, span), counts) == (-math.inf, 0.0, None)


def test_the_evidence_of_a_drop_is_the_mean_over_places_shares_and_curves() -> None:
    """Against the sum, written out: P_s = R(d) before a drop, r R(d) from it on."""
    counts = [Count(20, 0, 3), Count(40, 3, 4), Count(90, 5, 5), Count(300, 4, 6), Count(800, 2, 3)]
    belief = posterior(counts, Range(1, 1000, 0.1))
    dims, wins, losses = outcomes(counts)
    cell, curve = np.nonzero(belief.weights)
    p = belief.nuisances.select(np.log(dims), belief.centers[cell], curve).astype(float)
    weights, total = belief.weights[cell, curve], 0.0
    for first in range(2, 5):  # of the dims after a drop; the first success lies at 40
        place = math.log(dims[first] / dims[first - 1]) / math.log(1000)
        for left in (0.002, 0.15, 0.4, 0.7):
            after = left ** wins[first:].sum() * np.ones(len(weights))
            for row in range(first, 5):
                after *= ((1 - left * p[row]) / (1 - p[row])) ** losses[row]
            total += place / 4 * (weights * after).sum()
    expected = belief.log_evidence + math.log(total / (1 - PRIOR_PLATEAU - PRIOR_FALL))
    assert drops(belief, counts).log_evidence == pytest.approx(
        expected, abs=1e-7
    )  # light curves are left out
