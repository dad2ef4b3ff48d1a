from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, special

from subspan.errors import InputError
from subspan.success import curves
from subspan.success import posterior as module
from subspan.success.posterior import Count, Range, posterior


@pytest.mark.parametrize("shape", curves.SHAPES)
def test_quantile_inverts_the_shape(shape: str) -> None:
    p = np.array([0.02, 0.5, 0.9, 0.99])
    assert curves.shape_probability(shape, curves.shape_quantile(shape, p)) == pytest.approx(p)


def test_every_curve_passes_one_minus_delta_at_its_threshold_and_has_its_width() -> None:
    family = curves.Nuisances.grid(0.1, np.log([0.25, 1.0, 4.0]), np.array([0.0, 0.05]), np.ones(2))
    t = np.array([1.0, 3.0])
    at = family.probability(t, t)
    assert at[[0, 1], [0, 1]] == pytest.approx(np.full((2, 12), 0.9), abs=1e-5)
    x = np.linspace(-6, 8, 20001)
    wide = family.probability(x, np.array([1.0]))[:, 0]
    for i in range(12):
        low, high = (x[np.argmax(wide[:, i] > q * family.ceiling[i])] for q in (0.1, 0.9))
        assert high - low == pytest.approx((0.5, 2.0)[i // 2 % 2], abs=2e-3)
    flat = 2 - 2 * math.sqrt(0.25 / 0.3) + math.log(4 / 0.3)  # ∫ √(w / 0.3) dw/w, then ∫ dw/w
    assert np.exp(family.log_prior).sum() == pytest.approx(flat)


def test_select_agrees_with_the_full_table() -> None:
    family = curves.Nuisances.grid(0.1, np.log([0.1, 1.0, 4.0]), np.array([0.0, 0.05]), np.ones(2))
    x, t = np.log(np.array([3.0, 50.0])), np.array([1.0, 2.0, 5.0])
    index = np.arange(len(family.slope))
    full = family.probability(x, t)[:, 1]
    assert family.select(x, np.full(len(index), t[1]), index) == pytest.approx(full, abs=1e-5)


def test_posterior_agrees_with_numerical_integration(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one curve and no tails, the posterior of t is a one-dimensional integral."""
    n = 3 * module._WIDTH_CELLS
    one = curves.Nuisances(
        slope=np.full(n, 4.0),
        offset=np.log(np.full(n, 9.0)),
        ceiling=np.ones(n),
        log_prior=np.where(np.arange(n) == 0, 0.0, -800.0),
    )
    monkeypatch.setattr(module, "_nuisances", lambda delta, low, high: one)
    monkeypatch.setattr(module, "PRIOR_BELOW", 1e-12)
    monkeypatch.setattr(module, "PRIOR_ABOVE", 1e-12)
    monkeypatch.setattr(module, "PRIOR_PLATEAU", 1e-12)
    monkeypatch.setattr(module, "PRIOR_FALL", 1e-12)
    monkeypatch.setattr(module, "other_curves", module.other_curves.__wrapped__)
    counts = [Count(400, 1, 4), Count(700, 3, 5), Count(1500, 6, 6)]

    def density(t: float) -> float:
        p = special.expit(math.log(9) + 4 * (np.log([400.0, 700.0, 1500.0]) - t))
        p = np.clip(p, 1e-3, 1 - 1e-3)
        won, lost = np.array([1, 3, 6]), np.array([3, 2, 0])
        return float(np.exp((won * np.log(p) + lost * np.log1p(-p)).sum()))

    top = math.log(20000)
    total = integrate.quad(density, 0, top, points=[5, 6, 7, 8], epsabs=0, limit=200)[0]
    found = posterior(counts, Range(1, 20000, 0.1))
    for q in (0.025, 0.5, 0.975):
        t = math.log(found.quantile(q))
        mass = integrate.quad(density, 0, t, points=[5, 6], epsabs=0, limit=200)[0] / total
        assert mass == pytest.approx(q, abs=0.004)


def test_without_data_the_posterior_is_the_prior() -> None:
    found = posterior([], Range(1, 10_000, 0.1))
    assert found.falling == pytest.approx(module.PRIOR_FALL)
    assert found.never == pytest.approx(module.PRIOR_PLATEAU, abs=module.PRIOR_FALL)
    rising = found.weights.sum(1)
    assert rising[found.centers < 0].sum() == pytest.approx(module.PRIOR_BELOW)
    assert rising[found.centers > math.log(10_000)].sum() == pytest.approx(module.PRIOR_ABOVE)
    inside = (found.centers > 0) & (found.centers < math.log(10_000))
    lower = rising[inside & (found.centers < math.log(100))].sum()
    assert lower == pytest.approx(rising[inside].sum() / 2)  # log-uniform
    assert found.quantile(0.05) == 1
    assert found.quantile(0.95) == math.inf


def test_order_and_splitting_of_counts_do_not_matter() -> None:
    span = Range(1, 500, 0.1)
    whole = posterior([Count(20, 1, 3), Count(60, 4, 4)], span)
    parts = posterior([Count(60, 3, 3), Count(20, 0, 2), Count(60, 1, 1), Count(20, 1, 1)], span)
    assert np.array_equal(whole.edges, parts.edges)
    assert np.array_equal(whole.weights, parts.weights)


def test_a_step_between_neighbouring_integers_is_found_exactly() -> None:
    counts = [Count(99, 0, 60), Count(100, 60, 60), Count(10_000, 30, 30)]
    found = posterior(counts, Range(1, 150_000, 0.1))
    assert [found.quantile(q) for q in (0.05, 0.5, 0.95)] == [100, 100, 100]


def test_an_interval_leaves_out_a_tail_on_each_side() -> None:
    """The mass of d* below its lower end is at most 0.8 of the tail, and so above its upper end."""
    counts = [Count(10, 0, 4), Count(40, 4, 8), Count(160, 8, 9), Count(640, 20, 20)]
    found = posterior(counts, Range(1, 5000, 0.1))
    for tail in (0.025, 0.1):
        low, high = found.interval(tail)
        below, up_to = np.interp(
            np.log([low - 1, high]), found.edges[1:], np.cumsum(found.cell_mass)
        )
        assert below <= 0.8 * tail + 1e-9
        assert up_to >= 1 - 0.8 * tail - 1e-9


def test_curve_lies_within_its_band_and_rises() -> None:
    found = posterior([Count(10, 0, 8), Count(40, 5, 8), Count(160, 8, 8)], Range(1, 500, 0.1))
    mean, low, high = found.curve(np.geomspace(1, 500, 40), 0.95)
    assert (low <= mean + 1e-6).all()
    assert (mean <= high + 1e-6).all()
    assert (np.diff(mean) > -1e-6).all()
    assert mean[0] < 0.05
    assert mean[-1] > 0.9


@pytest.mark.parametrize(("low", "high", "delta"), [(0, 5, 0.1), (6, 5, 0.1), (1, 5, 0.0)])
def test_bad_ranges_are_refused(low: int, high: int, delta: float) -> None:
    with pytest.raises(InputError, match="expected"):
        Range(low, high, delta)


def test_a_range_of_one_dim_is_decided_by_its_trials() -> None:
    assert posterior([Count(1, 30, 30)], Range(1, 1, 0.1)).below > 0.9
    assert posterior([Count(1, 0, 10)], Range(1, 1, 0.1)).above > 0.99
