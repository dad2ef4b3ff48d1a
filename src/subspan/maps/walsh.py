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
    """Make the Sylvester–Hadamard matrix of a power-of-two order, over the power of two in √order.

    So its entries are exact, and products with it round as those with ±1 do.
    """
    h = torch.ones(1, 1, dtype=dtype, device=device)
    while len(h) < order:
        h = torch.cat([torch.cat([h, h], 1), torch.cat([h, -h], 1)], 0)
    return h * 0.5 ** ((order.bit_length() - 1) // 2)


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
    odd = n.bit_length() % 2 == 0  # the matrices hold the rest of 1 / √n
    return x.reshape(shape) * 0.5**0.5 if odd else x.reshape(shape)
