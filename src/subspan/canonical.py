"""Canonical JSON and the hashes taken of it: the identity of trials, data and maps."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch


def canonical_json(value: Any) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """Return the first 32 hex digits of the SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:32]


def tensor_digest(*tensors: torch.Tensor | np.ndarray) -> str:
    """Return a 32-digit hash of tensors' dtypes, shapes and bytes, the same on every device."""
    arrays = [
        np.ascontiguousarray(
            _array(t.detach().cpu().contiguous()) if isinstance(t, torch.Tensor) else t
        )
        for t in tensors
    ]
    return chunked_digest(*((a.dtype, a.shape, [a]) for a in arrays))


def _array(tensor: torch.Tensor) -> np.ndarray:
    if tensor.dtype == torch.bfloat16:  # which NumPy does not have
        tensor = tensor.view(torch.uint16)
    array: np.ndarray = tensor.numpy()
    return array


def chunked_digest(
    *arrays: tuple[np.dtype[Any], tuple[int, ...], Iterable[np.ndarray]],
) -> str:
    """Return `tensor_digest` of arrays that come as (dtype, shape, chunks in order)."""
    sha = hashlib.sha256()
    for dtype, shape, chunks in arrays:
        sha.update(f"{dtype.str}{shape}".encode())
        for chunk in chunks:
            sha.update(chunk.data if chunk.size else b"")
    return sha.hexdigest()[:32]


def without_defaults(config: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """Drop fields that were added after the first release and stand at their default.

    So a new field's default leaves old hashes alone.
    """
    return {k: v for k, v in config.items() if k not in later or v != later[k]}
