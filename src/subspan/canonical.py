"""Canonical JSON and the hashes taken of it: the identity of trials, data and maps."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

_DEEPEST = 64  # no identity, record or header of ours has half as many


def canonical_json(value: Any) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def strict_json(text: str | bytes) -> Any:
    """Parse JSON of any origin: no NaN, no infinity, no number beyond a float, no deep nesting.

    Raises:
        ValueError: as said, or the text is no JSON.
    """

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is no JSON")

    def finite(number: str) -> float:
        value = float(number)
        return value if math.isfinite(value) else refuse(number[:20])

    try:
        value = json.loads(text, parse_constant=refuse, parse_float=finite)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    check_depth(value)
    return value


def check_depth(value: Any) -> None:
    """Refuse lists and objects within one another that no identity or record of ours has.

    Raises:
        ValueError: more than 64 levels.
    """
    level = [value]
    for _ in range(_DEEPEST):
        level = [v for x in level for v in _children(x)]
        if not level:
            return
    raise ValueError("nested too deep")


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def digest(value: Any) -> str:
    """Return the first 32 hex digits of the SHA-256 of a value's canonical JSON."""
    return text_digest(canonical_json(value))


def text_digest(text: str) -> str:
    """Return the first 32 hex digits of a text's SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class TextDigest:
    """`text_digest` of texts that begin alike; what they share is hashed once.

    Args:
        beginning: of each text.
    """

    def __init__(self, beginning: str) -> None:
        self._beginning = beginning
        self._begun = hashlib.sha256(beginning.encode())

    def __reduce__(self) -> tuple[Any, ...]:  # a hash that has begun cannot be sent elsewhere
        return TextDigest, (self._beginning,)

    def of(self, rests: Iterable[bytes]) -> list[str]:
        """Return the digest of the beginning and each rest."""
        begin, found = self._begun.copy, []
        for rest in rests:
            whole = begin()
            whole.update(rest)
            found.append(whole.hexdigest()[:32])
        return found


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
