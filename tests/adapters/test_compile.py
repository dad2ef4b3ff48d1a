"""`torch.compile` with its default backend, which writes C++ and calls a compiler."""

from __future__ import annotations

import copy
import shutil

import pytest
import torch
from small_modules import inputs, mlp

from subspan.adapters import attach

pytestmark = [
    pytest.mark.slow,  # half a minute of compiling
    pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler"),
]


def train(module: torch.nn.Module, steps: int = 10) -> list[float]:
    optimizer = torch.optim.Adam(module.parameters(), lr=0.05)
    losses = []
    for _ in range(steps):
        loss = module(inputs()).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("name", ["partition", "hadamard"])
def test_inductor_gives_the_same_outputs_and_trains(name, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    module = mlp()
    handle = attach(module, 7, name)
    compiled = torch.compile(copy.deepcopy(module), fullgraph=True)
    torch.testing.assert_close(compiled(inputs()), module(inputs()), rtol=1e-6, atol=1e-6)
    losses = train(compiled)
    assert losses[-1] < 0.8 * losses[0]
    torch.testing.assert_close(losses, train(module), rtol=1e-5, atol=1e-6)
    (theta,) = compiled.parameters()
    torch.testing.assert_close(theta, handle.theta, rtol=1e-5, atol=1e-6)
