from __future__ import annotations

import pytest
import torch
from torch import nn

from subspan.problems import Problem
from subspan.streams import normals


def draw(*shape, name):
    count = 1
    for size in shape:
        count *= size
    return torch.from_numpy(normals(0, "theory-test", name, count=count)).reshape(shape)


@pytest.fixture(scope="session")
def tiny() -> Problem:
    """A 4-5-3 tanh network with D = 43 on 40 rows, in float64: small enough for dense Hessians."""
    x = draw(40, 4, name="x")
    y = (x @ draw(4, 3, name="teacher")).argmax(1)
    return Problem(
        lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)), (x, y), name="tiny"
    ).to(dtype=torch.float64)
