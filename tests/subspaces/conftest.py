from collections.abc import Callable, Iterator

import pytest
import torch

from subspan import problems
from subspan.problems import Problem
from subspan.subspaces.full_space import cache
from subspan.training.batches import Batches


@pytest.fixture(scope="session")
def digits() -> Problem:
    problem = problems.load("digits-mlp", subset=400)
    assert isinstance(problem, Problem)
    return problem


@pytest.fixture(autouse=True)
def _no_searches_left_over() -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def plain_run() -> Callable[..., torch.Tensor]:
    """Momentum SGD written out: the weights before the first step and after each."""

    def run(problem, draw, steps):
        order = Batches(draw.search_seed, problem.train_size, 128)
        w = problem.init(draw.init_seed).clone().requires_grad_()
        optimizer = torch.optim.SGD([w], lr=0.05, momentum=0.9)
        path = [w.detach().clone()]
        for step in range(steps):
            optimizer.zero_grad()
            problem.loss(w, problem.batch(order.at(step))).backward()
            optimizer.step()
            path.append(w.detach().clone())
        return torch.stack(path)

    return run
