"""What maps do to one float32 vector on a CPU, each as one pass of compiled C (`kernels.c`).

PyTorch takes a pass through memory for every operation, and with it most of what a map costs
(`docs/performance.md`). Ask `serve` first; where it says no (another dtype, a batch, a GPU,
something that looks into operations, no C compiler when the package was installed), PyTorch's
operations do it.

`gather` and `scatter` give PyTorch's numbers to the bit. `mix_strips` and `unmix_strips` add the 16
terms of each sum one after another on every processor. So do PyTorch's products of matrices on some
(MKL's for AVX-512); on others theirs differ in the last bits (`tests/maps/test_kernels.py`).
"""

from __future__ import annotations

import ctypes
import importlib.machinery
from pathlib import Path

import torch

from subspan.maps.base import looked_into

LINE, ORDER, WIDTH = 64, 16, 16
"""What `mix_strips` is compiled for: numbers of a line, strips, and what a panel's divide by."""

VERSION = 1
"""Of the signatures in `kernels.c`: a library that was built from others is not taken."""

_ALONE = 2**20
"""The longest vector for which `gather` and `scatter` serve though PyTorch has several threads."""


class Shape(ctypes.Structure):
    """What fixes where `Strips` puts things; d = `dim`, n = `size`.

    Args:
        dim: d.
        size: n.
        lines: of 64, in all hands.
        whole: coordinates in whole lines, of d.
        hands: whole hands in n.
        length: numbers of a strip.
        apart: how far the places lie from one another that U joins.
        panel: after how many numbers of a strip the signs repeat, a multiple of 16.
    """

    _fields_ = tuple(
        (name, ctypes.c_int64)
        for name in ("dim", "size", "lines", "whole", "hands", "length", "apart", "panel")
    )


def _load() -> ctypes.CDLL | None:
    """Return the compiled kernels, or None where the package was installed without them."""
    folder = Path(__file__).parent
    found = [folder / f"_kernels{end}" for end in importlib.machinery.EXTENSION_SUFFIXES]
    path = next((path for path in found if path.exists()), None)
    if path is None:
        return None
    try:
        library = ctypes.CDLL(str(path))
        library.kernels_version.restype = ctypes.c_int64
        if library.kernels_version() != VERSION:
            return None
    except (OSError, AttributeError):  # of another machine, or built from other sources
        return None
    at, count, shape = ctypes.c_void_p, ctypes.c_int64, ctypes.POINTER(Shape)
    library.gather.argtypes = [at, at, at, at, at, count]
    library.scatter.argtypes = [at, at, at, at, count]
    library.mix_strips.argtypes = [shape, at, at, at, ctypes.c_float, at, at, at]
    library.unmix_strips.argtypes = [shape, at, at, at, at, at, at]
    for function in (library.gather, library.scatter, library.mix_strips, library.unmix_strips):
        function.restype = None
    return library


LIBRARY = _load()


def serve(*vectors: tuple[torch.Tensor, int]) -> bool:
    """Whether kernels take these: plain float32 on the CPU, which nothing looks into.

    Args:
        vectors: each with how many numbers it must have, since a kernel reads as many whatever is
            there; where it has others, PyTorch's operations say so.
    """
    return (
        not looked_into(vectors[0][0])
        and LIBRARY is not None
        and all(_plain(x) and x.numel() == size for x, size in vectors)
        and not torch._C._len_torch_dispatch_stack()  # as make_fx has, for which memory is no input
    )


def quicker(length: int) -> bool:
    """Whether one thread of a kernel is quicker for so many numbers than PyTorch's threads."""
    return length <= _ALONE or torch.get_num_threads() == 1


def _plain(x: torch.Tensor) -> bool:
    return (
        type(x) in (torch.Tensor, torch.nn.Parameter)
        and x.dtype is torch.float32
        and x.device.type == "cpu"
        and x.is_contiguous()
        and not x.is_neg()
        and not x._is_zerotensor()  # which has no memory
        and not (x.requires_grad and torch.is_grad_enabled())
    )


def gather(
    theta: torch.Tensor, place: torch.Tensor, entry: torch.Tensor, offset: torch.Tensor | None
) -> torch.Tensor:
    """Return θ[place] · entry + offset, of the shape of `entry`; `place`: int32, as many."""
    out = torch.empty_like(entry)
    add = None if offset is None else offset.data_ptr()
    _library().gather(*_at(theta, place, entry), add, out.data_ptr(), entry.numel())
    return out


def scatter(v: torch.Tensor, place: torch.Tensor, entry: torch.Tensor, size: int) -> torch.Tensor:
    """Return the sums of v · entry by place, (size,); `place`: int32, as many as of v."""
    sums = v.new_zeros(size)
    _library().scatter(*_at(v, place, entry, sums), v.numel())
    return sums


def mix_strips(
    shape: Shape,
    theta: torch.Tensor,
    line: torch.Tensor,
    factor: torch.Tensor,
    sign: torch.Tensor,
    out: torch.Tensor,
    offset: torch.Tensor | None,
) -> None:
    """Write U D T S θ + offset to `out`, (n,).

    Args:
        shape: of the strips.
        theta: (d,).
        line: int64, (lines,): which line of θ lies where.
        factor: (lines,).
        sign: D's, (16, panel).
        out: (n,).
        offset: (n,) or None.
    """
    scale, add = shape.hands**-0.5, None if offset is None else offset.data_ptr()
    _library().mix_strips(
        shape, *_at(theta, line, factor), scale, sign.data_ptr(), add, out.data_ptr()
    )


def unmix_strips(
    shape: Shape,
    x: torch.Tensor,
    line: torch.Tensor,
    factor: torch.Tensor,
    sign: torch.Tensor,
    work: torch.Tensor,
    theta: torch.Tensor,
) -> None:
    """Write Tᵀ D Uᵀ x, (n,), to `work`, and add what lies in lines of it to θ, (d,)."""
    _library().unmix_strips(shape, *_at(x, line, factor, sign, work, theta))


def _at(*tensors: torch.Tensor) -> list[int]:
    return [x.data_ptr() for x in tensors]


def _library() -> ctypes.CDLL:
    assert LIBRARY is not None, "ask `serve` first"
    return LIBRARY
