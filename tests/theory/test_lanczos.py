import math

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import eigsh

from subspan.errors import InputError
from subspan.streams import stream
from subspan.theory.lanczos import (
    Operator,
    density_measures,
    lanczos,
    smoothed_density,
    top_eigenpairs,
)


def symmetric(dim, seed=0):
    rng = stream(seed, "lanczos-test")
    q = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    return q @ np.diag(np.exp(rng.uniform(-8, 3, dim))) @ q.T


def test_basis_stays_orthonormal_and_reproduces_the_tridiagonal_matrix():
    matrix = torch.from_numpy(symmetric(120))
    run = lanczos(Operator.dense(matrix), torch.ones(120), 120, keep_basis=True)
    q = run.basis
    gram = q @ q.T
    assert (gram - torch.eye(len(q))).abs().max() < 1e-12
    assert torch.allclose((q @ matrix @ q.T).diagonal(), torch.from_numpy(run.alphas), atol=1e-10)


def test_quadrature_is_exact_for_polynomials_of_degree_2m_minus_1():
    matrix = torch.from_numpy(symmetric(40) / 20)
    start = torch.from_numpy(stream(1, "v").standard_normal(40))
    nodes, weights = lanczos(Operator.dense(matrix), start, 4).quadrature()
    for power in range(8):
        exact = float(start @ torch.linalg.matrix_power(matrix, power) @ start)
        assert (nodes**power) @ weights == pytest.approx(exact, rel=1e-9)
    assert (nodes**8) @ weights != pytest.approx(
        float(start @ torch.linalg.matrix_power(matrix, 8) @ start), rel=1e-9
    )


@pytest.mark.parametrize("steps", [1, 4, 9])
def test_gauss_and_gauss_radau_bracket_a_concave_function(steps):
    lam, kappa = np.logspace(-6, 0, 200), 1e4
    run = lanczos(Operator.diagonal(torch.from_numpy(lam)), torch.ones(200), steps)
    exact = float((kappa * lam / (1 + kappa * lam)).sum())
    (upper, above), (lower, below) = run.quadrature(), run.radau()
    assert lower[0] == pytest.approx(0, abs=1e-11)
    assert below @ np.maximum(lower, 0) == pytest.approx(lam.sum())
    values = [w @ (kappa * np.maximum(n, 0) / (1 + kappa * np.maximum(n, 0)))
              for n, w in ((lower, below), (upper, above))]  # fmt: skip
    assert values[0] < exact < values[1]


def test_top_eigenpairs_match_scipy():
    matrix = symmetric(150, 2)
    values, vectors, residuals = top_eigenpairs(Operator.dense(torch.from_numpy(matrix)), 5)
    expected = eigsh(matrix, 5, which="LA", v0=np.ones(150))[0][::-1]
    np.testing.assert_allclose(values, expected, rtol=1e-8)
    for value, vector, residual in zip(values, vectors.numpy(), residuals, strict=True):
        assert np.linalg.norm(matrix @ vector - value * vector) <= residual + 1e-9


MULTIPLE = {
    "review": ([3, 3, 3, 2, 1, 0.5, 0.2], 3),
    "beyond the multiple one": ([3, 3, 3, 2, 1, 0.5, 0.2], 5),
    "all the same": (np.ones(100), 4),
    "all zero": (np.zeros(10), 3),
    "no exact breakdown": ([*np.repeat([9.0, 8.0, 7.0], 4), *np.linspace(-6, 5, 300)], 10),
    "cut within a multiple one": ([4, 4, 3, 3, 3, 3, *np.linspace(0, 2, 50)], 4),
    "negative, by algebraic order": ([-3, -1, -1, -2, -9, -9], 3),
    "all of them": ([5, 5, -5, -5, 0, 0, 1], 7),
    "all, simple": (np.arange(30.0), 30),
    "one of two": ([2, 2], 1),
    "one dimension": ([-4], 1),
    "of low rank": ([7, 5, 3, *np.zeros(397)], 10),
    "pairs": (np.repeat(np.linspace(0, 1, 200), 2), 10),
    "twenty copies": ([*[5] * 20, *np.linspace(-1, 4, 380)], 25),
    "zero, large": (np.zeros(300), 3),
}


