"""Residual networks as the paper uses them: ResNet20 v1 and Wide ResNet 16-4.

BatchNorm takes the statistics of the current batch throughout (`Problem` sees to it). Source:
Larsen et al. (2022), official code. Departure: strided 3 × 3 convolutions pad both sides by one;
there, on an even size, the far side only.
"""

from __future__ import annotations

import torch
from torch import nn


class ResidualBlock(nn.Module):
    """Two 3 × 3 convolutions with norms, and a shortcut; the norms come after (ResNet v1)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1:
            projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, inputs, h, w) → (n, outputs, h/stride, w/stride)."""
        y = self.norm1(self.conv1(x)).relu()
        return (self.norm2(self.conv2(y)) + self.shortcut(x)).relu()


class WideBlock(nn.Module):
    """Norm and ReLU before each 3 × 3 convolution; a 3 × 3 shortcut where shapes change."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 3, stride, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, inputs, h, w) → (n, outputs, h/stride, w/stride)."""
        y = self.conv1(self.norm1(x).relu())
        return self.conv2(self.norm2(y).relu()) + self.shortcut(x)


def resnet20(image: tuple[int, int, int], classes: int) -> nn.Sequential:
    """Return ResNet20 v1: three stacks of three blocks, 16, 32, 64 channels.

    272,186 weights on one channel and ten classes, 272,474 on three channels. The last feature
    map is averaged over its first 7 × 7 pixels, as in the official code (of 8 × 8 on 32 × 32).
    """
    layers: list[nn.Module] = [
        nn.Conv2d(image[0], 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
    ]
    depth = 16
    for stack, width in enumerate((16, 32, 64)):
        for block in range(3):
            stride = 2 if stack and not block else 1
            layers.append(ResidualBlock(depth, width, stride))
            depth = width
    return nn.Sequential(*layers, nn.AvgPool2d(7), nn.Flatten(), nn.Linear(64, classes))


def wide_resnet(
    image: tuple[int, int, int], classes: int, width: int = 4, blocks: int = 2
) -> nn.Sequential:
    """Return a wide residual network; the default is WRN-16-4, 3.1 million weights, no dropout.

    The shortcuts are 3 × 3 convolutions with bias, as in the official code (Zagoruyko and
    Komodakis, 2016, use 1 × 1). The last feature map is averaged over all its pixels.
    """
    layers: list[nn.Module] = [nn.Conv2d(image[0], 16, 3, padding=1)]
    depth = 16
    for group, channels in enumerate((16 * width, 32 * width, 64 * width)):
        for block in range(blocks):
            layers.append(WideBlock(depth, channels, 2 if group and not block else 1))
            depth = channels
    layers += [nn.BatchNorm2d(depth), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(depth, classes))
