"""A weight moved by its slice of A θ, a chunk at a time."""

from __future__ import annotations

import torch
from small_modules import coordinates

from subspan.adapters import shift
from subspan.adapters.tables import Table
from subspan.maps.sliced.make import make_sliced
from subspan.maps.sliced.tabulated import IndexedMap


def test_chunks_give_the_same_as_one_piece(monkeypatch):
    theta, base = coordinates(50).requires_grad_(), coordinates(1200, 4).view(30, 40)
    scale = torch.tensor(0.7, requires_grad=True)
    results = []
    for chunk in (7, 64, 10**6):
        monkeypatch.setattr(IndexedMap, "chunk", chunk)
        sliced = make_sliced("hadamard", 50, 2000, 0)
        for view in (base, base.t().contiguous().t()):  # contiguous, and not
            out = shift.shift(view, Table(sliced.table(theta)), scale, sliced, 100)
            grads = torch.autograd.grad(out.sin().sum(), (theta, scale))
            assert out.stride() == view.stride()
            results.append((out, *grads))
    for result in results[1:]:
        assert torch.equal(result[0], results[0][0])
        for one, other in zip(result[1:], results[0][1:], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