@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("case", MULTIPLE)
def test_top_eigenpairs_come_with_their_multiplicity(case, rotated):
    eigenvalues, count = MULTIPLE[case]
    matrix = np.diag(np.asarray(eigenvalues, dtype=float))
    if rotated:
        q = np.linalg.qr(stream(4, "rotation").standard_normal(matrix.shape))[0]
        matrix = q @ matrix @ q.T
        matrix = (matrix + matrix.T) / 2
    values, vectors, residuals = top_eigenpairs(Operator.dense(torch.from_numpy(matrix)), count)
    v = vectors.numpy()
    expected = np.linalg.eigvalsh(matrix)[::-1][:count]
    np.testing.assert_allclose(values, expected, atol=1e-8)
    np.testing.assert_allclose(v @ v.T, np.eye(count), atol=1e-10)
    np.testing.assert_allclose(np.linalg.norm(v @ matrix - values[:, None] * v, axis=1), residuals,
                               atol=1e-10)  # fmt: skip


def test_a_spectrum_without_gaps_has_its_top():
    lam = np.linspace(0, 1, 400)
    values, _, residuals = top_eigenpairs(Operator.diagonal(torch.from_numpy(lam)), 10)
    np.testing.assert_allclose(values, lam[::-1][:10], atol=1e-9)
    assert residuals.max() < 1e-8


def test_too_few_steps_for_the_gaps_are_refused():
    lam = torch.linspace(0, 1, 2000, dtype=torch.float64)
    with pytest.raises(InputError, match=r"steps: expected enough for the gaps.*Take more steps"):
        top_eigenpairs(Operator.diagonal(lam), 10, steps=10)


