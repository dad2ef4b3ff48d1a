"""`full_precision`: float32 means float32, whatever PyTorch is allowed to round.

On NVIDIA's GPUs cuDNN may take convolutions of float32 tensors in TF32, with 10 bits behind the
point instead of 23, and does so by PyTorch's default; `torch.set_float32_matmul_precision` allows
the same of matrix products, and bfloat16 of those on a CPU. A spec's dtype would not say so.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import torch

_EXACT = ("none", "ieee")
_lock = threading.Lock()
_within = 0  # how many are inside, of all threads: the flags are the process's
_before: dict[str, Any] = {}  # what was set outside


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Have float32 products and convolutions in float32; the last to leave puts back what was set.

    What is set by someone else in between is lost. Also a decorator.
    """
    global _within
    with _lock:
        if not _within:
            _switch_off()
        _within += 1
    try:
        yield
    finally:
        with _lock:
            _within -= 1
            if not _within:
                _put_back()


def _switch_off() -> None:
    # By PyTorch's older switches first: it refuses to read those where only newer ones are set.
    with contextlib.suppress(RuntimeError):
        _before["convolutions"] = torch.backends.cudnn.allow_tf32
    with contextlib.suppress(RuntimeError):
        _before["products"] = torch.get_float32_matmul_precision()
    _before["newer"] = [(each, each.fp32_precision) for each in _newer()]
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    for each in _newer():
        if each.fp32_precision not in _EXACT:
            each.fp32_precision = "ieee"


def _put_back() -> None:
    if "convolutions" in _before:
        torch.backends.cudnn.allow_tf32 = _before["convolutions"]
    if "products" in _before:
        torch.set_float32_matmul_precision(_before["products"])
    for each, value in _before["newer"]:
        if each.fp32_precision != value:
            each.fp32_precision = value
    _before.clear()


def _newer() -> list[Any]:
    """Return what has a precision of its own since PyTorch 2.9."""
    own: list[Any] = [torch.backends.cuda.matmul]
    for library in (torch.backends.cudnn, torch.backends.mkldnn):
        own += [getattr(library, name, None) for name in ("matmul", "conv", "rnn")]
    return [each for each in own if hasattr(each, "fp32_precision")]
