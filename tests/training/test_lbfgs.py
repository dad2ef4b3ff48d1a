import itertools
import math

import pytest
import torch
from torch import nn

from subspan import maps
from subspan.problems import Problem, Quadratic
from subspan.streams import normals
from subspan.training.lbfgs import minimize_by_lbfgs


def draw(*shape, name):
    count = torch.Size(shape).numel()
    return torch.from_numpy(normals(0, "lbfgs-test", name, count=count)).reshape(shape)


X = draw(60, 4, name="x")
Y = (X @ draw(4, 3, name="teacher")).argmax(1)


def make(problem, dim):
    return maps.make("gaussian", dim=dim, ambient_dim=problem.ambient_dim, seed=0).to(
        dtype=problem.dtype
    )


@pytest.fixture(scope="module")
def network():
    return Problem(
        lambda: nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)), (X, Y), name="n"
    ).to(dtype=torch.float64)


def test_finds_the_minimum_of_a_quadratic():
    q = Quadratic([3.0, 1.0, 0.5, 0.01], [1.0, -1.0, 2.0, 1.0]).to(dtype=torch.float64)
    a = make(q, 3)
    found = minimize_by_lbfgs(q, q.init(0), a)
    best = q.minimum_in_subspace(q.init(0), a)
    assert torch.allclose(found.theta, best, atol=1e-6)


def test_no_step_raises_the_loss_and_the_last_is_where_the_gradient_is_gone(network):
    """At the end a step may gain less than rounding: whether the last loss equals the one before
    depends on the order of sums, so on the processor's kernels. No kernel may let it rise."""
    a, w0 = make(network, 12), network.init(0)
    found = minimize_by_lbfgs(network, w0, a)
    gradient = torch.func.grad(lambda t: network.loss(w0 + a(t), network.batch()))(found.theta)
    assert gradient.norm() < 1e-3
    assert found.status == "stalled"
    assert found.loss == float(network.loss(w0 + a(found.theta), network.batch()))
    steps = list(itertools.pairwise(found.losses))
    assert all(p >= q for p, q in steps)
    assert all(p > q for p, q in steps if p - found.loss > 1e-12)
    assert minimize_by_lbfgs(network, w0, a).losses == found.losses


def test_stops_at_the_level_and_after_its_steps(network):
    a, w0 = make(network, 12), network.init(0)
    found = minimize_by_lbfgs(network, w0, a, level=0.8)
    assert found.status == "reached"
    assert found.losses[-1] <= 0.8 < found.losses[-2]
    assert minimize_by_lbfgs(network, w0, a, level=0.8, start=found.theta).steps == 0
    short = minimize_by_lbfgs(network, w0, a, steps=3)
    assert (short.status, short.steps, short.losses) == ("out of steps", 3, found.losses[:4])


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_a_region_without_a_finite_loss_is_walked_around(bad):
    """An infinite or undefined loss in a line search alone would end SciPy's search there."""

    def walled(outputs, targets):
        value = nn.functional.cross_entropy(outputs, targets)
        return torch.where(outputs.abs().max() > 6, torch.full_like(value, bad), value)

    problem = Problem(lambda: nn.Linear(4, 3), (X, Y), loss=walled, name="walled")
    w0 = problem.init(0)
    found = minimize_by_lbfgs(problem, w0, make(problem, 10))
    assert math.isfinite(found.loss)
    assert found.loss < 0.6 * found.losses[0]