def test_top_eigenpairs_are_the_same_for_the_same_seed():
    identity = Operator.diagonal(torch.ones(100))  # where ARPACK draws vectors anew
    one, same, other = (top_eigenpairs(identity, 3, seed=seed)[1] for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.allclose(one, other)


def test_stops_at_an_invariant_subspace():
    run = lanczos(Operator.diagonal(torch.tensor([1.0, 2.0, 3.0])), torch.tensor([1.0, 1, 0]), 3)
    np.testing.assert_allclose(run.eigh()[0], [1, 2], atol=1e-12)


def test_stochastic_quadrature_is_unbiased_and_its_noise_is_as_stated():
    lam = torch.from_numpy(np.exp(stream(3, "lam").uniform(-4, 0, 400)))
    scores = []
    for seed in range(20):
        measures = density_measures(Operator.diagonal(lam), probes=20, steps=30, seed=seed)
        traces = np.array([np.sqrt(n) @ w for n, w in measures])
        error = traces.std(ddof=1) / np.sqrt(len(traces))
        scores.append((traces.mean() - float(lam.sqrt().sum())) / error)
    assert abs(np.mean(scores)) <= 3 / np.sqrt(20)
    assert 0.6 < np.std(scores) < 1.6


def test_smoothed_density_integrates_to_the_dimension():
    measures = density_measures(Operator.diagonal(torch.linspace(0, 1, 50)), 3, 20, seed=0)
    grid = np.linspace(-1, 2, 2000)
    density = smoothed_density(measures, grid, 0.05)
    assert density.sum() * (grid[1] - grid[0]) == pytest.approx(50, rel=1e-6)


def test_same_seed_same_measures_other_seed_others():
    op = Operator.diagonal(torch.linspace(0, 1, 20))
    a, b, c = (density_measures(op, 1, 5, seed)[0][0] for seed in (0, 0, 1))
    assert np.array_equal(a, b)
    assert not np.allclose(a, c)


TWO = Operator.diagonal(torch.ones(2))
BROKEN = Operator(2, lambda v: v * float("nan"))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lanczos(TWO, torch.ones(3), 1), r"start: expected shape \(2,\)"),
        (lambda: lanczos(TWO, torch.zeros(2), 1), "other than 0"),
        (lambda: lanczos(TWO, torch.tensor([1.0, float("nan")]), 1), "start: expected a finite"),
        (lambda: lanczos(TWO, torch.ones(2), 0), "steps: expected an integer, 1 or more, got 0"),
        (lambda: lanczos(TWO, torch.ones(2), 1.5), "steps: expected an integer"),
        (lambda: lanczos(BROKEN, torch.ones(2), 2), "operator: expected finite products, got NaN"),
        (lambda: top_eigenpairs(TWO, 3), "count: expected an integer in 1 … 2, got 3"),
        (lambda: top_eigenpairs(TWO, 0), "count"),
        (lambda: top_eigenpairs(TWO, 1, steps=0), "steps: expected an integer, 1 or more, got 0"),
        (lambda: top_eigenpairs(TWO, 1, seed=0.5), "seed: expected an integer"),
        (lambda: top_eigenpairs(BROKEN, 1), "operator: expected finite products"),
        (lambda: density_measures(TWO, 0, 1, 0), "probes: expected an integer, 1 or more, got 0"),
        (lambda: density_measures(TWO, 1, -1, 0), "steps: expected an integer, 1 or more, got -1"),
        (lambda: smoothed_density([], np.ones(2), 1.0), "measures: expected at least one"),
        (
            lambda: smoothed_density([(np.ones(1), np.ones(1))], np.ones(2), 0.0),
            "width: expected a finite number > 0",
        ),
        (
            lambda: smoothed_density([(np.ones(1), np.ones(1))], np.ones((2, 2)), 1.0),
            "grid: expected shape",
        ),
        (
            lambda: smoothed_density([(np.ones(1), np.ones(1))], [0.0, math.nan], 1.0),
            "grid: expected finite numbers",
        ),
        (
            lambda: smoothed_density([(np.ones(2), np.ones(3))], np.ones(2), 1.0),
            r"measures: expected pairs \(nodes, weights\) .* got shapes \(2,\) and \(3,\)",
        ),
        (
            lambda: smoothed_density([(np.array([math.nan]), np.ones(1))], np.ones(2), 1.0),
            "measures: expected pairs .* got NaN",
        ),
        (lambda: smoothed_density(np.ones(3), np.ones(2), 1.0), "measures: expected pairs"),
        (lambda: Operator(0, lambda v: v), "dim: expected an integer, 1 or more, got 0"),
        (lambda: Operator.diagonal(torch.ones(2, 2)), r"eigenvalues: expected shape \(D,\), D ≥ 1"),
        (lambda: Operator.diagonal(torch.ones(0)), "eigenvalues: expected shape"),
        (lambda: Operator.dense(torch.ones(2, 3)), r"matrix: expected shape \(D, D\), D ≥ 1"),
        (lambda: Operator.dense(torch.eye(2) / 0), "matrix: expected finite numbers"),
        (lambda: Operator.dense(torch.ones(2, 2).triu()), "matrix: expected a symmetric one"),
        (lambda: TWO(torch.ones(3)), r"v: expected shape \(2,\) or \(K, 2\), got shape \(3,\)"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_integers_of_numpy_count_as_integers():
    values = top_eigenpairs(TWO, np.int64(2), steps=np.int64(2), seed=np.int64(1))[0]
    np.testing.assert_allclose(values, 1)
    assert len(density_measures(TWO, np.int64(2), np.int64(2), np.int64(0))) == 2


def test_whole_numbers_and_lists_are_matrices_too():
    values, _ = top_eigenpairs(Operator.dense([[2, 1], [1, 2]]), 2)[:2]
    assert np.allclose(values, [3, 1])
    whole = Operator.dense(torch.tensor([[2, 1], [1, 2]]))
    assert whole.dtype == torch.float64
    half = torch.tensor([0.5, 0.25], dtype=torch.float64)
    assert torch.equal(whole(half), torch.tensor([1.25, 1.0], dtype=torch.float64))
    assert torch.equal(Operator.diagonal([1, 2])(half), half * torch.tensor([1, 2]))
    with pytest.raises(InputError, match="dtype: expected a floating one"):
        Operator(2, lambda v: v, dtype=torch.int64)
