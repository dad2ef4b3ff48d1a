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
