import pytest
import torch
from torch import nn

from subspan import maps
from subspan.errors import InputError
from subspan.problems import Problem, Quadratic
from subspan.spec import TrainSpec
from subspan.streams import normals
from subspan.subspaces import BurnIn, Draw, RandomAffine
from subspan.training.ensemble import train
from subspan.training.levenberg_marquardt import _krylov_model, minimize_in_subspace
from subspan.training.outcome import Outcome


def draw(*shape, name):
    count = torch.Size(shape).numel()
    return torch.from_numpy(normals(0, "strong-test", name, count=count)).reshape(shape)


@pytest.fixture(scope="module")
def linear_regression():
    x, y = draw(60, 8, name="x"), draw(60, 2, name="y")
    return Problem(lambda: nn.Linear(8, 2), (x, y), loss="mse", name="lr").to(dtype=torch.float64)


@pytest.fixture(scope="module")
def network():
    x = draw(60, 4, name="x4")
    y = (x @ draw(4, 3, name="teacher")).argmax(1)
    return Problem(
        lambda: nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)), (x, y), name="n"
    ).to(dtype=torch.float64)


def make(problem, dim):
    return maps.make("gaussian", dim=dim, ambient_dim=problem.ambient_dim, seed=0).to(
        dtype=torch.float64
    )


def test_finds_the_least_squares_solution_of_a_linear_model(linear_regression):
    problem, a = linear_regression, make(linear_regression, 7)
    w0 = problem.init(0)
    found = minimize_in_subspace(problem, w0, a, tolerance=1e-10, steps=25)
    x, y = problem.batch()[:2]
    design = torch.func.jacrev(lambda t: problem.outputs(w0 + a(t), x).reshape(-1))(found.theta)
    residual = problem.outputs(w0, x).reshape(-1) - y.reshape(-1)
    best = torch.linalg.lstsq(design, -residual[:, None]).solution[:, 0]
    assert torch.allclose(found.theta, best, atol=1e-4)
    assert found.loss == pytest.approx(float(problem.loss(w0 + a(best), (x, y))), rel=1e-6)
    assert found.status == "stalled"


def test_ends_at_a_stationary_point_below_what_adam_reaches(network):
    a, w0 = make(network, 12), network.init(0)
    found = minimize_in_subspace(network, w0, a, steps=40, tolerance=1e-7)
    batch = network.batch()
    gradient = torch.func.grad(lambda t: network.loss(w0 + a(t), batch))(found.theta)
    assert gradient.norm() < 1e-2
    theta = torch.zeros(12, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([theta], lr=0.05)
    for _ in range(100):
        adam.zero_grad()
        network.loss(w0 + a(theta), batch).backward()
        adam.step()
    assert found.loss <= float(network.loss(w0 + a(theta.detach()), batch)) + 1e-6
    assert all(p >= q for p, q in zip(found.losses, found.losses[1:], strict=False))


def test_stops_at_the_level(network):
    a, w0 = make(network, 12), network.init(0)
    found = minimize_in_subspace(network, w0, a, level=0.8, steps=40)
    assert found.status == "reached"
    assert found.loss <= 0.8
    assert found.steps < minimize_in_subspace(network, w0, a, steps=40).steps
    again = minimize_in_subspace(network, w0, a, level=0.8, start=found.theta)
    assert again.steps == 0


def test_out_of_steps_is_said(network):
    found = minimize_in_subspace(network, network.init(0), make(network, 12), steps=2)
    assert found.status == "out of steps"
    assert found.products > 0


def test_analytic_problems_are_refused():
    q = Quadratic([1.0, 2.0], [1.0, 1.0])
    with pytest.raises(InputError, match="expected a network"):
        minimize_in_subspace(q, q.init(0), make(q, 1))


def trials(problem, dims, spec, method=None):
    draws = [Draw(d, 0, r) for r, d in enumerate(dims)]
    subspaces = (method or RandomAffine("gaussian")).subspaces(problem, draws)
    return subspaces, train(problem, subspaces, spec, [d.batch_seed for d in draws])


def test_as_an_optimizer_it_evaluates_a_trained_offset(network):
    spec = TrainSpec("levenberg_marquardt", stop_at="loss<=5", dtype="float64")
    (result,) = trials(network, [3], spec, BurnIn(5))[1]
    assert (result.outcome, result.steps, result.curve[0].step) == (Outcome.STOPPED, 0, 0)
    assert torch.equal(result.theta, torch.zeros(3, dtype=torch.float64))


def test_as_an_optimizer_it_refuses_analytic_problems():
    q = Quadratic([1.0, 2.0], [1.0, 1.0])
    with pytest.raises(InputError, match="Use optimizer='exact'"):
        trials(q, [1], TrainSpec("levenberg_marquardt"))


def test_a_refused_step_is_tried_again_and_not_counted(network):
    a, w0 = make(network, 12), network.init(0)
    found = minimize_in_subspace(network, w0, a, steps=40, tolerance=1e-7)
    assert found.evaluations > 1 + found.steps, "no step was refused: this shows nothing"
    assert all(p > q for p, q in zip(found.losses, found.losses[1:], strict=False))
    assert found.products <= 12 * (found.steps + 1)


def test_damping_needs_no_new_products():
    """One Krylov space solves (G + μI) δ = −g for every μ."""
    root = draw(9, 6, name="root")
    g, matrix = draw(6, name="g"), root.T @ root
    model = _krylov_model(lambda v: matrix @ v, g, 1e-9, 50)
    assert len(model.basis) == 6
    for damping in (1e-6, 0.1, 100.0):
        delta, decrease = model.step(damping)
        best = torch.linalg.solve(matrix + damping * torch.eye(6, dtype=g.dtype), -g)
        assert torch.allclose(delta, best, rtol=1e-7, atol=1e-10)
        assert decrease == pytest.approx(-float(g @ best + 0.5 * best @ matrix @ best))
