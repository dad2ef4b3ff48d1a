"""The compiled kernels give PyTorch's numbers, and leave to it what they cannot do.

To the bit, whatever the processor: each output is one product, or one sum in one order. The order
of PyTorch's indexing on a CPU is that of the entries. A product of matrices may add its 16 terms in
another order (MKL's does for AVX2, not for AVX-512), so one that adds in order stands in for it.
"""

from __future__ import annotations

import concurrent.futures
import functools
import pickle

import pytest
import torch

from subspan import maps
from subspan.maps import kernels, strips
from subspan.maps.stack import stack

needed = pytest.mark.skipif(
    kernels.LIBRARY is None, reason="installed without kernels: no C compiler (or not by pip)"
)
# d, D: below and above what is shuffled at once, hands 2 to 40, tails of every kind, signs that
# repeat (a strip of more than 16,384 numbers), one hand, d = D
SIZES = [
    *[(1, 1), (7, 100), (1000, 3001), (9000, 70_001), (9001, 80_000), (8193, 330_000)],
    *[(40_000, 80_003), (300_000, 301_111), (9999, 9999), (70_000, 70_000), (99_605, 199_210)],
]


@pytest.fixture
def plainly(monkeypatch):
    """Return a function that calls another without kernels, matrix products adding in order."""
    product = torch.matmul

    def in_order(h, x):
        if h.shape != (16, 16):
            return product(h, x)
        return functools.reduce(torch.add, (h[:, c, None] * x[..., c, None, :] for c in range(16)))

    monkeypatch.setattr(torch, "matmul", in_order)

    def call(function):
        with monkeypatch.context() as patch:
            patch.setattr(kernels, "LIBRARY", None)
            return function()

    return call


def noise(*shape, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype)


@needed
@pytest.mark.parametrize(("dim", "ambient_dim"), SIZES)
@pytest.mark.parametrize("name", ["partition", "hadamard"])
def test_maps_are_the_same_to_the_bit(name, dim, ambient_dim, plainly):
    a = maps.make(name, dim=dim, ambient_dim=ambient_dim, seed=3)
    theta, v, offset = noise(dim), noise(ambient_dim, seed=1), noise(ambient_dim, seed=2)
    given = theta.clone(), v.clone(), offset.clone()
    steps = [
        lambda: a._forward(theta),
        lambda: a._adjoint(v),
        lambda: a.affine(theta, offset),
        lambda: stack([a]).forward(theta, offset[None]),
        lambda: stack([a]).adjoint(v[None]),
    ]
    assert kernels.serve((theta, dim), (v, ambient_dim))
    for step in steps:
        assert torch.equal(step(), plainly(step))
        assert torch.equal(step(), step()), "what lay in memory before is no matter"
    assert all(torch.equal(*pair) for pair in zip((theta, v, offset), given, strict=True))


@needed
@pytest.mark.parametrize("name", ["partition", "hadamard"])
def test_stacks_of_many_are_the_same_to_the_bit(name, plainly):
    many = [maps.make(name, dim=d, ambient_dim=50_000, seed=d) for d in (3, 40, 999, 9000)]
    theta, v, offsets = noise(3 + 40 + 999 + 9000), noise(4, 50_000), noise(4, 50_000, seed=1)
    together = stack(many)
    for step in (
        lambda: together.forward(theta),
        lambda: together.forward(theta, offsets),
        lambda: together.adjoint(v),
    ):
        assert torch.equal(step(), plainly(step))


@needed
def test_strips_write_where_they_are_told(plainly):
    mixer = strips.Strips(9000, 70_001, 3)
    theta, into = noise(9000), torch.full((70_001,), torch.nan)
    assert mixer.mix(theta, into) is into
    assert torch.equal(into, plainly(lambda: mixer.mix(theta)))
    assert torch.equal(into, mixer.mix(theta[None])[0]), "a batch is mixed by PyTorch"
    part = torch.full((2, 70_001), torch.nan)
    mixer.mix(theta, part[1])
    assert torch.equal(part[1], into)
    assert part[0].isnan().all()


@needed
def test_a_map_that_was_sent_elsewhere_and_threads_give_the_same():
    a = maps.make("hadamard", dim=9000, ambient_dim=70_001, seed=3)
    other, v = pickle.loads(pickle.dumps(a)), noise(70_001)
    assert torch.equal(other._adjoint(v), a._adjoint(v))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda k: a._adjoint(k * v) / k, [1, 2, 4, 8] * 8))
    assert all(torch.equal(one, a._adjoint(v)) for one in found)


