"""The surface over (d, lr): its parts against closed forms, its posterior against laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t as student

from subspan.errors import InputError
from subspan.success.graded import FAR, Observation, Scale
from subspan.success.posterior import Range
from subspan.success.surface_model import Surfaces, _prior_draws, sample
from subspan.trials.lr_scale import RidgePrior

SPAN = Range(1, 10_000, 0.1)
PRIOR = RidgePrior(low=math.log(0.0125), high=math.log(3.2))


def observed(*rows: tuple[float, float, float]) -> list[Observation]:
    return [Observation(math.log(dim), math.log(rho), z) for dim, rho, z in rows]


SEEN = observed((450, 0.6, -0.3), (2000, 0.6, 0.9), (800, 1.2, 0.25), (800, 0.3, 0.1))


@pytest.fixture(scope="module")
def drawn() -> Surfaces:
    return Surfaces(_prior_draws(256), SPAN, PRIOR)


def test_scales_measure_from_the_level() -> None:
    loss = Scale(0.1, higher_is_better=False, kind="log")
    assert loss.distance(0.05) == pytest.approx(math.log(2))
    assert loss.value_at(math.log(2)) == pytest.approx(0.05)
    accuracy = Scale(0.9, higher_is_better=True, kind="logit")
    assert accuracy.distance(0.5) == pytest.approx(-math.log(9))
    assert accuracy.value_at(-math.log(9)) == pytest.approx(0.5)
    assert math.isfinite(accuracy.distance(1.0))
    assert Scale(5.0, False, "linear").distance(7.0) == -2.0
    assert math.isnan(loss.distance(math.nan))


@pytest.mark.parametrize(("level", "kind"), [(1.5, "logit"), (0.0, "log")])
def test_a_level_off_its_scale_is_refused(level: float, kind: str) -> None:
    with pytest.raises(InputError, match="level"):
        Scale(level, True, kind)


def test_the_mean_rises_with_d_and_is_largest_on_the_ridge(drawn: Surfaces) -> None:
    for reach, rise in ((4, 1e-12), (8, 0.0)):  # far beyond, g may have ended rising
        t = np.linspace(-reach, reach, 101)
        assert (np.diff(drawn.mean(t, np.zeros(101)), axis=1) >= rise).all()
    v = np.linspace(-4, 3, 141)
    off = drawn.off_ridge(v)
    assert (off <= 1e-12).all()
    assert np.allclose(v[off.argmax(1)], 0, atol=1e-9)


def test_far_slopes_of_the_ridge_are_the_parameters(drawn: Surfaces) -> None:
    off = drawn.off_ridge(np.array([-30.0, -29.0, 29.0, 30.0]))
    soft = ((drawn.rise + drawn.fall) * drawn.sharpness > 0.4) & (drawn.fall * drawn.sharpness < 19)
    assert soft.mean() > 0.7
    assert np.allclose((off[:, 1] - off[:, 0])[soft[:, 0]], drawn.rise[soft], atol=1e-3)
    assert np.allclose((off[:, 2] - off[:, 3])[soft[:, 0]], drawn.fall[soft], atol=1e-3)


def test_the_peak_over_the_flanks_is_known_only_as_far_as_its_sharpness(drawn: Surfaces) -> None:
    """Far out h = −rise·|v| + log(1 + rise/fall)/sharpness: a cusp has nothing above its flanks."""
    far = drawn.off_ridge(np.array([-20.0]))
    reached = ((drawn.rise + drawn.fall) * drawn.sharpness > 1) & (
        drawn.rise * drawn.sharpness < 29
    )
    wanted = -20 * drawn.rise + np.log1p(drawn.rise / drawn.fall) / drawn.sharpness
    assert reached.mean() > 0.6
    assert np.allclose(far[reached], wanted[reached], atol=1e-6)
    assert np.quantile(drawn.sharpness, 0.3) < 1.5
    assert np.quantile(drawn.sharpness, 0.95) > 3


def test_more_populations_go_on_from_those_that_are_there() -> None:
    rows = [Observation(math.log(300.0), -0.5, 0.2), Observation(math.log(150.0), -0.2, -0.6)]
    told = rows, Range(1, 5000, 0.1), RidgePrior()
    one = sample(*told, particles=64)
    at_once, after = (
        sample(*told, particles=64, populations=3),
        sample(*told, particles=64, populations=3, begun=one),
    )
    assert (at_once.log_threshold == after.log_threshold).all()
    assert len(after.log_threshold) == 3 * 64


def test_success_is_students_distribution_and_the_threshold_solves_it(drawn: Surfaces) -> None:
    t, v = np.array([0.7]), np.array([-0.2])
    direct = student.cdf(drawn.mean(t, v) / drawn.scale(t, v), df=5) * (1 - drawn.lapse(v))
    assert np.allclose(drawn.success(t, v), direct, atol=1e-12)
    log_threshold, best = drawn.best()
    inside = np.isfinite(log_threshold) & (np.abs(log_threshold - drawn.crossing[:, 0]) < 5)
    t = (log_threshold - drawn.crossing[:, 0])[:, None]
    at_best = drawn.success(np.where(np.isfinite(t), t, 0), best[:, None])[:, 0]
    assert inside.mean() > 0.8
    assert np.quantile(np.abs(at_best - 0.9)[inside], 0.95) < 0.01
    ridge = drawn.ridge[:, 0] + drawn.drift[:, 0] * np.clip(np.where(inside, t[:, 0], 0), -4, 4)
    used = (ridge + best)[inside]
    assert (used <= PRIOR.high + 0.02).all()  # the ridge drifts while the threshold is solved for
    assert (used >= PRIOR.low - 0.02).all()


def test_the_posterior_depends_on_what_was_seen_alone() -> None:
    one, other = sample(SEEN, SPAN, PRIOR), sample(SEEN[::-1], SPAN, PRIOR)
    assert np.array_equal(one.log_threshold, other.log_threshold)
    again = [row._replace(z=row.z + 0.1) for row in SEEN]
    assert not np.array_equal(one.log_threshold, sample(again, SPAN, PRIOR).log_threshold)


def test_without_trials_the_threshold_is_anywhere() -> None:
    prior = sample([], SPAN, PRIOR)
    assert 0.02 < prior.below < 0.2
    assert 0.02 < prior.above < 0.3
    assert 20 < prior.quantile(0.5) < 1000


def test_a_metropolis_chain_finds_the_same_posterior() -> None:
    """A plain random walk on the same density in place of tempering."""
    from subspan.success.surface_model import _PARAMETERS, _Data

    data = _Data.of(SEEN)
    rng = np.random.default_rng(0)
    raw = 0.3 * rng.standard_normal((400, len(_PARAMETERS)))

    def density(points: np.ndarray) -> np.ndarray:
        return Surfaces(points, SPAN, PRIOR).log_likelihood(data) - 0.5 * (points**2).sum(1)

    value, kept = density(raw), []
    for step in range(3000):
        part = rng.random(raw.shape) < 0.3
        new = raw + part * rng.choice([0.1, 0.5, 1.5], (400, 1)) * rng.standard_normal(raw.shape)
        proposed = density(new)
        taken = np.log(rng.random(400)) < proposed - value
        raw[taken], value[taken] = new[taken], proposed[taken]
        if step > 1000 and step % 100 == 0:
            kept.append(np.clip(Surfaces(raw, SPAN, PRIOR).best()[0], 0, 10))
    found = np.clip(sample(SEEN, SPAN, PRIOR, particles=4096).log_threshold, 0, 10)
    walked = np.concatenate(kept)
    for q in (0.1, 0.25, 0.5, 0.75, 0.9):
        assert np.quantile(found, q) == pytest.approx(np.quantile(walked, q), abs=0.1)


def test_a_bound_points_the_way_of_a_number_and_an_empty_one_says_nothing() -> None:
    base = observed((100, 0.6, -1.5))
    place = math.log(800), math.log(0.6)
    exact = sample([*base, Observation(*place, 0.3)], SPAN, PRIOR)
    bound = sample([*base, Observation(*place, 0.3, "at least")], SPAN, PRIOR)
    assert bound.quantile(0.5) < exact.quantile(0.5) < 850  # it may have got much farther
    alone = sample(base, SPAN, PRIOR)
    nothing = sample([*base, Observation(*place, FAR + 1, "at most")], SPAN, PRIOR)
    assert np.array_equal(nothing.log_threshold, alone.log_threshold)


def test_one_freak_trial_does_not_move_the_threshold_far() -> None:
    clean = observed(
        *((d, 0.6, 1.2 * math.log(d / 400)) for d in (150, 250, 350, 450, 600, 900, 1400)),
        *((d, 0.15, 1.2 * math.log(d / 400) - 0.4) for d in (350, 600)),
        *((d, 1.5, 1.2 * math.log(d / 400) - 0.3) for d in (400, 700)),
    )
    one = sample(clean, SPAN, PRIOR).quantile(0.5)
    freak = sample([*clean, *observed((700, 0.6, -2.0))], SPAN, PRIOR).quantile(0.5)
    assert abs(math.log(freak / one)) < 0.15


def test_populations_are_pooled_and_the_first_is_the_same() -> None:
    one = sample(SEEN, SPAN, PRIOR, particles=256)
    two = sample(SEEN, SPAN, PRIOR, particles=256, populations=2)
    assert np.array_equal(two.log_threshold[:256], one.log_threshold)
    assert not np.array_equal(two.log_threshold[256:], one.log_threshold)
