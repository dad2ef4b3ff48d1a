"""The Triton kernels on the CPU, through Triton's interpreter, against the definition.

Run by test_gaussian_triton.py in a process of its own: the interpreter must be chosen before Triton
is imported.
"""

from __future__ import annotations

import pytest
import torch

from subspan import attach
from subspan.maps import gaussian, gaussian_triton
from subspan.maps.gaussian import GaussianMap
from subspan.maps.sliced.rows import RowSlices
from subspan.testing import check_map

# words per column: 2, 75, 76, 71, so columns begin anywhere in a block of Philox, or at its start
SIZES = [(1, 7), (5, 299), (3, 304), (4, 282)]


@pytest.fixture(autouse=True)
def _kernels_on_the_cpu(monkeypatch):
    monkeypatch.setattr(gaussian, "has_kernels", lambda device: True)
    monkeypatch.setattr(gaussian_triton, "_BLOCKS", 8)  # several tiles
    monkeypatch.setattr(gaussian_triton, "_SPAN", 256)  # and several spans


def fused(dim, ambient_dim, seed=7, **options):
    result = GaussianMap(dim, ambient_dim, seed, dense_bytes=0, **options)
    assert result.fused is not None
    assert result.dense_rows is None
    return result


# Not in bfloat16: the interpreter truncates to it where a GPU rounds.
@pytest.mark.parametrize(
    ("dim", "ambient_dim", "dtype"),
    [*((*size, torch.float32) for size in SIZES), (3, 99, torch.float64), (3, 99, torch.float16)],
)
def test_entries_equal_the_definition_to_the_bit(dim, ambient_dim, dtype):
    kept = GaussianMap(dim, ambient_dim, 7, dtype=dtype)
    again = fused(dim, ambient_dim, dtype=dtype)
    assert kept.fused is None
    assert again.checksum() == kept.checksum()  # of the column norms too
    assert torch.equal(again.dense(), kept.dense())


@pytest.mark.parametrize("seed", [0, -3, 2**70])
def test_any_seed(seed):
    assert torch.equal(fused(2, 37, seed).dense(), GaussianMap(2, 37, seed).dense())


@pytest.mark.parametrize(("dim", "ambient_dim"), SIZES[:2])
def test_products_agree_to_rounding(dim, ambient_dim):
    kept, again = GaussianMap(dim, ambient_dim, 7), fused(dim, ambient_dim)
    theta, v = torch.randn(2, dim), torch.randn(2, ambient_dim)
    torch.testing.assert_close(again(theta), kept(theta), rtol=0, atol=1e-6)
    torch.testing.assert_close(again.adjoint(v), kept.adjoint(v), rtol=0, atol=5e-6)


def test_laws():
    check_map(lambda d, D, seed: fused(d, D, seed, dtype=torch.float64), 3, 41)


@pytest.mark.parametrize(("start", "stop"), [(0, 103), (1, 2), (7, 50), (101, 103)])
def test_slices(start, stop):
    kept = GaussianMap(3, 103, 2)
    sliced = RowSlices("gaussian", GaussianMap(3, 103, 2, dense_bytes=0))
    eye = torch.eye(3)
    rows = torch.stack([sliced.read(row, start, stop) for row in eye])
    assert torch.equal(rows, kept.dense()[start:stop].T)
    v, into = torch.randn(stop - start), torch.ones(3)
    sliced.collect(v, start, stop, into)
    expected = 1 + rows @ v
    torch.testing.assert_close(into, expected, rtol=1e-5, atol=1e-5)


def test_moving_a_slice_keeps_the_kernels():
    sliced = RowSlices("gaussian", GaussianMap(5, 103, 2, dense_bytes=0)).to(torch.device("cpu"))
    assert sliced._fused is not None


def test_an_attached_module_trains_through_the_kernels(monkeypatch):
    results = []
    for dense_bytes in (2**20, 0):
        monkeypatch.setitem(GaussianMap.__init__.__kwdefaults__, "dense_bytes", dense_bytes)
        torch.manual_seed(0)
        module = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
        handle = attach(module, 4, "gaussian")
        assert (handle._sliced._fused is None) == (dense_bytes > 0)
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        for _ in range(2):
            module(torch.ones(2, 6)).square().sum().backward()
            optimizer.step()
        results.append(handle.theta.detach().clone())
    assert results[0].norm() > 0
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-6)
