import numpy as np
import pytest
import torch
from scipy.sparse.linalg import eigsh
from torch import nn

from subspan.errors import InputError
from subspan.problems import Problem, Quadratic
from subspan.theory.curvature import gauss_newton, hessian, subset_rows
from subspan.theory.lanczos import top_eigenpairs


def dense(operator):
    return operator(torch.eye(operator.dim, dtype=operator.dtype))


def test_hessian_equals_autograds(tiny):
    w = tiny.init(0)
    expected = torch.func.hessian(lambda v: tiny.loss(v, tiny.batch()))(w)
    assert torch.allclose(dense(hessian(tiny, w)), expected, atol=1e-12)
    assert torch.linalg.eigvalsh(expected)[0] < -1e-4  # a case with negative curvature


def test_gauss_newton_is_the_assembled_product(tiny):
    w = tiny.init(0)
    x, y = tiny.batch()
    jacobian = torch.func.jacrev(lambda v: tiny.outputs(v, x))(w).reshape(-1, tiny.ambient_dim)
    outputs = tiny.outputs(w, x)
    inner = torch.func.hessian(lambda z: tiny.loss_of_outputs(z, y))(outputs)
    inner = inner.reshape(outputs.numel(), outputs.numel())
    assembled = dense(gauss_newton(tiny, w))
    assert torch.allclose(assembled, jacobian.T @ inner @ jacobian, atol=1e-12)
    assert torch.linalg.eigvalsh(assembled)[0] > -1e-10


@pytest.mark.parametrize("make", [hessian, gauss_newton])
def test_chunks_and_subsets_are_means_over_rows(tiny, make):
    w, v = tiny.init(1), tiny.init(2)
    whole = make(tiny, w)(v)
    assert torch.allclose(make(tiny, w, chunk_rows=7)(v), whole, atol=1e-12)
    halves = [make(tiny, w, indices=torch.arange(a, b))(v) for a, b in ((0, 10), (10, 40))]
    assert torch.allclose(0.25 * halves[0] + 0.75 * halves[1], whole, atol=1e-12)
    assert not torch.allclose(halves[0], whole, atol=1e-6)


def test_squared_loss_has_constant_output_curvature(tiny):
    """Forward mode through mse_loss's gradient fails in PyTorch 2.13: neither product needs it."""
    x = tiny.batch()[0]
    y = tiny.outputs(tiny.init(4), x)
    problem = Problem(
        lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)), (x, y), loss="mse"
    ).to(dtype=torch.float64)
    w = tiny.init(4)  # zero residual: the Hessian is the Gauss–Newton matrix
    jacobian = torch.func.jacrev(lambda v: problem.outputs(v, x))(w).reshape(-1, 43)
    expected = 2 / y.numel() * jacobian.T @ jacobian
    assert torch.allclose(dense(gauss_newton(problem, w)), expected, atol=1e-6)
    assert torch.allclose(dense(hessian(problem, w)), expected, atol=1e-6)


def test_top_eigenpairs_of_a_network_match_scipy(tiny):
    operator = hessian(tiny, tiny.init(0))
    values, _, residuals = top_eigenpairs(operator, 4, steps=43)
    expected = eigsh(dense(operator).numpy(), 4, which="LA", v0=np.ones(43))[0][::-1]
    np.testing.assert_allclose(values, expected, rtol=1e-7)
    assert residuals.max() < 1e-6


def test_hessian_of_a_quadratic_is_its_spectrum():
    q = Quadratic([1.0, 2.0, 3.0], [1.0, 1.0, 1.0])
    assert torch.allclose(dense(hessian(q, q.init(0))), torch.diag(q.eigenvalues))
    with pytest.raises(InputError, match="Use hessian"):
        gauss_newton(q, q.init(0))


def test_subset_rows_are_distinct_and_seeded(tiny):
    rows = subset_rows(tiny, 10, 0)
    assert len(rows.unique()) == 10
    assert torch.equal(rows, subset_rows(tiny, 10, 0))
    assert not torch.equal(rows, subset_rows(tiny, 10, 1))
    assert subset_rows(tiny, None, 0) is None
    assert subset_rows(tiny, 40, 0) is None


def test_wrong_weights_are_named(tiny):
    with pytest.raises(InputError, match=r"weights: expected shape \(43,\)"):
        hessian(tiny, torch.zeros(3))
