"""Images with their channels last, for networks to which it is the same but for the time.

On a CPU convolutions and pools read channels that lie beside one another in two thirds of the time.
A module of a user's own may ask how its input lies in memory (`x.view(len(x), -1)`), so this is
done for plain stacks of PyTorch's layers alone. The last bits of what they return may differ.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from subspan.problems.resnet import ResidualBlock, WideBlock

IMAGES_AT_ONCE = 128
"""Rows of a part: Conv-2 takes four fifths of the time that it takes by 512 rows."""

_CONTAINERS = {nn.Sequential, ResidualBlock, WideBlock}
_LAYERS = {
    *(nn.Conv2d, nn.BatchNorm2d, nn.AvgPool2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.Dropout2d),
    *(nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.Softplus),
    *(nn.Flatten, nn.Linear, nn.Dropout, nn.Identity),
}


def takes_channels_last(module: nn.Module) -> bool:
    """Whether a module is a stack of PyTorch's layers, convolutions first and a dense one last."""
    if type(module) is not nn.Sequential or not len(module) or type(module[-1]) is not nn.Linear:
        return False
    parts = list(module.modules())
    convolutions = [part for part in parts if type(part) is nn.Conv2d]
    return (
        bool(convolutions)
        and all(type(part) in _CONTAINERS | _LAYERS for part in parts)
        and all(convolution.groups == 1 for convolution in convolutions)
        and not any(part._forward_hooks or part._forward_pre_hooks for part in parts)
    )


def channels_last(x: Any) -> Any:
    """Return images (n, channels, height, width) on a CPU with their channels last, else x."""
    if isinstance(x, torch.Tensor) and x.dim() == 4 and x.device.type == "cpu":
        # `contiguous` would leave images of one channel as they are.
        return x.to(memory_format=torch.channels_last)
    return x
