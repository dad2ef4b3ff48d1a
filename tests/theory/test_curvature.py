import numpy as np
import pytest
import torch
from scipy.sparse.linalg import eigsh
from torch import nn

from subspan.errors import InputError
from subspan.problems import Problem, Quadratic
from subspan.streams import normals
from subspan.theory.curvature import gauss_newton, hessian, losses_and_gradients, subset_rows
from subspan.theory.lanczos import top_eigenpairs
from subspan.theory.linearize import linearize
from subspan.theory.path import mean_loss


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
    with pytest.raises(InputError, match=r"weights: expected finite numbers of torch\.float64"):
        hessian(tiny, torch.full((43,), float("nan")))


@pytest.fixture(scope="module")
def normalised():
    """More rows than a chunk holds, whose second half is scaled: statistics differ by chunk."""
    x = torch.from_numpy(normals(0, "normalised", count=12_600)).reshape(4200, 3)
    x[2100:] *= 4
    y = (x[:, 0] * x[:, 1] > 0).to(torch.int64)

    def make(rows=None):
        return Problem(
            lambda: nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Tanh(), nn.Linear(3, 2)),
            (x, y), name="normalised", eval_rows=rows,
        ).to(dtype=torch.float64)  # fmt: skip

    return make


@pytest.mark.parametrize("rows", [None, 1000])
def test_with_batch_norm_the_loss_is_that_of_evaluate(normalised, rows):
    problem = normalised(rows)
    w, v = problem.init(0), problem.init(1)
    h = 1e-5
    expected = [problem.evaluate(w + k * h * v).loss for k in (-1, 0, 1)]
    assert mean_loss(problem, w, None) == pytest.approx(expected[1], rel=1e-12)
    losses, gradients = losses_and_gradients(problem, torch.stack([w, v]), None)
    assert float(losses[0]) == pytest.approx(expected[1], rel=1e-12)
    assert float(gradients[0] @ v) == pytest.approx((expected[2] - expected[0]) / (2 * h), rel=1e-5)
    there = losses_and_gradients(problem, torch.stack([w + h * v, w - h * v]), None)[1]
    product = hessian(problem, w)(v)
    assert torch.allclose(product, (there[0] - there[1]) / (2 * h), atol=1e-6)
    apart = hessian(problem, w, chunk_rows=2100)(v)
    assert (product - apart).abs().max() > 1e-4
    linear = linearize(problem, w)
    found = linear.evaluate(v).loss
    assert mean_loss(linear, v, None) == pytest.approx(found, rel=1e-12)
    assert linear.evaluate(w).loss == pytest.approx(expected[1], rel=1e-12)


def test_rows_may_be_any_whole_numbers_and_must_be_there(tiny):
    w, v = tiny.init(0), tiny.init(1)
    expected = hessian(tiny, w, indices=torch.tensor([0, 1]))(v)
    for indices in ([0, 1], np.array([0, 1]), torch.tensor([0, 1], dtype=torch.int32)):
        assert torch.equal(hessian(tiny, w, indices=indices)(v), expected)
    for wrong in ([0, 40], [-1], [0.5], [], [[0]], "ab", 3, [None]):
        with pytest.raises(InputError, match=r"^indices: expected "):
            gauss_newton(tiny, w, indices=wrong)
    with pytest.raises(InputError, match=r"indices: .*mask\.nonzero"):
        hessian(tiny, w, indices=torch.ones(40, dtype=torch.bool))
    for wrong in (0, -1, 2.5):
        with pytest.raises(InputError, match=r"^chunk_rows: expected an integer, 1 or more"):
            hessian(tiny, w, chunk_rows=wrong)
