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


def test_bad_start_is_named():
    with pytest.raises(InputError, match=r"start: expected shape \(2,\)"):
        lanczos(Operator.diagonal(torch.ones(2)), torch.ones(3), 1)
    with pytest.raises(InputError, match="other than 0"):
        lanczos(Operator.diagonal(torch.ones(2)), torch.zeros(2), 1)
    with pytest.raises(InputError, match="count"):
        top_eigenpairs(Operator.diagonal(torch.ones(2)), 3)
