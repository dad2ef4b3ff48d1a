import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from subspan.errors import InputError
from subspan.streams import stream
from subspan.theory.ellipsoid import (
    distances_to_cone,
    ellipsoid_from_outside_support,
    ellipsoid_from_outside_width,
    squared_distances,
)
from subspan.theory.statistical_dimension import Transition
from subspan.theory.wells import hitting_dims, quadratic_threshold
from subspan.theory.width import (
    ball_from_outside_width,
    cap_support,
    gaussian_width,
    points_support,
    project_onto_sphere,
    subspace_width,
)


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


def test_flat_directions_leave_the_distance_to_the_cone_over_the_others():
    """Also for rows in that one's polar, which are most of them here."""
    lam, delta, g = np.ones(3), np.array([2.0, 0.1, 0]), stream(11, "flat").standard_normal((40, 5))
    expected = distances_to_cone(g[:, :3], lam, delta, 1e-4)
    wide = distances_to_cone(g, np.append(lam, [0, 0]), np.append(delta, [5.0, 0]), 1e-4)
    np.testing.assert_allclose(wide, expected, rtol=1e-9)
    assert 10 < np.isclose(expected, (g[:, :3] ** 2).sum(1)).sum() < 30


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


SPECTRA = {
    "sphere": np.ones(200),
    "log-uniform": np.exp(stream(6, "spectrum").uniform(np.log(1e-4), 0, 200)),
    "power": np.arange(1, 201) ** -1.5,
    "few stiff": np.where(np.arange(200) < 25, 1.0, 1e-3),
    "flat half": np.where(np.arange(200) < 100, 1.0, 0.0),
}


@pytest.mark.parametrize("share", [0.7, 0.3, 0.05])
@pytest.mark.parametrize("name", SPECTRA)
def test_width_from_outside_agrees_with_its_support_function_within_three_standard_errors(
    name, share
):
    lam, delta = SPECTRA[name], stream(7, "displacement").standard_normal(200)
    with np.errstate(divide="ignore"):  # flat directions have infinite radii
        radii = np.sqrt(share * float(lam @ delta**2) / lam)
    width = ellipsoid_from_outside_width(radii, delta)
    sampled = gaussian_width(ellipsoid_from_outside_support(radii, delta), 200, samples=1000)
    assert abs(sampled.mean - width) <= 3 * sampled.standard_error
    assert 3 * sampled.standard_error < 0.1


@pytest.mark.parametrize("ratio", [0.01, 0.3, 0.9, 1.2])
def test_support_with_equal_radii_is_that_of_the_cap_that_the_ball_subtends(ratio):
    """Also in the polar of the cone (ratio 0.01: about half of the draws), where it is negative."""
    delta, g = (
        stream(8, "displacement").standard_normal(20),
        stream(9, "g").standard_normal((400, 20)),
    )
    radius = ratio * float(np.linalg.norm(delta))
    heights = ellipsoid_from_outside_support(np.full(20, radius), delta)(g)
    angle = math.asin(ratio) if ratio < 1 else math.pi
    np.testing.assert_allclose(heights, cap_support(-delta, angle)(g), atol=1e-11)
    assert ratio > 0.01 or 100 < (heights < 0).sum() < 250


def test_width_with_equal_radii_is_that_of_the_cap_that_the_ball_subtends():
    """Within 1/(10 δ), δ = 400 ratio²; poor where that is a few."""
    for ratio, error in {0.9: 3e-4, 0.5: 1e-3, 0.3: 3e-3, 0.2: 6e-3}.items():
        found = ellipsoid_from_outside_width(np.full(400, ratio), np.full(400, 0.05))
        assert found == pytest.approx(ball_from_outside_width(ratio, 1.0, 400), abs=error)
    for square, found, true in ((0.05, 1.62, 1.56), (0.003, 0.84, 0.38)):  # as the docstring says
        radii = np.full(50, math.sqrt(square))
        width = ellipsoid_from_outside_width(radii, np.full(50, math.sqrt(1 / 50)))
        assert width == pytest.approx(found, abs=0.005)
        assert ball_from_outside_width(radii[0], 1.0, 50) == pytest.approx(true, abs=0.005)


