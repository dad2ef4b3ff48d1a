"""The paper's networks, and the initialisations it uses.

Convolutional networks: 3 × 3 convolutions with SAME padding and bias, ReLU, 2 × 2 average pool
(odd edges dropped), then one dense layer (Larsen et al., 2022, official code).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.special import ndtr, ndtri
from torch import nn

from subspan.streams import normals, uniforms

CONV_CHANNELS = {
    "conv2": (16, 32),
    "conv3": (32, 64, 64),
    "conv4": (32, 64, 64, 128),
}
_TRUNCATION = 2.0
# Standard deviation of a standard normal truncated to ±2 (as in Flax's variance scaling).
_TRUNCATED_STD = 0.87962566103423978


def mlp(*widths: int) -> nn.Sequential:
    """Return a ReLU network of dense layers on flattened rows, e.g. `mlp(784, 200, 200, 10)`."""
    layers: list[nn.Module] = [nn.Flatten()]
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
        layers += [nn.ReLU()] * (i > 0) + [nn.Linear(fan_in, fan_out)]
    return nn.Sequential(*layers)


def conv_net(channels: Sequence[int], image: tuple[int, int, int], classes: int) -> nn.Sequential:
    """Return the paper's convolutional network for images (channels, height, width)."""
    layers: list[nn.Module] = []
    depth, height, width = image
    for out in channels:
        layers += [nn.Conv2d(depth, out, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2)]
        depth, height, width = out, height // 2, width // 2
    layers += [nn.Flatten(), nn.Linear(depth * height * width, classes)]
    return nn.Sequential(*layers)


def lenet(image: tuple[int, int, int], classes: int) -> nn.Sequential:
    """Return Li et al.'s LeNet (2018): 5 × 5 convolutions of 6 and 16, max pools, 120, 84.

    Convolutions are VALID, each followed by ReLU and a 2 × 2 max pool; the two dense layers by ReLU
    (`uber-research/intrinsic-dimension`, `build_LeNet_direct_mnist`). Images are (channels, height,
    width).
    """
    depth, height, width = image
    layers: list[nn.Module] = []
    for out in (6, 16):
        layers += [nn.Conv2d(depth, out, 5), nn.ReLU(), nn.MaxPool2d(2)]
        depth, height, width = out, (height - 4) // 2, (width - 4) // 2
    layers += [nn.Flatten(), nn.Linear(depth * height * width, 120), nn.ReLU()]
    layers += [nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, classes)]
    return nn.Sequential(*layers)


Initializer = Callable[[int], dict[str, torch.Tensor]]


def lecun_normal(make_module: Callable[[], nn.Module]) -> Initializer:
    """Return Flax's default initialisation: LeCun-normal weights, zero biases, norm scales one.

    Weights are a normal truncated at two standard deviations with variance 1/fan-in.
    """

    def draw(seed: int, name: str, shape: torch.Size) -> np.ndarray:
        low = ndtr(-_TRUNCATION)
        u = uniforms(seed, "weights", name, count=shape.numel())
        z = ndtri(low + u * (1 - 2 * low)) / _TRUNCATED_STD
        return z / math.sqrt(_fan_in(shape))

    return initializer(make_module, draw)


def he_normal(make_module: Callable[[], nn.Module], last: str = "") -> Initializer:
    """Return He-normal weights (variance 2/fan-in; 1/fan-in for the tensor `last`), zero biases."""

    def draw(seed: int, name: str, shape: torch.Size) -> np.ndarray:
        gain = 1.0 if name == last else 2.0
        return normals(seed, "weights", name, count=shape.numel()) * math.sqrt(
            gain / _fan_in(shape)
        )

    return initializer(make_module, draw)


def _fan_in(shape: torch.Size) -> int:
    return math.prod(shape[1:])


def initializer(
    make_module: Callable[[], nn.Module], draw: Callable[[int, str, torch.Size], np.ndarray]
) -> Initializer:
    """Return an initialisation that draws tensors of two or more axes from a seed and their name.

    Biases start at zero, the scales of norms at one.
    """
    with torch.device("meta"):
        shapes = {name: p.shape for name, p in make_module().named_parameters()}

    def init(seed: int) -> dict[str, torch.Tensor]:
        tensors = {}
        for name, shape in shapes.items():
            if len(shape) > 1:
                values = torch.from_numpy(draw(seed, name, shape)).to(torch.float32)
                tensors[name] = values.reshape(shape)
            else:  # biases start at zero, the scales of norms at one
                tensors[name] = torch.full(shape, 0.0 if name.endswith("bias") else 1.0)
        return tensors

    return init
