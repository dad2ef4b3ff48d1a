"""Augmentations of a batch of images, for `Problem(transform=...)`.

Each is a function of (inputs (n, channels, height, width), generator) and draws for every image
by itself. The generator is one of the CPU, so that a seed means the same on every device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from subspan.errors import invalid, real, whole

if TYPE_CHECKING:
    from subspan.problems.augmentation import Transform


@dataclass(frozen=True)
class RandomCrop:
    """Shift each image by whole pixels, at most `padding` along each axis; zeros come in.

    So an image is padded by `padding` on each side and cropped to its size at a place drawn evenly
    from the (2 padding + 1)² there are, as in He et al. (2016) for CIFAR-10.

    Args:
        padding: in pixels, 1 or more.

    Raises:
        InputError: it is not.
    """

    padding: int = 4

    def __post_init__(self) -> None:
        object.__setattr__(self, "padding", whole("padding", self.padding, low=1))

    def __call__(self, inputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return shifted images, (n, channels, height, width)."""
        x, (height, width) = _images(inputs), inputs.shape[-2:]
        shifts = torch.randint(2 * self.padding + 1, (2, len(x)), generator=generator).to(x.device)
        rows = shifts[0, :, None] + torch.arange(height, device=x.device)
        columns = shifts[1, :, None] + torch.arange(width, device=x.device)
        padded = torch.nn.functional.pad(x, (self.padding,) * 4).movedim(1, -1)
        image = torch.arange(len(x), device=x.device)[:, None, None]
        return padded[image, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)


@dataclass(frozen=True)
class RandomHorizontalFlip:
    """Mirror each image, left for right, with a probability.

    Args:
        probability: in [0, 1].

    Raises:
        InputError: it is not.
    """

    probability: float = 0.5

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "probability", real("probability", self.probability, low=0, high=1)
        )

    def __call__(self, inputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return images, (n, channels, height, width), some of them mirrored."""
        x = _images(inputs)
        draws = torch.rand(len(x), generator=generator, dtype=torch.float64).to(x.device)
        return torch.where((draws < self.probability)[:, None, None, None], x.flip(-1), x)


@dataclass(frozen=True, init=False)
class Compose:
    """Transforms one after the other, each drawing on from where the last one stopped.

    Args:
        *transforms: functions of (inputs, generator).
    """

    transforms: tuple[Transform, ...]

    def __init__(self, *transforms: Transform) -> None:
        if not transforms or not all(map(callable, transforms)):
            raise invalid(
                "transforms", expected="functions of (inputs, generator)", got=repr(transforms)
            )
        object.__setattr__(self, "transforms", transforms)

    def __call__(self, inputs: Any, generator: torch.Generator) -> Any:
        """Return what the last of them returns."""
        for transform in self.transforms:
            inputs = transform(inputs, generator)
        return inputs


def _images(inputs: Any) -> torch.Tensor:
    if isinstance(inputs, torch.Tensor) and inputs.ndim == 4:
        return inputs
    got = f"shape {tuple(inputs.shape)}" if isinstance(inputs, torch.Tensor) else "several tensors"
    raise invalid(
        "transform",
        expected="images (n, channels, height, width)",
        got=got,
        remedy="Write a function of (inputs, generator) that picks what it changes.",
    )
