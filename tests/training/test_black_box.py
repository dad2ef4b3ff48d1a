"""Training without gradients: the losses alone are asked for, and what they tell is found."""

from __future__ import annotations

import builtins

import pytest
import torch

import subspan as ss
from subspan import maps, problems
from subspan.streams import watched_global_rngs
from subspan.training.black_box import minimize_by_cma, minimize_by_spsa

SEARCHES = [minimize_by_spsa, minimize_by_cma]
DIM = 8


def well(dim: int) -> tuple[problems.AbstractProblem, torch.Tensor, maps.LinearMap, float]:
    """A round well, with its least loss in the subspace by least squares."""
    problem = problems.load("quadratic", eigenvalues=[1.0] * 30, displacement=[1.0] * 30)
    problem = problem.to(dtype=torch.float64)
    offset = problem.init(0)
    linear_map = maps.make("gaussian", dim=dim, ambient_dim=30, seed=0).to(dtype=torch.float64)
    dense = linear_map.dense()
    solved = torch.linalg.lstsq(dense, -torch.ones(30, 1, dtype=torch.float64)).solution[:, 0]
    return problem, offset, linear_map, float(problem.loss(offset + dense @ solved, None))


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("dim", [1, DIM])
def test_the_least_loss_in_the_subspace_is_found(search, dim):
    problem, offset, linear_map, least = well(dim)
    found = search(problem, offset, linear_map, steps=400 if search is minimize_by_spsa else 80)
    start = float(problem.loss(offset, None))
    assert found.loss == float(problem.loss(offset + linear_map(found.theta), None))
    assert found.loss - least < 1e-3 * (start - least)
    assert list(found.losses) == sorted(found.losses, reverse=True)


@pytest.mark.parametrize("search", SEARCHES)
def test_no_gradient_is_taken_and_no_global_generator_moves(search, monkeypatch):
    problem, offset, linear_map, _ = well(3)

    def refused(*arguments, **named):
        raise AssertionError("a gradient was asked for")

    monkeypatch.setattr(torch.autograd, "grad", refused)
    monkeypatch.setattr(torch.Tensor, "backward", refused)
    with watched_global_rngs() as moved:
        one, other = (search(problem, offset, linear_map, steps=5) for _ in range(2))
    assert moved == []
    assert torch.equal(one.theta, other.theta)
    elsewhere = maps.make("gaussian", dim=3, ambient_dim=30, seed=1).to(dtype=torch.float64)
    assert not torch.equal(search(problem, offset, elsewhere, steps=5).theta, one.theta)


@pytest.mark.parametrize("search", SEARCHES)
def test_watch_ends_it_and_losses_are_counted(search):
    problem, offset, linear_map, _ = well(3)
    counted = []
    loss = problem.loss
    problem.loss = lambda *a: counted.append(1) or loss(*a)  # type: ignore[method-assign]
    found = search(problem, offset, linear_map, steps=9, watch=lambda step, theta: step == 4)
    assert (found.status, found.steps) == ("reached", 4)
    assert found.evaluations == len(counted)


def test_without_the_package_it_says_how_to_get_it(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "cma":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    problem, offset, linear_map, _ = well(3)
    with pytest.raises(ss.InputError, match=r"pip install 'subspan\[es\]'"):
        minimize_by_cma(problem, offset, linear_map, steps=1)
