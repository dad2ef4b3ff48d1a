"""Singular vectors of a tall matrix through its Gram matrix, in place and in chunks."""

from __future__ import annotations

import torch

_CHUNK_BYTES = 2**26


def gram_svd(rows: torch.Tensor, chunk_bytes: int = _CHUNK_BYTES) -> torch.Tensor:
    """Replace rows S (n, D), n ≤ D, by their right singular vectors; return the singular values.

    Works in float64 on chunks of columns and writes the result over S, so that beyond S itself it
    needs a few chunks and n × n numbers, never a second n × D matrix. The Gram matrix squares the
    condition number: directions with σ below √(n·ε)·σ_1 (about 1e-7) cannot be told from rounding
    and are left out. What remains is made orthonormal again by Cholesky QR, which changes each
    vector only by those before it, so that the leading d still span the leading subspace.

    Args:
        rows: S, shape (n, D), overwritten: its first r rows become orthonormal.
        chunk_bytes: size of one chunk in float64.

    Returns:
        Singular values in falling order, shape (r,), float64, r the numerical rank (0 if S = 0).
    """
    n = len(rows)
    width = max(1, chunk_bytes // (8 * n))
    values, vectors = torch.linalg.eigh(_gram(rows, width))
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    floor = n * torch.finfo(torch.float64).eps * values[0]
    rank = int((values > floor).sum())
    sigma = values[:rank].sqrt()
    # A sign is fixed by the sum of the rows: for steps, the way that training went.
    signs = torch.where(vectors[:, :rank].sum(0) < 0, -1.0, 1.0)
    _apply((vectors[:, :rank] * (signs / sigma)).T.contiguous(), rows, width)
    eye = torch.eye(rank, dtype=torch.float64, device=rows.device)
    for _ in range(3 if rank else 0):
        gram = _gram(rows[:rank], width)
        if float((gram - eye).abs().max()) <= 4 * torch.finfo(rows.dtype).eps * rank**0.5:
            break
        lower = torch.linalg.cholesky(gram)
        _apply(torch.linalg.solve_triangular(lower, eye, upper=False), rows[:rank], width)
    return sigma


def _gram(rows: torch.Tensor, width: int) -> torch.Tensor:
    total = torch.zeros(len(rows), len(rows), dtype=torch.float64, device=rows.device)
    for part in rows.split(width, dim=1):
        wide = part.double()
        total.addmm_(wide, wide.T)
    return total


def _apply(matrix: torch.Tensor, rows: torch.Tensor, width: int) -> None:
    """Overwrite the first rows by matrix @ rows, matrix (r, n) with r ≤ n."""
    for part in rows.split(width, dim=1):
        part[: len(matrix)] = (matrix @ part.double()).to(rows.dtype)
