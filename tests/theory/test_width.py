import math

import numpy as np
import pytest
import torch

from subspan.errors import InputError
from subspan.streams import stream
from subspan.theory import width as W

DIM = 50
RNG = stream(2, "width-test")
BASIS = np.linalg.qr(RNG.standard_normal((DIM, 7)))[0]
RADII = np.exp(RNG.uniform(-3, 1, DIM))
AXIS = RNG.standard_normal(DIM)
CASES = {
    "subspace": (W.subspace_support(BASIS), W.subspace_width(7)),
    "ball": (W.ball_support(2.0), W.ball_width(2.0, DIM)),
    "ellipsoid": (W.ellipsoid_support(RADII), W.ellipsoid_width(RADII)),
    "l1 ball": (W.l1_ball_support(), W.l1_ball_width(DIM)),
    "point": (W.cap_support(AXIS, 0.0), 0.0),
    "cap": (W.cap_support(AXIS, 0.7), W.cap_width(0.7, DIM)),
    "half sphere and more": (W.cap_support(AXIS, 2.0), W.cap_width(2.0, DIM)),
    "ball from outside": (
        W.cap_support(AXIS, math.asin(1 / 3)),
        W.ball_from_outside_width(1.0, 3.0, DIM),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_monte_carlo_agrees_with_the_closed_form_within_three_standard_errors(case):
    support, exact = CASES[case]
    estimate = W.gaussian_width(support, DIM, samples=20_000, seed=0)
    assert abs(estimate.mean - exact) <= 3 * estimate.standard_error
    assert estimate.low < estimate.mean < estimate.high
    assert 3 * estimate.standard_error < 0.05  # so that the comparison can fail


def test_closed_forms_at_known_points():
    assert W.ellipsoid_width(np.ones(9)) == pytest.approx(W.ball_width(1.0, 9), rel=1e-9)
    assert W.ellipsoid_width(np.array([1e-9, 1.0])) == pytest.approx(math.sqrt(2 / math.pi))
    assert W.cap_width(math.pi, 30) == pytest.approx(W.subspace_width(30), rel=1e-9)
    assert W.ball_from_outside_width(3.0, 1.0, 30) == W.subspace_width(30)
    assert W.cap_stat_dim(math.pi / 2, 30) == pytest.approx(29.5)  # a half-space
    assert W.cap_stat_dim(0.3, 10_000) == pytest.approx(10_000 * math.sin(0.3) ** 2, rel=0.002)
    assert W.l1_ball_width(1) == pytest.approx(math.sqrt(2 / math.pi))


def test_l1_descent_cone_matches_known_phase_transition():
    """Donoho–Tanner weak threshold: at ρ = s/D = 0.1, about 0.33 D equations."""
    assert W.l1_descent_cone_stat_dim(10, 100) / 100 == pytest.approx(0.33, abs=0.01)


def test_a_linear_subspace_is_hit_by_its_complement():
    assert W.subspace_width(7) ** 2 == pytest.approx(7, abs=0.5)


def test_projection_onto_the_sphere_about_a_centre():
    points = W.project_onto_sphere(AXIS + 3 * BASIS.T, AXIS)
    np.testing.assert_allclose(points, BASIS.T, atol=1e-12)
    sampled = W.gaussian_width(W.points_support(points), DIM, 2000, 0)
    assert sampled.mean < W.subspace_width(7)  # finitely many points of the set
    with pytest.raises(InputError, match="a point at the centre"):
        W.project_onto_sphere(AXIS[None], AXIS)


def test_same_seed_same_width_other_seed_another():
    support = W.ball_support()
    a, b, c = (W.gaussian_width(support, 5, 10, seed).mean for seed in (0, 0, 1))
    assert a == b != c


def test_bad_support_function_is_named():
    with pytest.raises(InputError, match=r"support_function: expected result of shape \(10,\)"):
        W.gaussian_width(lambda g: g, 5, 10)
    with pytest.raises(InputError, match="support_function: expected finite numbers, got NaN"):
        W.gaussian_width(lambda g: np.full(len(g), math.nan), 5, 10)
    with pytest.raises(
        InputError, match=r"g: expected shape \(n, 50\), n ≥ 1, got shape \(10, 5\)"
    ):
        W.gaussian_width(W.ellipsoid_support(RADII), 5, 10)


NAN, INF = math.nan, math.inf
BALL = W.ball_support()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: W.gaussian_width(BALL, 5, 1), "samples: expected an integer, 2 or more, got 1"),
        (lambda: W.gaussian_width(BALL, 5, 2.5), "samples: expected an integer"),
        (lambda: W.gaussian_width(BALL, 0, 10), "ambient_dim: expected an integer, 1 or more"),
        (lambda: W.gaussian_width(BALL, 5, 10, seed=0.5), "seed: expected an integer, got 0.5"),
        (lambda: W.gaussian_width(BALL, 5, 10, confidence=95), "Write 0.95 for 95 %"),
        (lambda: W.ball_support(-1), "radius: expected a finite number ≥ 0, got -1"),
        (lambda: W.ball_width(NAN, 50), "radius: expected a finite number ≥ 0, got nan"),
        (lambda: W.ball_width(1, 0), "ambient_dim: expected an integer, 1 or more, got 0"),
        (lambda: W.subspace_width(-1), "dim: expected an integer, 0 or more, got -1"),
        (lambda: W.subspace_support(BASIS[:, 0]), "basis: expected shape .n, D."),
        (lambda: W.subspace_support(2 * BASIS), "basis: expected orthonormal columns"),
        (lambda: W.ellipsoid_support([1, -1]), "radii: expected numbers ≥ 0, got -1"),
        (lambda: W.ellipsoid_width([1, NAN]), "radii: expected finite numbers"),
        (lambda: W.ellipsoid_width([]), "radii: expected shape .D,., D ≥ 1"),
        (lambda: W.l1_ball_width(0), "ambient_dim: expected an integer, 1 or more, got 0"),
        (lambda: W.cap_support(AXIS, 4), "angle: expected a number in .0, 3.142., got 4"),
        (lambda: W.cap_support(0 * AXIS, 1), "axis: expected a vector other than 0"),
        (lambda: W.cap_width(-1, 50), "angle: expected a number in .0, 3.142., got -1"),
        (lambda: W.cap_width(NAN, 50), "angle: expected a number in .0, 3.142., got nan"),
        (lambda: W.cap_width(1, 1), "ambient_dim: expected an integer, 2 or more, got 1"),
        (lambda: W.cap_stat_dim(2, 50), "angle: expected a number in .0, 1.571., got 2"),
        (lambda: W.cap_stat_dim(1, 2.5), "ambient_dim: expected an integer"),
        (lambda: W.ball_from_outside_width(-1, 2, 50), "radius: expected a finite number ≥ 0"),
        (lambda: W.ball_from_outside_width(1, INF, 50), "distance: expected a finite number ≥ 0"),
        (lambda: W.ball_from_outside_width(2, 1, 0), "ambient_dim: expected an integer, 2 or more"),
        (lambda: W.l1_descent_cone_stat_dim(51, 50), "sparsity: expected an integer in 0 … 50"),
        (lambda: W.points_support(AXIS), "points: expected shape .n, D."),
        (lambda: W.project_onto_sphere(BASIS.T, AXIS[:3]), "center: expected shape .50,., got"),
        (lambda: W.project_onto_sphere(NAN * BASIS.T, AXIS), "points: expected finite numbers"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_scalars_and_arrays_of_numpy_and_torch_count_as_numbers():
    assert W.cap_width(np.float32(0.5), np.int64(50)) == W.cap_width(0.5, 50)
    assert W.cap_width(np.float32(math.pi), torch.tensor(50)) == W.cap_width(math.pi, 50)
    assert W.ball_from_outside_width(torch.tensor(1), 2.0, 50) == W.ball_from_outside_width(
        1, 2, 50
    )
    assert W.ellipsoid_width(torch.from_numpy(RADII)) == W.ellipsoid_width(list(RADII))
    support = W.cap_support(torch.from_numpy(AXIS), np.float64(0.7))
    sampled = W.gaussian_width(support, np.int64(DIM), np.int64(10), np.int64(3))
    assert sampled == W.gaussian_width(W.cap_support(AXIS, 0.7), DIM, 10, 3)


def test_widths_at_the_ends_of_the_range():
    assert W.ellipsoid_width([1e200, 1.0]) == pytest.approx(1e200 * math.sqrt(2 / math.pi))
    assert W.ellipsoid_width([1e-200, 1e-200]) == pytest.approx(1e-200 * math.sqrt(math.pi / 2))
    assert W.l1_descent_cone_stat_dim(100, 100) <= 100
