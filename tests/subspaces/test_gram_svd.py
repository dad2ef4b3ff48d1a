import pytest
import torch

from subspan.subspaces.gram_svd import gram_svd


def matrix(n: int, size: int, decades: float, dtype=torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(n, size, dtype=torch.float64, generator=generator)
    left, _, right = torch.linalg.svd(rows, full_matrices=False)
    return (left * torch.logspace(0, -decades, n, dtype=torch.float64) @ right).to(dtype)


@pytest.mark.parametrize("chunk_bytes", [1, 8 * 20 * 7, 2**26])
def test_it_is_the_svd_whatever_the_chunks(chunk_bytes: int) -> None:
    rows = matrix(20, 300, 3)
    _, sigma, right = torch.linalg.svd(rows, full_matrices=False)
    found = gram_svd(rows, chunk_bytes)
    torch.testing.assert_close(found, sigma, rtol=1e-8, atol=0)
    torch.testing.assert_close((rows * right).sum(1).abs(), torch.ones(20).double())


def test_directions_lost_to_rounding_are_left_out_and_the_rest_stay_orthonormal() -> None:
    rows = matrix(30, 400, 14)
    span = rows.clone()
    sigma = gram_svd(rows)
    assert 10 < len(sigma) < 20  # 14 decades over 30 directions: about 1e-7 is at the 15th
    kept = rows[: len(sigma)]
    torch.testing.assert_close(kept @ kept.T, torch.eye(len(sigma)).double(), atol=1e-12, rtol=0)
    _, _, right = torch.linalg.svd(span, full_matrices=False)
    inside = torch.linalg.svdvals(right[:8] @ kept[:8].T)
    torch.testing.assert_close(inside, torch.ones(8).double())


def test_float32_rows_come_out_orthonormal() -> None:
    rows = matrix(20, 500, 5, torch.float32)
    sigma = gram_svd(rows)
    assert len(sigma) == 20
    torch.testing.assert_close(rows @ rows.T, torch.eye(20), atol=2e-6, rtol=0)


def test_fewer_columns_than_rows_and_no_movement_at_all() -> None:
    assert len(gram_svd(torch.eye(3).double().repeat(2, 1))) == 3
    assert len(gram_svd(torch.zeros(4, 10))) == 0


def test_signs_follow_the_way_that_training_went() -> None:
    rows = torch.tensor([[0.0, 3.0, 0.0], [0.0, 2.0, 0.1]], dtype=torch.float64)
    gram_svd(rows)
    assert rows[0, 1] > 0.99