@needed
def test_what_they_cannot_do_is_left_to_pytorch(monkeypatch):
    x = noise(100)
    assert kernels.serve((x, 100))
    for other in (
        x.double(),
        x.half(),
        noise(10, 20)[:, :10],
        x.to("meta"),
        x[:99],
        torch._neg_view(x),
        torch._efficientzerotensor(100),
    ):
        assert not kernels.serve((other, 100))
    assert not kernels.serve((x, 100), (x[::2], 50))
    leaf = x.clone().requires_grad_()
    assert not kernels.serve((leaf, 100))
    with torch.no_grad():
        assert kernels.serve((leaf, 100))
    seen = []
    torch.func.vmap(lambda row: seen.append(kernels.serve((row, 10))) or row)(noise(10, 10))
    torch.func.grad(lambda y: seen.append(kernels.serve((y, 100))) or y.sum())(x)
    assert seen == [False, False]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert kernels.quicker(kernels._ALONE)
    assert not kernels.quicker(kernels._ALONE + 1)
    monkeypatch.setattr(kernels, "LIBRARY", None)
    assert not kernels.serve((x, 100))


@pytest.mark.parametrize("name", ["partition", "hadamard"])
def test_a_vector_of_another_length_is_refused_and_not_read_beyond_its_end(name):
    a = maps.make(name, dim=9000, ambient_dim=70_001, seed=3)
    for use in (a._forward, stack([a]).forward):
        with pytest.raises((RuntimeError, IndexError)):
            use(noise(8000))
    for use in (a._adjoint, lambda v: stack([a]).adjoint(v[None])):
        with pytest.raises((RuntimeError, IndexError)):
            use(noise(70_000))


@needed
def test_strips_are_those_of_the_processors_own_products(monkeypatch):
    mixer = strips.Strips(99_605, 199_210, 3)
    theta, x = noise(99_605), noise(199_210)
    ours = mixer.mix(theta), mixer.unmix(x)
    monkeypatch.setattr(kernels, "LIBRARY", None)
    theirs = mixer.mix(theta), mixer.unmix(x)
    for one, other in zip(ours, theirs, strict=True):
        assert one.sub(other).norm() < 1e-6 * other.norm()


@pytest.mark.parametrize("name", ["partition", "hadamard"])
def test_gradients_batches_and_other_dtypes_agree_with_them(name):
    a = maps.make(name, dim=9000, ambient_dim=70_001, seed=3)
    theta, v = noise(9000), noise(70_001)
    leaf = theta.clone().requires_grad_()
    image = a(leaf)
    (pulled,) = torch.autograd.grad((image * v).sum(), leaf)
    torch.testing.assert_close(image.detach(), a._forward(theta), rtol=0, atol=0)
    torch.testing.assert_close(pulled, a.adjoint(v), rtol=0, atol=0)
    exact = a.to(dtype=torch.float64)
    torch.testing.assert_close(a(theta).double(), exact(theta.double()), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        a.adjoint(v).double(), exact.adjoint(v.double()), rtol=1e-5, atol=1e-5
    )
    batch = torch.func.vmap(a)(torch.stack([theta, 2 * theta]))
    torch.testing.assert_close(batch[1], 2 * a(theta), rtol=1e-5, atol=1e-6)
    _, tangent = torch.func.jvp(a, (theta,), (theta,))
    torch.testing.assert_close(tangent, a(theta), rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # PyTorch's
@pytest.mark.parametrize("name", ["partition", "hadamard"])
def test_a_long_map_is_compiled_whole(name):
    """Whether a kernel serves is asked of nothing that a compiler cannot follow."""
    a = maps.make(name, dim=9000, ambient_dim=kernels._ALONE + 5, seed=3)
    theta, v = noise(9000), noise(kernels._ALONE + 5)
    for use, given in ((a, theta), (a.adjoint, v)):
        compiled = torch.compile(use, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(given), use(given), rtol=1e-4, atol=1e-4)


@needed
def test_a_library_of_other_signatures_is_not_taken(monkeypatch):
    assert kernels._load() is not None
    monkeypatch.setattr(kernels, "VERSION", kernels.VERSION + 1)
    assert kernels._load() is None
