from collections.abc import Iterator

import pytest

from subspan import problems
from subspan.problems import Problem
from subspan.subspaces.full_space import cache


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