@pytest.mark.parametrize("dim", [2, 3, 5])
def test_support_from_outside_is_the_largest_over_points_of_the_ellipsoid(dim):
    rng = stream(10, "outside", dim)
    radii, delta = np.exp(rng.uniform(-2, 0, dim)), 2 * rng.standard_normal(dim)
    surface = rng.standard_normal((100_000, dim))
    surface *= radii / np.linalg.norm(surface, axis=1, keepdims=True)
    g = rng.standard_normal((60, dim))
    heights = ellipsoid_from_outside_support(radii, delta)(g)
    sampled = points_support(project_onto_sphere(surface, delta))(g)
    assert (sampled <= heights + 1e-9).all()
    np.testing.assert_allclose(heights, sampled, atol=0.005)
    assert 10 < (heights < 0).sum() < 50


def test_a_start_inside_sees_the_whole_sphere():
    radii, delta = np.array([1.0, 2.0, np.inf]), np.array([0.5, 0.5, 7.0])
    assert ellipsoid_from_outside_width(radii, delta) == subspace_width(3)
    heights = ellipsoid_from_outside_support(radii, delta)(np.eye(3))
    np.testing.assert_allclose(heights, 1)


@pytest.mark.parametrize("of", [ellipsoid_from_outside_support, ellipsoid_from_outside_width])
@pytest.mark.parametrize(
    ("radii", "delta", "message"),
    [
        ([1.0, 0.0], [3.0, 3.0], "radii: expected numbers > 0, got 0"),
        ([1.0, math.nan], [3.0, 3.0], "radii: expected finite numbers, got NaN"),
        ([1.0], [3.0], r"radii: expected shape \(D,\), D ≥ 2"),
        ([1.0, 1.0], [3.0], r"displacement: expected shape \(2,\), got shape \(1,\)"),
        ([1.0, 1.0], [3.0, math.inf], "displacement: expected finite numbers"),
    ],
)
def test_bad_ellipsoids_are_named(of, radii, delta, message):
    with pytest.raises(InputError, match=message):
        of(radii, delta)


def test_bad_wells_are_named():
    with pytest.raises(InputError, match=r"g: expected shape \(n, 4\), n ≥ 1, got shape \(2, 3\)"):
        distances_to_cone(np.ones((2, 3)), np.ones(4), np.ones(4), 1.0)
    with pytest.raises(InputError, match="displacement"):
        distances_to_cone(np.ones((2, 3)), np.ones(3), np.ones(4), 1.0)
    with pytest.raises(InputError, match="eigenvalues: expected numbers ≥ 0, got -1"):
        distances_to_cone(np.ones((2, 3)), -np.ones(3), np.ones(3), 1.0)
    with pytest.raises(InputError, match="level"):
        distances_to_cone(np.ones((2, 3)), np.ones(3), np.ones(3), 0.0)
    with pytest.raises(InputError, match="samples: expected an integer, 1 or more, got 0"):
        squared_distances(np.ones(3), np.ones(3), 0.1, 0, 0)
    with pytest.raises(InputError, match="seed"):
        squared_distances(np.ones(3), np.ones(3), 0.1, 1, 0.5)


def test_scalars_and_arrays_of_numpy_and_torch_count_as_numbers():
    expected = squared_distances(np.ones(3), np.ones(3), 0.25, 4, 0)
    same = squared_distances(torch.ones(3), [1, 1, 1], np.float32(0.25), np.int64(4), np.int64(0))
    assert np.array_equal(same, expected)


@pytest.mark.parametrize(
    ("radii", "displacement", "g", "height"),
    [
        ([1.0, 1.0, 1.0], [0.0, 0.0, 2.0], [0.0, 0.0, 1.0], -math.cos(math.pi / 6)),
        ([1.0, 2.0, 3.0], [0.0, 0.0, 10.0], [0.0, 0.0, 1.0], None),
        ([1.0, 2.0, 3.0], [0.0, 10.0, 0.0], [0.3, 1.0, 0.0], None),
    ],
)
def test_a_direction_without_part_along_the_eigenvector(radii, displacement, g, height):
    found = ellipsoid_from_outside_support(radii, displacement)(np.array([g]))[0]
    on_sphere = stream(0, "ellipsoid-hard").normal(size=(400_000, 3))
    on_sphere /= np.linalg.norm(on_sphere, axis=1, keepdims=True)
    seen = on_sphere * np.array(radii) - np.array(displacement)
    best = float((seen @ np.array(g) / np.linalg.norm(seen, axis=1)).max())
    assert best - 1e-6 < found < best + 1e-4
    assert height is None or found == pytest.approx(height, abs=1e-6)
