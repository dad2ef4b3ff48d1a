import itertools
import math

import numpy as np
import pytest
import torch

from subspan.errors import InputError
from subspan.streams import stream
from subspan.theory.wells import hitting_dims, quadratic_threshold


def spectra(rng, dim):
    yield "log-uniform", np.exp(rng.uniform(np.log(1e-4), 0, dim))
    yield "power", np.arange(1, dim + 1) ** -1.5
    yield "sphere", np.ones(dim)
    yield "few stiff", np.where(np.arange(dim) < 60, 1.0, 1e-4)
    yield "slow power", np.arange(1, dim + 1) ** -0.7


def measured_cases():
    """Ten (spectrum, displacement, ε) cases: name, λ, w₀ − w*, ε, measured hitting dimensions."""
    rng = stream(0, "wells-test")
    for share in (0.2, 0.01):
        for name, lam in spectra(rng, 500):
            delta = rng.standard_normal(500) * (1 if share > 0.1 else np.linspace(0, 2, 500))
            level = share * 0.5 * float(lam @ delta**2)
            yield f"{name}, {share}", lam, delta, level, hitting_dims(lam, delta, level, 12, 0)


def test_exact_formula_agrees_with_least_squares_and_beats_the_paper_formula():
    errors = {"exact": [], "paper": []}
    for name, lam, delta, level, hits in measured_cases():
        width = max(hits.std(ddof=1), 1.0)
        for formula, found in errors.items():
            found.append(abs(quadratic_threshold(lam, delta, level, formula) - hits.mean()))
        assert errors["exact"][-1] <= width, name
    assert len(errors["exact"]) == 10
    assert np.mean(errors["paper"]) >= 5 * np.mean(errors["exact"])


def test_sphere_has_the_circular_cone_threshold():
    """One curvature: the cone is circular with sin α = r/R and d* = D (1 − r²/R²)."""
    delta = np.full(400, 0.1)  # R = 2
    assert quadratic_threshold(np.ones(400), delta, 0.5) == pytest.approx(400 * (1 - 1 / 4))
    paper = quadratic_threshold(np.ones(400), delta, 0.5, "paper")
    assert paper == pytest.approx(400 * 4 / (4 + 1))


def test_start_inside_the_level_set_needs_nothing():
    assert quadratic_threshold([1.0, 2.0], [0.1, 0.1], 1.0) == 0


def test_flat_and_negative_directions_cost_nothing():
    lam, delta = np.array([3.0, 1.0, 0.5]), np.ones(3)
    base = quadratic_threshold(lam, delta, 0.1)
    wide = quadratic_threshold(np.append(lam, [0.0, -0.3]), np.ones(5), 0.1)
    assert wide == pytest.approx(base)


def test_paper_formula_is_an_upper_bound_and_both_fall_with_the_level():
    rng = stream(1, "wells-test")
    lam, delta = np.exp(rng.uniform(-6, 0, 100)), rng.standard_normal(100)
    levels = np.geomspace(1e-6, 1, 12) * 0.5 * float(lam @ delta**2) * 0.99
    exact = [quadratic_threshold(lam, delta, e) for e in levels]
    paper = [quadratic_threshold(lam, delta, e, "paper") for e in levels]
    assert all(a <= b for a, b in zip(exact, paper, strict=True))
    assert all(a > b for a, b in itertools.pairwise(exact))
    assert exact[0] == pytest.approx(100, abs=0.5)
    assert exact[-1] < 1


def test_hitting_dimension_is_the_first_least_squares_success():
    rng = stream(2, "wells-test")
    lam, delta = np.exp(rng.uniform(-4, 0, 30)), rng.standard_normal(30)
    level = 0.1 * 0.5 * float(lam @ delta**2)
    (hit,) = hitting_dims(lam, delta, level, 1, 7)
    a = stream(7, "hitting", 0).standard_normal((30, 30))
    root = np.sqrt(lam)
    for d, expect in ((hit - 1, False), (hit, True)):
        columns, target = root[:, None] * a[:, :d], root * delta
        theta = np.linalg.lstsq(columns, -target, rcond=None)[0]
        assert (0.5 * np.sum((target + columns @ theta) ** 2) <= level) == expect


def test_bad_input_is_named():
    with pytest.raises(InputError, match=r"displacement: expected shape \(2,\), got shape \(3,\)"):
        quadratic_threshold([1, 1], [1, 1, 1], 0.1)
    with pytest.raises(InputError, match="level"):
        quadratic_threshold([1], [1], 0.0)
    with pytest.raises(InputError, match="eigenvalues: expected finite numbers"):
        quadratic_threshold([float("nan")], [1], 0.1)
    with pytest.raises(InputError, match=r"formula.*Did you mean 'exact'"):
        quadratic_threshold([1.0], [1.0], 0.1, "exakt")
    for level in (-1.0, 0.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="level: expected a finite number > 0"):
            hitting_dims([1.0, 1.0], [1.0, 1.0], level, 2, 0)
    with pytest.raises(InputError, match=r"displacement: expected shape \(2,\), got shape \(3,\)"):
        hitting_dims([1, 1], [1, 1, 1], 0.1, 2, 0)
    with pytest.raises(InputError, match=r"formula.*Known"):  # also where w₀ lies inside
        quadratic_threshold([1.0], [0.1], 1.0, "foo")
    for draws in (0, -1, 1.5, math.nan):
        with pytest.raises(InputError, match="draws: expected an integer, 1 or more, got"):
            hitting_dims([1.0], [1.0], 0.1, draws, 0)
    with pytest.raises(InputError, match="seed"):
        hitting_dims([1.0], [1.0], 0.1, 1, 0.5)
    with pytest.raises(InputError, match=r"eigenvalues: expected shape \(D,\), D ≥ 1"):
        quadratic_threshold([], [], 0.1)
    with pytest.raises(InputError, match="eigenvalues: expected an array of numbers"):
        quadratic_threshold(["one"], [1.0], 0.1)


def test_scalars_and_vectors_of_numpy_and_torch_count_as_numbers():
    expected = quadratic_threshold([1.0, 2.0], [1.0, 1.0], 0.25)
    for level in (np.float32(0.25), torch.tensor(0.25)):
        assert quadratic_threshold(torch.tensor([1.0, 2.0]), np.ones(2), level) == expected
    hits = hitting_dims([1.0, 2.0], [1.0, 1.0], 0.25, 3, 0)
    again = hitting_dims([1, 2], torch.ones(2), np.float32(0.25), np.int64(3), np.int64(0))
    assert np.array_equal(again, hits)


def test_the_paper_formula_is_tight_where_radii_are_small_along_the_displacement():
    """r² = 1 in one half of the directions, 500 in the other, whose ε is not small: λR² = 1.2."""
    lam, stiff = np.where(np.arange(100) < 50, 1.0, 0.002), np.arange(100) < 50
    along, across = np.sqrt(12) * stiff, np.sqrt(12) * ~stiff  # R² = 600, on either half
    exact, paper = (quadratic_threshold(lam, along, 0.5, f) for f in ("exact", "paper"))
    assert paper == pytest.approx(exact, rel=0.002)
    exact, paper = (quadratic_threshold(lam, across, 0.5, f) for f in ("exact", "paper"))
    assert paper > 1.3 * exact
