"""Every random map keeps the shipped laws; golden values pin their bits across releases."""

import numpy as np
import pytest
import torch

from subspan import maps
from subspan.errors import InputError
from subspan.maps.gaussian import GaussianMap, integer_columns
from subspan.testing import check_map

ORTHONORMAL = {"orthonormal", "partition", "hadamard"}
SIZES = [(1, 1), (1, 7), (3, 7), (7, 7), (10, 100), (64, 100), (40, 2410), (1300, 2410)]


@pytest.mark.parametrize(("dim", "ambient_dim"), SIZES)
@pytest.mark.parametrize("name", maps.names())
def test_laws(name, dim, ambient_dim):
    if name == "orthonormal" and dim > 1000:
        pytest.skip("O(D d²) to make: its laws are held at the smaller sizes")
    disjoint = name == "sparse" and dim * (int(np.ceil(np.sqrt(ambient_dim)))) <= ambient_dim
    check_map(
        lambda d, D, seed: maps.make(name, dim=d, ambient_dim=D, seed=seed, dtype=torch.float64),
        dim,
        ambient_dim,
        orthonormal=name in ORTHONORMAL or disjoint,
        # sparse columns that overlap may repeat each other where D is tiny
        full_rank=name != "sparse" or disjoint or ambient_dim > 100,
    )


# Checksums of dim=5, ambient_dim=1000, seed=42. A change here breaks every stored file and record.
GOLDEN = {
    "gaussian": "b03e0bfaf889a7830523c14651e90411",
    "orthonormal": "239879b6c1fff0794949c008f723788d",
    "sparse": "fc9ff514c02d81d32879cc03fb2b139c",
    "partition": "c67cc18d801336586a348e11ba080e68",
    "hadamard": "91cc1f8e28bb673a5234c962c3edc5fa",
}


@pytest.mark.parametrize("name", maps.names())
def test_golden_checksums(name):
    assert maps.make(name, dim=5, ambient_dim=1000, seed=42).checksum() == GOLDEN[name]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", maps.names())
def test_same_bits_on_gpu(name):
    cpu = maps.make(name, dim=50, ambient_dim=1000, seed=42)
    gpu = maps.make(name, dim=50, ambient_dim=1000, seed=42, device="cuda")
    assert gpu.checksum() == cpu.checksum()
    exact = gpu.to(dtype=torch.float64).dense().cpu()
    torch.testing.assert_close(exact, cpu.to(dtype=torch.float64).dense(), rtol=0, atol=1e-15)


