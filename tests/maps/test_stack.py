import pytest
import torch

from subspan import maps
from subspan.maps.stack import stack


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
    each = [maps.make(n, dim=4, ambient_dim=50, seed=0) for n in ("gaussian", "partition")]
    images = stack(each).forward(torch.ones(8))
    torch.testing.assert_close(images, torch.stack([a(torch.ones(4)) for a in each]))
