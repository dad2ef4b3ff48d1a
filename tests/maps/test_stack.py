import pytest
import torch

from subspan import maps
from subspan.maps.stack import stack
from subspan.maps.strips import Strips


@pytest.mark.parametrize("name", maps.names())
@pytest.mark.parametrize("dims", [[3], [5, 1, 40, 5], [64, 64]])
def test_stack_is_the_loop_to_the_bit(name, dims):
    each = [maps.make(name, dim=d, ambient_dim=500, seed=i) for i, d in enumerate(dims)]
    together = stack(each)
    theta = torch.linspace(-1, 1, sum(dims))
    v = torch.linspace(-1, 1, 500 * len(dims)).reshape(len(dims), 500)
    images, pulled = together.forward(theta), together.adjoint(v)
    for k, (a, part) in enumerate(zip(each, theta.split(dims), strict=True)):
        assert torch.equal(images[k], stack([a]).forward(part)[0])
        torch.testing.assert_close(images[k], a(part))
    loop = torch.cat([stack([a]).adjoint(row[None]) for a, row in zip(each, v, strict=True)])
    assert torch.equal(pulled, loop)
    torch.testing.assert_close(
        pulled, torch.cat([a.adjoint(row) for a, row in zip(each, v, strict=True)])
    )


def test_mixed_kinds():
    kinds = ["gaussian", "partition", "partition", "hadamard", "gaussian", "hadamard"]
    dims = [4, 7, 5, 9, 1, 3]
    each = [
        maps.make(n, dim=d, ambient_dim=50, seed=i)
        for i, (n, d) in enumerate(zip(kinds, dims, strict=True))
    ]
    theta = torch.linspace(-1, 1, sum(dims))
    v = torch.linspace(-1, 1, 300).sin().view(6, 50)
    together = stack(each)
    images, pulled = together.forward(theta), together.adjoint(v).split(dims)
    for k, (a, part) in enumerate(zip(each, theta.split(dims), strict=True)):
        torch.testing.assert_close(images[k], a(part))
        torch.testing.assert_close(pulled[k], a.adjoint(v[k]))


def test_hadamard_maps_of_few_and_of_many_coordinates_stack():
    dims, size = [100, 9000, 8500, 200], 70_000
    each = [maps.make("hadamard", dim=d, ambient_dim=size, seed=i) for i, d in enumerate(dims)]
    assert [isinstance(a.mixer, Strips) for a in each] == [False, True, True, False]
    theta = torch.linspace(-1, 1, sum(dims)).sin()
    v = torch.linspace(-1, 1, 4 * size).sin().view(4, size)
    together = stack(each)
    images, pulled = together.forward(theta), together.adjoint(v).split(dims)
    for k, (a, part) in enumerate(zip(each, theta.split(dims), strict=True)):
        assert torch.equal(images[k], stack([a]).forward(part)[0])
        assert torch.equal(pulled[k], stack([a]).adjoint(v[k : k + 1]))
        torch.testing.assert_close(images[k], a(part))


class Constant(maps.LinearMap):
    """θ on every weight, as an expanded tensor: what nobody may add to in place."""

    dim, ambient_dim, device, dtype = 1, 5, torch.device("cpu"), torch.float32

    def _forward(self, theta):
        return theta.expand(*theta.shape[:-1], 5)

    def _adjoint(self, v):
        return v.sum(-1, keepdim=True)

    def to(self, device=None, dtype=None):
        return self

    def checksum(self):
        return "0" * 32


@pytest.mark.parametrize("name", [*maps.names(), Constant])
@pytest.mark.parametrize("count", [1, 2])
def test_the_weights_are_the_callers_to_write_to(name, count):
    made = Constant() if name is Constant else maps.make(name, dim=5, ambient_dim=9, seed=0)
    theta = torch.linspace(1, 2, count * made.dim)
    together, before = stack([made] * count), theta.clone()
    images = together.forward(theta)
    expected = images.clone() + 1
    images += 1
    assert torch.equal(images, expected)
    assert torch.equal(together.forward(theta) + 1, expected)
    assert torch.equal(theta, before)
