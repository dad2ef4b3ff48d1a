"""Hashes of what a subspace stands on, and of what is kept beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from subspan.adapters import buffers
from subspan.adapters.plain import ROOT
from subspan.adapters.root import Rest, Root
from subspan.adapters.selection import Weight
from subspan.canonical import chunked_digest, digest


def base_digest(
    module: nn.Module, chosen: Sequence[Weight], others: Sequence[Weight], rest: Rest
) -> str:
    """Return a hash of what a subspace over `chosen` stands on, as `Handle.base_digest`."""
    weights = [*chosen, *(others if rest == "freeze" else [])]
    fixed = Root.of(module).start if ROOT in module.__dict__ else buffers.snapshot(module)
    names = buffers.persistent_buffers(module)
    return digest(
        {
            "weights": tensors_digest({w.name: w.value for w in weights}),
            "buffers": tensors_digest({n: b for n, b in fixed.items() if n in names}),
        }
    )


def kept_digest(others: Sequence[Weight], rest: Rest) -> str:
    """Return a hash of parameters that `rest="keep"` leaves to the user; empty with `"freeze"`."""
    return tensors_digest({w.name: w.value for w in others}) if rest == "keep" else ""


def tensors_digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return a hash of tensors' names, shapes, dtypes and bytes, independent of their order."""
    parts = {}
    for name, tensor in tensors.items():
        value = tensor.detach()
        flat = value.cpu().contiguous().reshape(-1)
        raw = flat.view(torch.uint8).numpy()
        parts[name] = [str(value.dtype), chunked_digest((raw.dtype, tuple(value.shape), [raw]))]
    return digest(parts)
