import pytest
import torch

from subspan.errors import InputError
from subspan.maps import ColumnsMap, ComposedMap, CoordinateMap, LowRankMap, Matrix, make
from subspan.testing import check_map

MATRICES = [Matrix(2, 3, 4), Matrix(16, 5, 6)]  # of 50 weights


def low_rank(rank: int, seed: int) -> LowRankMap:
    return LowRankMap.random(MATRICES, rank, 50, seed, dtype=torch.float64)


def test_a_composed_map_keeps_the_laws() -> None:
    def compose(dim: int, ambient_dim: int, seed: int) -> ComposedMap:
        outer = CoordinateMap(torch.arange(10, 30), ambient_dim, dtype=torch.float64)
        inner = make("hadamard", dim=dim, ambient_dim=20, seed=seed, dtype=torch.float64)
        return ComposedMap(outer, inner)

    check_map(compose, 7, 50, orthonormal=True)


@pytest.mark.parametrize("rank", [1, 3])
def test_a_low_rank_map_keeps_the_laws(rank) -> None:
    check_map(lambda d, D, seed: low_rank(rank, seed), 8 * rank, 50)


def test_a_low_rank_map_stops_at_full_rank() -> None:
    assert low_rank(5, 0).dim == 3 * 4 + 5 * 5


def test_scaled_columns() -> None:
    rows = torch.randn(3, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    scales = torch.tensor([1.0, 0.5, 0.1], dtype=torch.float64)
    plain, scaled = ColumnsMap(rows), ColumnsMap(rows, scales)
    torch.testing.assert_close(scaled.dense(), plain.dense() * scales)
    v = torch.arange(8.0, dtype=torch.float64)
    torch.testing.assert_close(scaled.adjoint(v), plain.adjoint(v) * scales)
    assert plain.checksum() != scaled.checksum()
    assert scaled.to(dtype=torch.float32).scales.dtype == torch.float32
    assert scaled.dense_rows.data_ptr() == rows.data_ptr()  # shared, not copied


@pytest.mark.parametrize("scales", [[1.0, 0.0], [1.0, -1.0], [1.0, float("nan")], [1.0]])
def test_bad_scales_are_refused(scales) -> None:
    with pytest.raises(InputError, match="2 positive numbers"):
        ColumnsMap(torch.eye(2), torch.tensor(scales))


def test_maps_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match=r"R\^2"):
        ComposedMap(ColumnsMap(torch.ones(2, 5)), ColumnsMap(torch.ones(1, 3)))
