import math

import pytest
import torch
from torch import nn

from subspan import maps
from subspan.errors import InputError
from subspan.problems import Problem, Quadratic
from subspan.spec import TrainSpec
from subspan.streams import normals
from subspan.theory.curvature import gauss_newton, hessian
from subspan.theory.linearize import linearize
from subspan.theory.path import training_path
from subspan.training.levenberg_marquardt import minimize_in_subspace
from subspan.trials.run import run


def test_tangent_agrees_with_the_network_to_first_order(tiny):
    at = tiny.init(0)
    linear = linearize(tiny, at)
    direction = tiny.init(5)
    x = tiny.batch()[0]
    gaps = [
        float((linear.outputs(at + h * direction, x) - tiny.outputs(at + h * direction, x)).norm())
        for h in (0.0, 1e-3, 2e-3)
    ]
    assert gaps[0] < 1e-12
    assert gaps[2] / gaps[1] == pytest.approx(4, rel=0.02)  # second order in h


def test_outputs_are_affine_in_the_weights(tiny):
    linear = linearize(tiny, tiny.init(0))
    a, b, x = tiny.init(1), tiny.init(2), tiny.batch()[0]
    middle = linear.outputs(0.3 * a + 0.7 * b, x)
    assert torch.allclose(
        middle, 0.3 * linear.outputs(a, x) + 0.7 * linear.outputs(b, x), atol=1e-12
    )


def test_hessian_of_the_linearised_network_is_the_gauss_newton_matrix(tiny):
    at, v = tiny.init(0), tiny.init(3)
    assert torch.allclose(
        hessian(linearize(tiny, at), at)(v), gauss_newton(tiny, at)(v), atol=1e-12
    )


def test_it_is_a_problem(tiny):
    linear = linearize(tiny, tiny.init(0))
    weights = torch.stack([tiny.init(1), tiny.init(2)])
    x, y = linear.batch()
    losses, gradients = linear.grads(weights, (x.expand(2, *x.shape), y.expand(2, *y.shape)))
    for row, loss, gradient in zip(weights, losses, gradients, strict=True):
        expected, value = torch.func.grad_and_value(lambda w: linear.loss(w, (x, y)))(row)
        assert torch.allclose(gradient, expected, atol=1e-12)
        assert float(loss) == pytest.approx(float(value))
    evaluations = linear.evaluate_many(weights)
    assert [e.loss for e in evaluations] == pytest.approx(losses.tolist())
    right = (linear.outputs(weights[0], x).argmax(1) == y).double().mean()
    assert evaluations[0].accuracy == pytest.approx(float(right))
    assert math.isnan(linear.evaluate(weights[0], "test").loss)
    assert torch.equal(linear.init(7), tiny.init(0))
    assert linear.identity["base"] == tiny.identity
    assert linear.identity != linearize(tiny, tiny.init(1)).identity
    assert linear.to(dtype=torch.float32).init(0).dtype == torch.float32


def test_training_in_a_subspace_through_w_t_finds_the_one_minimum(tiny):
    """The tangent's loss is convex: every start leads to the same loss, the network's own not."""
    at = training_path(tiny, tiny.init(0), [0.9], seed=0)[0.9].weights
    a = maps.make("gaussian", dim=6, ambient_dim=43, seed=0).to(dtype=torch.float64)
    linear = linearize(tiny, at)
    losses = [
        minimize_in_subspace(linear, at, a, start=start, steps=30, tolerance=1e-6).loss
        for start in (torch.zeros(6, dtype=torch.float64), 3 * tiny.init(2)[:6])
    ]
    assert losses[0] < float(tiny.loss(at, tiny.batch()))
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_run_takes_it(tiny):
    at = tiny.init(1)
    spec = TrainSpec("levenberg_marquardt", steps=15, dtype="float64")
    trials = run(linearize(tiny, at), "random", [4, 12], repeats=2, spec=spec, workers=1)
    assert [t.dim for t in trials] == [4, 4, 12, 12]
    mean = [sum(t.best_train_loss for t in trials if t.dim == d) for d in (4, 12)]
    assert mean[1] < mean[0]


@pytest.fixture(scope="module")
def regression():
    x = torch.from_numpy(normals(0, "regression", count=120)).reshape(30, 4)
    data = x, torch.tanh(x[:, :2] - x[:, 2:])
    return Problem(lambda: nn.Linear(4, 2), data, data, loss="mse", name="regression")


def test_a_regression_network_is_evaluated_and_run(regression):
    at = regression.init(0)
    linear = linearize(regression, at)
    for split in ("train", "test"):
        found = linear.evaluate(at, split)
        assert found.loss == pytest.approx(regression.evaluate(at, split).loss)
        assert math.isnan(found.accuracy)
    spec = TrainSpec("adam", lr=0.05, steps=20)
    (trial,) = run(linear, "random", [8], repeats=1, spec=spec, workers=1)
    assert trial.best_train_loss < found.loss


def test_weights_to_linearise_at_may_be_an_array_and_must_be_finite(tiny):
    at = tiny.init(0)
    assert torch.equal(linearize(tiny, at.numpy()).at, at)
    assert torch.equal(linearize(tiny, at.tolist()).at, at)
    for wrong in (at[:3], at.numpy() * math.nan, "x", ["x"] * 43, at.to(torch.complex64)):
        with pytest.raises(InputError, match=r"^at: expected "):
            linearize(tiny, wrong)


def test_only_networks_are_linearised():
    with pytest.raises(InputError, match="expected a network"):
        linearize(Quadratic([1.0], [1.0]))
