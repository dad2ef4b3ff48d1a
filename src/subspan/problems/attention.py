"""Attention that `torch.func` can differentiate, twice and forwards, and batch over weights.

The fused kernels of attention have a first derivative in reverse mode and no more: no forward mode,
no second derivative, and `vmap` runs them one by one. The same holds for the fused forms of
`nn.MultiheadAttention` and `nn.TransformerEncoderLayer` in evaluation mode.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from subspan.maps.base import traced


@contextlib.contextmanager
def plain_attention() -> Iterator[None]:
    """Compute attention from plain products within, where a `torch.func` transform is at work.

    Elsewhere nothing changes.
    """
    with plain_kernels() if traced() else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def plain_kernels() -> Iterator[None]:
    """Compute attention from plain products within. PyTorch's settings are put back on leaving."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
