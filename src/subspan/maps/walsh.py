"""The fast Walsh–Hadamard transform, factored into matrix products with 16 × 16 blocks.

The Sylvester matrix of order 2^p is a Kronecker product of smaller ones; four levels of the
butterfly at a time become one product with H₁₆, which runs at the speed of the matrix unit.
"""

from __future__ import annotations

import functools

import torch

from subspan.errors import invalid

_BLOCK = 16


def build_sylvester(order: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Make the ±1 Sylvester–Hadamard matrix of a power-of-two order."""
    h = torch.ones(1, 1, dtype=dtype, device=device)
    while len(h) < order:
        h = torch.cat([torch.cat([h, h], 1), torch.cat([h, -h], 1)], 0)
    return h


@functools.cache
def sylvester(order: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Return `build_sylvester`'s matrix, kept; fit for training though first used in inference."""
    with torch.inference_mode(False):
        return build_sylvester(order, dtype, device)


def walsh_hadamard(x: torch.Tensor) -> torch.Tensor:
    """Return H x / √n along the last axis, (..., n) → (..., n); its own inverse.

    Raises:
        InputError: n is not a power of two.
    """
    n = x.shape[-1]
    if n < 1 or n & (n - 1):
        raise invalid("x", expected="a power-of-two last axis", got=n)
    matrix = build_sylvester if torch.compiler.is_compiling() else sylvester
    shape, done = x.shape, 1
    while done < n:
        block = min(_BLOCK, n // done)
        h = matrix(block, x.dtype, x.device)
        x = torch.matmul(h, x.reshape(-1, block, done)) if done > 1 else x.reshape(-1, block) @ h
        done *= block
    return x.reshape(shape) * n**-0.5
