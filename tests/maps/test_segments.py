"""Sums by index in a fixed order: what a GPU does, forced on the CPU."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import subspan
from subspan import maps
from subspan.maps import segments
from subspan.maps.segments import SegmentSum
from subspan.maps.sliced.make import make_sliced
from subspan.maps.stack import stack
from subspan.testing import check_map

SCATTERED = ("partition", "hadamard", "sparse")


class Recorded(TorchDispatchMode):
    """Notes the names of the operations that run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


ATOMIC = {"index_add", "index_add_", "scatter_add", "scatter_add_", "index_put", "index_put_"}


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    monkeypatch.setattr(segments, "needs_order", lambda device: True)


def test_only_gpus_need_it():
    assert not segments.needs_order(torch.device("cpu"))
    assert segments.needs_order(torch.device("cuda"))


@pytest.mark.parametrize("shape", [(9,), (2, 9), (2, 3, 9), (0,)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_sums_equal_index_add(as_on_a_gpu, shape, dtype):
    index = torch.tensor([3, 0, 3, 1, 5, 0, 3, 3, 1])[: shape[-1]]  # 2, 4 and 6 stay empty
    values = torch.arange(1.0, 1.0 + torch.Size(shape).numel()).view(shape).to(dtype)
    expected = torch.ones(*shape[:-1], 7, dtype=dtype).index_add_(-1, index, values)
    got = SegmentSum(index, 7).add_to(torch.ones(*shape[:-1], 7, dtype=dtype), values)
    assert torch.equal(got, expected)  # whole numbers: exact in any order


@pytest.mark.parametrize("name", SCATTERED)
@pytest.mark.parametrize("dim", [1, 7, 100])
def test_maps_keep_their_laws(as_on_a_gpu, name, dim):
    check_map(
        lambda d, D, seed: maps.make(name, dim=d, ambient_dim=D, seed=seed, dtype=torch.float64),
        dim,
        250,
        full_rank=False,
    )


@pytest.mark.parametrize("name", SCATTERED)
def test_nothing_is_added_by_atomics(as_on_a_gpu, name):
    single = maps.make(name, dim=7, ambient_dim=250, seed=0)
    many = stack([maps.make(name, dim=d, ambient_dim=250, seed=d) for d in (3, 7)])
    sliced = make_sliced(name, 7, 250, 0)
    table = sliced.table(torch.ones(7))
    with Recorded() as recorded:
        single.adjoint(single(torch.ones(7)))
        many.adjoint(many.forward(torch.ones(10)))
        sliced.collect(sliced.read(table, 3, 200), 3, 200, torch.zeros_like(table))
    assert "segment_reduce" in recorded.names
    assert not recorded.names & (ATOMIC - {"index_put_"})  # hadamard writes θ by it, adds nothing


def test_the_recorder_sees_atomics():
    with Recorded() as recorded:
        maps.make("partition", dim=3, ambient_dim=9, seed=0).adjoint(torch.ones(9))
    assert "scatter_add_" in recorded.names


@pytest.mark.parametrize("name", SCATTERED)
def test_stacks_and_slices_agree_with_the_cpu(monkeypatch, name):
    def results():
        torch.manual_seed(0)
        many = stack([maps.make(name, dim=d, ambient_dim=250, seed=d) for d in (3, 7)])
        sliced = make_sliced(name, 7, 250, 0)
        table = sliced.table(torch.randn(7))
        into = torch.zeros_like(table)
        v = torch.randn(250)
        for start, stop in ((0, 1), (1, 1), (1, 100), (100, 250)):
            sliced.collect(v[start:stop], start, stop, into)
        read = sliced.read(table, 5, 77)
        return many.forward(torch.randn(10)), many.adjoint(torch.randn(2, 250)), into, read

    on_cpu = results()
    monkeypatch.setattr(segments, "needs_order", lambda device: True)
    for got, expected in zip(results(), on_cpu, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", SCATTERED)
def test_an_attached_module_has_the_same_gradient(monkeypatch, name):
    gradients = []
    for forced in (False, True):
        monkeypatch.setattr(segments, "needs_order", lambda device, forced=forced: forced)
        torch.manual_seed(0)
        module = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Linear(8, 3))
        handle = subspan.attach(module, 5, name, per_layer_scale=True)
        module(torch.ones(2, 6)).square().sum().backward()
        gradients.append(handle.theta.grad)
    assert gradients[0].norm() > 0
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-5, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.parametrize("name", SCATTERED)
def test_the_same_bits_each_time_on_a_gpu(name):
    a = maps.make(name, dim=10, ambient_dim=1_000_000, seed=0, device="cuda")
    v, theta = torch.randn(1_000_000, device="cuda"), torch.randn(10, device="cuda")
    first = a.adjoint(v), a(theta)
    for _ in range(20):
        assert torch.equal(a.adjoint(v), first[0])
        assert torch.equal(a(theta), first[1])
