"""Optimisers of many trials at once, element by element on one flat θ.

Source of `LegacyAdam`: the official code (Larsen et al., 2022), whose bias correction divides by
the constants 1−β₁ and 1−β₂ at every step.
"""

from __future__ import annotations

import abc
import math

import torch

from subspan.spec import TrainSpec


class Optimizer(abc.ABC):
    """One step of θ ← θ − lr · direction(gradient), in place, on a flat vector."""

    @abc.abstractmethod
    def step(self, theta: torch.Tensor, gradient: torch.Tensor, lr: float) -> None:
        """Advance θ in place."""

    @abc.abstractmethod
    def keep(self, positions: torch.Tensor) -> None:
        """Keep the state of these positions of θ only, in their order."""


class Sgd(Optimizer):
    """SGD with heavy-ball momentum, v ← μ v + g; θ ← θ − lr v, as PyTorch's and Optax's."""

    def __init__(self, theta: torch.Tensor, spec: TrainSpec) -> None:
        self._momentum, self._velocity = spec.momentum, torch.zeros_like(theta)

    def step(self, theta: torch.Tensor, gradient: torch.Tensor, lr: float) -> None:
        """Advance θ in place."""
        theta.add_(self.direction(gradient), alpha=-lr)

    def direction(self, gradient: torch.Tensor) -> torch.Tensor:
        """Return v, which lr times is to be taken off θ; the next call writes over it."""
        return self._velocity.mul_(self._momentum).add_(gradient)

    def keep(self, positions: torch.Tensor) -> None:
        """Keep the state of these positions of θ only, in their order."""
        self._velocity = self._velocity[positions]


class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015)."""

    def __init__(self, theta: torch.Tensor, spec: TrainSpec) -> None:
        self._betas, self._eps, self._count = spec.betas, spec.eps, 0
        self._mean, self._square = torch.zeros_like(theta), torch.zeros_like(theta)
        self._root = torch.empty_like(theta)

    def _corrections(self) -> tuple[float, float]:
        beta1, beta2 = self._betas
        return 1 - beta1**self._count, 1 - beta2**self._count

    def step(self, theta: torch.Tensor, gradient: torch.Tensor, lr: float) -> None:
        """Advance θ in place."""
        root, correction = self._follow(gradient)
        theta.addcdiv_(self._mean, root, value=-lr / correction)

    def direction(self, gradient: torch.Tensor) -> torch.Tensor:
        """Return what lr times is to be taken off θ: mean over root mean square, corrected."""
        root, correction = self._follow(gradient)
        return self._mean / root.mul_(correction)

    def _follow(self, gradient: torch.Tensor) -> tuple[torch.Tensor, float]:
        """Take a gradient in; return √v̂ + ε, and by what the mean is to be divided.

        The next call writes over the root.
        """
        self._count += 1
        beta1, beta2 = self._betas
        self._mean.mul_(beta1).add_(gradient, alpha=1 - beta1)
        self._square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        correction1, correction2 = self._corrections()
        torch.sqrt(self._square, out=self._root)
        return self._root.div_(math.sqrt(correction2)).add_(self._eps), correction1

    def keep(self, positions: torch.Tensor) -> None:
        """Keep the state of these positions of θ only, in their order."""
        self._mean, self._square = self._mean[positions], self._square[positions]
        self._root = torch.empty_like(self._mean)


class LegacyAdam(Adam):
    """The official code's Adam: the first step is lr, the steady state √(1−β₂)/(1−β₁) · lr."""

    def _corrections(self) -> tuple[float, float]:
        return 1 - self._betas[0], 1 - self._betas[1]


def learning_rate(spec: TrainSpec, step: int, total: int) -> float:
    """Return the learning rate of step `step` (from 0) out of `total`."""
    done = step / total
    if spec.schedule == "cosine":
        return spec.number_lr * 0.5 * (1 + math.cos(math.pi * done))
    return spec.number_lr * (1 - done) if spec.schedule == "linear" else spec.number_lr
