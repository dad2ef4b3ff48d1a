import itertools
import math

import numpy as np
import pytest
import torch

from subspan.errors import InputError
from subspan.streams import stream
from subspan.theory.gordon import (
    certified_miss_dim,
    escape_probability,
    local_angular_dim,
    mean_norm,
    polar_certified_miss_dim,
    polar_escape_probability,
)


def test_mean_norm_is_the_mean_of_norms():
    draws = np.linalg.norm(stream(0, "n").standard_normal((200_000, 3)), axis=1)
    assert mean_norm(3) == pytest.approx(draws.mean(), abs=4 * draws.std() / math.sqrt(len(draws)))
    assert mean_norm(1) == pytest.approx(math.sqrt(2 / math.pi))
    assert mean_norm(0) == 0


@pytest.mark.parametrize("dim", [1, 7, 98, 99, 100, 10**6, 10**9, 2 * 10**10, 10**12])
def test_mean_norm_keeps_its_digits(dim):
    """E‖g_k‖ E‖g_{k+1}‖ = k, and √(k − ½) < E‖g_k‖ < √(k − ½ + 1/(8k − 4)) to 1e-13."""
    assert mean_norm(dim) * mean_norm(dim + 1) == pytest.approx(dim, rel=2e-13)
    assert mean_norm(dim) >= math.sqrt(dim - 0.5) * (1 - 1e-13)
    assert mean_norm(dim) <= math.sqrt(dim - 0.5 + 1 / (8 * dim - 4)) * (1 + 1e-13)


def test_a_certificate_leaves_its_gap_at_any_size():
    """1 − exp(−gap²/2) ≥ 95 % needs √k − 1/(4√k) − w ≥ 2.4477, whatever k = D − d."""
    for ambient_dim in (10**6, 2 * 10**10, 10**12):
        width = math.sqrt(0.9 * ambient_dim)
        dim = certified_miss_dim(width, ambient_dim, 0.95, constants="sharp")
        gap = math.sqrt(ambient_dim - dim) - width
        assert gap == pytest.approx(math.sqrt(2 * math.log(20)), abs=2e-3)


def test_escape_probability_is_the_quoted_formula():
    k, w = 900, 10.0
    expected = 1 - 3.5 * math.exp(-((k / math.sqrt(k + 1) - w) ** 2) / 18)
    assert escape_probability(w, 100, 1000) == pytest.approx(expected)


def test_escape_probability_says_nothing_beyond_the_local_angular_dimension():
    assert escape_probability(20.0, 1000 - 400, 1000) == 0
    assert escape_probability(20.0, 1000 - 399, 1000, constants="sharp") == 0


@pytest.mark.parametrize("constants", ["gordon", "sharp"])
def test_escape_probability_falls_with_dim_and_bounds_the_true_miss_rate(constants):
    """The set is the unit sphere of a fixed m-dim subspace: missed surely iff d + m ≤ D."""
    bounds = [escape_probability(math.sqrt(30), d, 200, constants=constants) for d in range(201)]
    assert all(a >= b for a, b in itertools.pairwise(bounds))
    assert bounds[0] > 0.9
    assert all(b == 0 for b in bounds[170:])


def test_sharp_bound_holds_for_a_spherical_cap():
    """Random lines against a circular cone: the miss rate is known by sampling."""
    from subspan.theory.width import cap_width

    dim, angle, draws = 40, 1.1, 20_000
    g = stream(1, "lines").standard_normal((draws, dim))
    cosine = np.abs(g[:, 0]) / np.linalg.norm(g, axis=1)
    missed = np.mean(cosine < math.cos(angle))
    bound = escape_probability(cap_width(angle, dim), 1, dim, constants="sharp")
    assert bound <= missed + 3 * math.sqrt(missed * (1 - missed) / draws)
    assert bound <= 1