def test_gaussian_is_the_same_whole_and_in_chunks():
    whole = GaussianMap(30, 1001, 7, dtype=torch.float64)
    chunked = GaussianMap(30, 1001, 7, dtype=torch.float64, dense_bytes=0)
    assert chunked.dense_rows is None
    assert chunked.checksum() == whole.checksum()
    theta = torch.arange(60, dtype=torch.float64).reshape(2, 30) / 60
    torch.testing.assert_close(chunked(theta), whole(theta), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(chunked.dense(), whole.dense(), rtol=0, atol=0)
    assert (integer_columns(7, 1001, 10, 20) == integer_columns(7, 1001, 0, 30)[10:20]).all()


def test_a_gaussian_map_that_stays_where_it_is_is_not_drawn_again():
    a = GaussianMap(3, 50, 0)
    assert a.to("cpu", torch.float32) is a
    assert a.to(dtype=torch.float64).dtype == torch.float64


def test_gaussian_dimensions_are_nested():
    small = maps.make("gaussian", dim=4, ambient_dim=99, seed=0).dense()
    large = maps.make("gaussian", dim=9, ambient_dim=99, seed=0).dense()
    assert torch.equal(large[:, :4], small)


def test_gaussian_entries_are_gaussian():
    from scipy.stats import kstest

    # 1,000 columns of 1,000 entries: a column's own norm moves its entries by 2 % at most
    entries = maps.make("gaussian", dim=1000, ambient_dim=1000, seed=3).dense().double()
    assert kstest((entries * 1000**0.5).flatten()[::10].numpy(), "norm").pvalue > 1e-3
    gram = entries.T @ entries
    off = gram[~torch.eye(1000, dtype=torch.bool)]
    assert abs(float(off.std()) - 1000**-0.5) < 2e-4


def test_orthonormal_is_haar_in_its_first_moments():
    rows = torch.stack(
        [maps.make("orthonormal", dim=3, ambient_dim=6, seed=s).dense() for s in range(4000)]
    )
    assert rows.mean(0).abs().max() < 4 * (6 * 4000) ** -0.5
    fourth = (rows**4).mean()  # E x⁴ = 3 / (n (n + 2)) on the sphere of R^n
    assert abs(float(fourth) - 3 / 48) < 0.002


@pytest.mark.parametrize("dim", [1, 3, 64, 999, 1000])
def test_partition_is_balanced(dim):
    a = maps.make("partition", dim=dim, ambient_dim=1000, seed=0)
    counts = torch.bincount(a.coordinate.long(), minlength=dim)
    assert set(counts.tolist()) <= {1000 // dim, -(-1000 // dim)}


def test_the_golden_checksum_of_one_transform_over_many_weights():
    # dim=5 of 1,000 above is the other case: two transforms of all weights.
    made = maps.make("hadamard", dim=5, ambient_dim=5000, seed=42)
    assert made.mixer.signs is None
    assert made.checksum() == "a22c3dace371535c5d2fc9ac544c28dc"


@pytest.mark.parametrize("ambient_dim", [1, 2, 3, 7, 16, 300, 1000])
def test_hadamard_on_all_weights_is_orthogonal(ambient_dim):
    made = maps.make(
        "hadamard", dim=ambient_dim, ambient_dim=ambient_dim, seed=3, dtype=torch.float64
    )
    dense = made.dense()
    torch.testing.assert_close(dense.T @ dense, torch.eye(ambient_dim).double())


def test_hadamard_entries_are_spread_over_all_weights():
    dense = maps.make("hadamard", dim=16, ambient_dim=10_000, seed=0).dense()
    magnitudes = dense.abs() * 100
    assert magnitudes.min() > 0.9
    assert magnitudes.max() < 1.1


def test_sparse_counts_and_disjoint_supports():
    a = maps.make("sparse", dim=10, ambient_dim=200, seed=0, nnz=20).dense()
    assert ((a != 0).sum(0) == 20).all()
    assert ((a != 0).sum(1) == 1).all()
    b = maps.make("sparse", dim=11, ambient_dim=200, seed=0, nnz=20).dense()
    assert ((b != 0).sum(0) == 20).all()


@pytest.mark.parametrize("dim", [0, -1, 11, 2.0, True])
def test_dim_out_of_range(dim):
    with pytest.raises(InputError, match=r"dim: expected .*"):
        maps.make("partition", dim=dim, ambient_dim=10, seed=0)


def test_unknown_map_offers_the_nearest():
    with pytest.raises(InputError, match="Did you mean 'gaussian'"):
        maps.make("gausian", dim=1, ambient_dim=2, seed=0)


def test_wrong_shapes_are_refused():
    a = maps.make("partition", dim=2, ambient_dim=10, seed=0)
    with pytest.raises(InputError, match=r"theta: expected shape \(\.\.\., 2\), got shape \(3,\)"):
        a(torch.zeros(3))
    with pytest.raises(InputError, match=r"v: expected shape \(\.\.\., 10\)"):
        a.adjoint(torch.zeros(2, 9))


def test_coordinate_and_columns():
    picks = torch.tensor([1, 4, 8])
    a = maps.CoordinateMap(picks, 10, dtype=torch.float64)
    theta = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    assert torch.equal(a(theta)[picks], theta)
    assert torch.equal(a.adjoint(a(theta)), theta)
    with pytest.raises(InputError, match="increasing positions"):
        maps.CoordinateMap(torch.tensor([3, 3]), 10)
    with pytest.raises(InputError, match="finite"):
        maps.ColumnsMap(torch.full((2, 5), float("nan")))


@pytest.mark.parametrize("name", maps.names())
def test_every_map_takes_its_own_dtype_only(name):
    a = maps.make(name, dim=4, ambient_dim=20, seed=0)
    with pytest.raises(
        InputError, match=r"theta: expected torch\.float32, the map's, got torch\.float64"
    ):
        a(torch.zeros(4, dtype=torch.float64))
    with pytest.raises(InputError, match=r"got torch\.int64"):
        a.adjoint(torch.zeros(20, dtype=torch.int64))
    with pytest.raises(InputError, match="a tensor, got list"):
        a([0.0] * 4)


def test_unknown_options_are_refused():
    with pytest.raises(InputError, match="map 'partition': expected no options, got 'nnz'"):
        maps.make("partition", dim=2, ambient_dim=10, seed=0, nnz=3)
    with pytest.raises(InputError, match=r"expected options out of \['nnz'\]"):
        maps.make("sparse", dim=2, ambient_dim=10, seed=0, nzz=3)
