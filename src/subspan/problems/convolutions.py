"""Convolutions of many trials as one program, by one of two ways of the same numbers.

`"grouped"` is what `torch.func.vmap` makes of a convolution whose weights differ from trial to
trial: one grouped convolution. `"products"` lays the patches under the kernel side by side and
makes of each layer one batched matrix product, a matrix for each trial, for as many times the
memory as a kernel has places. Which is quicker depends on device, library and shapes, so it is
measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from subspan.problems.compiled import milliseconds

WAYS = ("grouped", "products")


class Products(TorchFunctionMode):
    """Convolve by matrix products within; what these do not serve is left to PyTorch."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Take the place of `conv2d` alone."""
        options = dict(kwargs or {})
        return (product if function is F.conv2d else function)(*args, **options)


def product(
    input: torch.Tensor,  # PyTorch's name
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> torch.Tensor:
    """Return `torch.nn.functional.conv2d` by one matrix product, (n, c, h, w) → (n, o, h', w').

    Groups, dilation, padding by name and images without rows go to PyTorch's own.
    """
    if isinstance(padding, str) or groups != 1 or _pair(dilation) != (1, 1) or input.ndim != 4:
        return F.conv2d(input, weight, bias, stride, padding, dilation, groups)
    (down, across), (above, beside) = _pair(stride), _pair(padding)
    if above or beside:
        input = F.pad(input, (beside, beside, above, above))
    high, wide = weight.shape[2:]
    patches = input.unfold(2, high, down).unfold(3, wide, across).permute(0, 2, 3, 1, 4, 5)
    rows, height, width = patches.shape[:3]
    flat = patches.reshape(rows * height * width, -1)
    out = F.linear(flat, weight.flatten(1), bias)
    return out.view(rows, height, width, -1).permute(0, 3, 1, 2)


def quickest(ways: Mapping[str, Callable[[], object]], device: torch.device) -> str:
    """Return the name of the quickest way; the first where another has no memory to run.

    Args:
        ways: by name, of the same numbers.
        device: that they run on.
    """
    first = next(iter(ways))
    try:
        taken = milliseconds(ways, device)
    except torch.OutOfMemoryError:
        return first
    return min(taken, key=lambda name: taken[name])


def _pair(value: Any) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    return (pair * 2 if len(pair) == 1 else pair)[:2]