def test_certified_miss_dim_is_the_last_certified():
    width, dim = 15.0, 2410
    for constants in ("gordon", "sharp"):
        d = certified_miss_dim(width, dim, 0.95, constants=constants)
        assert escape_probability(width, d, dim, constants=constants) >= 0.95
        assert escape_probability(width, d + 1, dim, constants=constants) < 0.95
        assert d < dim - local_angular_dim(width)
    assert certified_miss_dim(60.0, 2410) == 0


def test_polar_bound_holds_for_measured_wells_where_the_plain_one_is_vacuous():
    from subspan.theory.ellipsoid import squared_distances
    from subspan.theory.wells import hitting_dims

    lam, delta = np.arange(1, 401) ** -1.5, stream(4, "delta").standard_normal(400)
    level = 0.05 * 0.5 * float(lam @ delta**2)
    distances = squared_distances(lam, delta, level, 2000, 0)
    polar = float(np.sqrt(distances).mean())
    width = float(np.sqrt(np.maximum(400 * 1.0 - distances, 0)).mean())
    hits = hitting_dims(lam, delta, level, draws=100, seed=0)
    certified = polar_certified_miss_dim(polar, 0.9)
    assert 0.3 * distances.mean() < certified < distances.mean()
    assert np.mean(hits > certified) >= 0.9
    assert polar_escape_probability(polar, certified + 1) < 0.9
    assert polar_escape_probability(polar, 400) == 0
    assert certified_miss_dim(width, 400, 0.9) < certified


def test_polar_bound_takes_off_what_the_distance_has_above_the_polar_width():
    """A half-space's polar is a ray, of width 0, and E dist = E max(0, g₁): it is always hit."""
    assert polar_escape_probability(1 / np.sqrt(2 * np.pi), 1) == 0
    for m in (2, 5, 20):  # a subspace's polar is its complement, where the two are equal
        distance = mean_norm(m)
        full = 1 - np.exp(-((distance - mean_norm(1)) ** 2) / 2)
        assert polar_escape_probability(distance, 1) <= full
    assert polar_escape_probability(distance, 1) == pytest.approx(full, abs=1e-4)


def test_bad_input_is_named():
    with pytest.raises(InputError, match="dim: expected an integer in 0 … 10, got 11"):
        escape_probability(1.0, 11, 10)
    with pytest.raises(InputError, match="width"):
        local_angular_dim(-1.0)
    with pytest.raises(InputError, match=r"constants.*Did you mean 'sharp'"):
        escape_probability(1.0, 1, 10, constants="sharpe")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="constants"):
        certified_miss_dim(60.0, 10, constants="foo")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="confidence"):
        certified_miss_dim(1.0, 10, 1.0)
    with pytest.raises(InputError, match="ambient_dim: expected an integer, 1 or more, got -50"):
        certified_miss_dim(1.0, -50)
    with pytest.raises(InputError, match="dim: expected an integer, 0 or more, got -4"):
        polar_escape_probability(3, -4)


@pytest.mark.parametrize("width", [-1.0, math.nan, math.inf, "3", None])
@pytest.mark.parametrize(
    "call",
    [
        local_angular_dim,
        lambda w: escape_probability(w, 1, 10),
        lambda w: certified_miss_dim(w, 10),
        lambda w: polar_escape_probability(w, 1),
        polar_certified_miss_dim,
    ],
)
def test_a_width_is_a_finite_number_of_zero_or_more(call, width):
    with pytest.raises(InputError, match="width: expected a finite number ≥ 0, got"):
        call(width)


def test_scalars_of_numpy_and_torch_count_as_numbers():
    width, dim, ambient = np.float32(3), np.int64(10), torch.tensor(100)
    expected = escape_probability(3.0, 10, 100, constants="sharp")
    assert escape_probability(width, dim, ambient, constants="sharp") == expected
    assert certified_miss_dim(width, ambient) == certified_miss_dim(3.0, 100)
    assert polar_escape_probability(torch.tensor(9.0), dim) == polar_escape_probability(9.0, 10)
