import numpy as np
import pytest
from scipy.optimize import minimize

from subspan.errors import InputError
from subspan.streams import stream
from subspan.theory.ellipsoid import distances_to_cone, squared_distances
from subspan.theory.statistical_dimension import Transition
from subspan.theory.wells import hitting_dims, quadratic_threshold


def brute_force(g, lam, delta, level):
    """Minimise ‖g − t (y − Δ)‖² over t ≥ 0 and y in the ellipsoid, by SLSQP from many starts."""
    radii, best = np.sqrt(2 * level / lam), g @ g

    def objective(z):
        return np.sum((g - z[0] * (radii * z[1:] - delta)) ** 2)

    rng = stream(5, "starts")
    for _ in range(20):
        start = np.concatenate([[1.0], 0.3 * rng.standard_normal(lam.size)])
        found = minimize(
            objective,
            start,
            method="SLSQP",
            bounds=[(0, None)] + [(None, None)] * lam.size,
            constraints={"type": "ineq", "fun": lambda z: 1 - z[1:] @ z[1:]},
            options={"maxiter": 500, "ftol": 1e-12},
        )
        if found.success:
            best = min(best, found.fun)
    return best


def test_distance_is_the_minimum_found_by_brute_force():
    rng = stream(3, "ellipsoid-test")
    lam, delta = np.exp(rng.uniform(-3, 0, 5)), rng.standard_normal(5)
    level = 0.2 * 0.5 * float(lam @ delta**2)
    g = rng.standard_normal((12, 5))
    ours = distances_to_cone(g, lam, delta, level)
    theirs = [brute_force(row, lam, delta, level) for row in g]
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert (ours > 0.01).any()


def test_points_in_the_cone_are_at_distance_zero_and_its_polar_at_the_apex():
    lam, delta = np.ones(4), np.array([2.0, 0, 0, 0])
    g = np.array([[-3.0, 0.1, 0, 0], [3.0, 0.1, 0, 0]])  # towards the ball, and away from it
    np.testing.assert_allclose(distances_to_cone(g, lam, delta, 0.5), [0, 9.01], atol=1e-9)


def test_start_inside_the_ellipsoid_sees_it_everywhere():
    assert not squared_distances(np.ones(3), np.full(3, 0.1), 1.0, 5, 0).any()


def test_mean_distance_and_spread_match_least_squares_hits():
    rng = stream(4, "ellipsoid-test")
    lam = np.exp(rng.uniform(np.log(1e-4), 0, 200))
    delta = rng.standard_normal(200)
    level = 0.05 * 0.5 * float(lam @ delta**2)
    transition = Transition.from_distances(squared_distances(lam, delta, level, 3000, 0))
    hits = hitting_dims(lam, delta, level, draws=200, seed=0)
    assert transition.center == pytest.approx(hits.mean(), abs=3 * hits.std() / np.sqrt(200) + 1)
    assert transition.spread == pytest.approx(hits.std(), rel=0.3)
    assert transition.center == pytest.approx(quadratic_threshold(lam, delta, level), abs=2)


def test_shapes_are_checked():
    with pytest.raises(InputError, match=r"\(n, D\), \(D,\), \(D,\)"):
        distances_to_cone(np.ones((2, 3)), np.ones(4), np.ones(4), 1.0)
    with pytest.raises(InputError, match="level"):
        distances_to_cone(np.ones((2, 3)), np.ones(3), np.ones(3), 0.0)
