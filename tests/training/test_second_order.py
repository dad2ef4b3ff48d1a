"""The optimisers that search on the full batch, as `train` runs them."""

import pytest
import torch
from torch import nn

from subspan.problems import Problem
from subspan.spec import TrainSpec
from subspan.streams import normals
from subspan.subspaces import Draw, RandomAffine
from subspan.training.ensemble import train
from subspan.training.lbfgs import minimize_by_lbfgs
from subspan.training.levenberg_marquardt import minimize_in_subspace
from subspan.training.outcome import Outcome

SEARCHES = {"lbfgs": minimize_by_lbfgs, "levenberg_marquardt": minimize_in_subspace}


@pytest.fixture(scope="module")
def network():
    x = torch.from_numpy(normals(0, "second-order-test", "x", count=240)).reshape(60, 4)
    teacher = torch.from_numpy(normals(0, "second-order-test", "teacher", count=12)).reshape(4, 3)
    return Problem(
        lambda: nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)),
        (x, (x @ teacher).argmax(1)),
        name="n",
    ).to(dtype=torch.float64)


def trials(problem, dims, spec):
    draws = [Draw(d, 0, r) for r, d in enumerate(dims)]
    subspaces = RandomAffine("gaussian").subspaces(problem, draws)
    return subspaces, train(problem, subspaces, spec, [d.batch_seed for d in draws])


@pytest.mark.parametrize("name", SEARCHES)
def test_gives_the_loss_of_every_step(network, name):
    spec = TrainSpec(name, steps=15, dtype="float64")
    subspaces, results = trials(network, [4, 12], spec)
    for subspace, result in zip(subspaces, results, strict=True):
        alone = SEARCHES[name](network, subspace.offset, subspace.map, steps=15)
        assert torch.equal(result.theta, alone.theta)
        assert [point.step for point in result.curve] == list(range(1, alone.steps + 1))
        assert [point.train_loss for point in result.curve] == pytest.approx(alone.losses[1:])
        assert (result.outcome, result.steps) == (Outcome.FINISHED, alone.steps)


@pytest.mark.parametrize("name", SEARCHES)
def test_stops_at_any_goal(network, name):
    spec = TrainSpec(name, stop_at="accuracy>=0.8", dtype="float64")
    (result,) = trials(network, [12], spec)[1]
    assert result.outcome is Outcome.STOPPED
    assert result.steps == result.curve[-1].step < spec.steps
    assert result.curve[-1].train_accuracy >= 0.8 > result.curve[-2].train_accuracy


@pytest.mark.parametrize("name", SEARCHES)
def test_evaluates_as_often_as_asked_and_at_the_end(network, name):
    spec = TrainSpec(name, eval_every=4, steps=10, dtype="float64")
    assert [p.step for p in trials(network, [12], spec)[1][0].curve] == [4, 8, 10]


@pytest.mark.parametrize("name", SEARCHES)
def test_a_loss_that_is_not_finite_at_the_start_is_divergence(network, name):
    def broken(outputs, targets):
        return nn.functional.cross_entropy(outputs, targets) * float("nan")

    problem = Problem(lambda: nn.Linear(4, 3), network.batch()[:2], loss=broken, name="nan")
    (result,) = trials(problem, [3], TrainSpec(name, steps=5))[1]
    assert (result.outcome, result.curve) == (Outcome.DIVERGED, [])
