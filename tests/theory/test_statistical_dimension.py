import math

import numpy as np
import pytest

from subspan.errors import InputError
from subspan.streams import stream
from subspan.theory.statistical_dimension import Transition, hit_dim, miss_dim
from subspan.theory.width import cap_stat_dim, cap_width


def test_statistical_dimension_brackets_the_squared_width():
    for angle in (0.2, 0.8, 1.4):
        width, stat = cap_width(angle, 60), cap_stat_dim(angle, 60)
        assert width**2 <= stat <= width**2 + 1


def test_hit_and_miss_dims_surround_the_transition():
    assert miss_dim(300, 1000, 0.1) < 700 < hit_dim(300, 1000, 0.1)
    assert hit_dim(300, 1000, 0.1) - 700 == pytest.approx(math.sqrt(8 * math.log(40) * 1000))
    with pytest.raises(InputError, match="eta"):
        hit_dim(300, 1000, 0)


def test_transition_of_the_orthant_is_binomial():
    """The intrinsic volumes of the positive orthant are binomial: mean D/2, variance D/4."""
    dim = 100
    g = stream(0, "orthant").standard_normal((40_000, dim))
    transition = Transition.from_distances((np.minimum(g, 0) ** 2).sum(1))
    assert transition.center == pytest.approx(dim / 2, abs=0.2)
    assert transition.spread == pytest.approx(math.sqrt(dim / 4), rel=0.1)


def test_transition_predicts_measured_hits_of_a_circular_cone():
    """A random d-dim subspace meets the cone iff the axis' angle to it is at most α."""
    dim, angle, draws = 60, 0.6, 4000
    rng = stream(2, "cone")
    center = dim - cap_stat_dim(angle, dim)
    transition = Transition.from_stat_dim(cap_stat_dim(angle, dim), dim)
    for d in (30, 40, 45, 50):
        # squared cosine between a fixed axis and a random d-dim subspace: Beta(d/2, (D−d)/2)
        cosine2 = rng.beta(d / 2, (dim - d) / 2, draws)
        hit = np.mean(cosine2 >= math.cos(angle) ** 2)
        assert hit == pytest.approx(float(transition.probability(d)), abs=0.12)
    assert float(transition.probability(center)) == pytest.approx(0.5)


def test_dim_at_inverts_probability():
    transition = Transition(100.0, 8.0)
    assert float(transition.probability(transition.dim_at(0.9))) == pytest.approx(0.9)
    assert Transition(5.0, 0.0).probability([4.9, 5.0]).tolist() == [0.0, 1.0]
    assert Transition(1.0, 8.0).dim_at(0.1) == 0.0
    assert transition.threshold(1000) == transition.dim_at(0.9)
    assert transition.threshold(105) == 105
    with pytest.raises(InputError, match="delta"):
        transition.threshold(1000, 0)
    with pytest.raises(InputError, match="probability"):
        transition.dim_at(1.0)
    with pytest.raises(InputError, match="squared_distances"):
        Transition.from_distances(np.ones(1))


def test_bad_input_is_named():
    for call in (hit_dim, miss_dim):
        with pytest.raises(
            InputError, match="ambient_dim: expected an integer, 1 or more, got -50"
        ):
            call(3.0, -50, 0.1)
        with pytest.raises(InputError, match=r"stat_dim: expected a number in \[0, 50\], got 51"):
            call(51, 50, 0.1)
        with pytest.raises(InputError, match="stat_dim"):
            call(math.nan, 50, 0.1)
        for eta in (-1, 1, math.nan):
            with pytest.raises(InputError, match=r"eta: expected a number in \(0, 1\), got"):
                call(3.0, 50, eta)
        assert call(np.float32(3), np.int64(50), np.float64(0.1)) == call(3.0, 50, 0.1)
    with pytest.raises(InputError, match="stat_dim"):
        Transition.from_stat_dim(-1, 50)
    with pytest.raises(InputError, match="center: expected a finite number, got nan"):
        Transition(math.nan, 1.0)
    with pytest.raises(InputError, match="spread: expected a finite number ≥ 0, got -1"):
        Transition(1.0, -1.0)
    with pytest.raises(InputError, match="squared_distances: expected numbers ≥ 0, got -1"):
        Transition.from_distances([1.0, -1.0])
    with pytest.raises(InputError, match="dims: expected numbers, got NaN"):
        Transition(1.0, 1.0).probability([1.0, math.nan])
    with pytest.raises(InputError, match="ambient_dim"):
        Transition(1.0, 1.0).threshold(0)
