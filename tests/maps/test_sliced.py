"""Maps cut along the weights: equal to the map whole, slice by slice, and compact."""

from __future__ import annotations

import itertools

import pytest
import torch

import subspan
from subspan import maps
from subspan.maps.gaussian import GaussianMap
from subspan.maps.sliced.make import make_sliced
from subspan.maps.sliced.rows import RowSlices
from subspan.maps.sliced.tabulated import IndexedMap

# (d, D, cuts): one coordinate, whole hands, an odd rest, d = D, and both widths of integers
SIZES = [
    (1, 7, [0, 3, 7]),
    (10, 100, [0, 10, 35, 100]),
    (33, 1000, [0, 1, 2, 517, 1000]),
    (90, 90, [0, 45, 90]),
    (20_000, 50_000, [0, 20_001, 50_000]),
]


def coordinates(dim: int, seed: int = 2) -> torch.Tensor:
    return torch.randn(dim, generator=torch.Generator().manual_seed(seed))


def slices(cuts):
    return list(itertools.pairwise(cuts))


@pytest.mark.parametrize(("dim", "ambient_dim", "cuts"), SIZES)
@pytest.mark.parametrize("name", maps.names())
def test_slices_make_up_the_map(name, dim, ambient_dim, cuts):
    if dim > 1000 and name not in ("partition", "hadamard"):
        pytest.skip("O(D d): for small maps")
    whole = maps.make(name, dim=dim, ambient_dim=ambient_dim, seed=5)
    sliced = make_sliced(name, dim, ambient_dim, 5)
    theta = coordinates(dim).requires_grad_()
    table = sliced.table(theta)
    parts = [sliced.read(table, a, b) for a, b in slices(cuts)]
    torch.testing.assert_close(torch.cat(parts), whole(theta), rtol=1e-6, atol=1e-6)

    v = coordinates(ambient_dim, seed=9)
    into = torch.zeros_like(table)
    for a, b in slices(cuts):
        sliced.collect(v[a:b], a, b, into)
    (pulled,) = torch.autograd.grad(table, theta, into.detach())
    torch.testing.assert_close(pulled, whole.adjoint(v), rtol=1e-4, atol=1e-4)
    assert sliced.checksum() == whole.checksum()


def test_partition_slices_equal_the_map_to_the_bit():
    theta = coordinates(1000)
    for name in ("partition", "hadamard"):
        sliced = make_sliced(name, 1000, 30_000, 1)
        whole = maps.make(name, dim=1000, ambient_dim=30_000, seed=1)
        assert torch.equal(sliced.read(sliced.table(theta), 0, 30_000), whole(theta))


def test_a_gaussian_map_too_large_to_keep_is_made_again_in_slices():
    kept = GaussianMap(5, 103, 2)
    again = RowSlices("gaussian", GaussianMap(5, 103, 2, dense_bytes=0))
    assert again._rows is None
    theta = coordinates(5)
    for a, b in [(0, 103), (1, 2), (7, 50), (101, 103)]:
        torch.testing.assert_close(again.read(theta, a, b), kept(theta)[a:b], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "dim", "kind"),
    [
        ("partition", 2**14, torch.int16),
        ("partition", 2**14 + 1, torch.int32),
        ("hadamard", 2**11, torch.int16),
        ("hadamard", 2**11 + 1, torch.int32),
    ],
)
def test_two_bytes_per_weight_while_they_suffice(name, dim, kind):
    sliced = make_sliced(name, dim, 300_000, 0)
    assert isinstance(sliced, IndexedMap)
    assert sliced._index.dtype == kind
    assert sliced._index.min() >= 0


def test_what_cannot_be_kept_is_refused_with_a_way_out():
    with pytest.raises(subspan.InputError, match="Use map='hadamard'"):
        make_sliced("orthonormal", 1000, 10**6, 0)
    with pytest.raises(subspan.InputError, match="options: expected of 'partition': none"):
        make_sliced("partition", 3, 10, 0, device="cuda")


def test_copies_of_a_module_share_the_map():
    import copy

    sliced = make_sliced("partition", 3, 10, 0)
    assert copy.deepcopy(sliced) is sliced
