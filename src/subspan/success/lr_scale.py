"""`LrScale`: on which scale a learning rate is searched, and where the best is thought to be."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

from subspan.errors import invalid
from subspan.success.surface_model import RidgePrior


@dataclass(frozen=True)
class LrScale:
    """The scale on which a learning rate is searched, in which the best changes little with d.

    Args:
        unit: `unit(dim)`, the lr that is 1 on the scale.
        low: smallest value to try, on the scale.
        high: largest.
        ridge: where the best is thought to be, in logs of the scale.
    """

    unit: Callable[[int], float]
    low: float
    high: float
    ridge: RidgePrior

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high < math.inf:
            raise invalid("lr", expected="0 < low < high", got=f"{self.low}, {self.high}")
        ends = {"low": math.log(self.low), "high": math.log(self.high)}
        object.__setattr__(self, "ridge", dataclasses.replace(self.ridge, **ends))

    @classmethod
    def adam(cls, norm: float) -> LrScale:
        """Return ρ = lr·√d/‖w₀‖: with orthonormal columns, the first step relative to the weights.

        Args:
            norm: ‖w₀‖.
        """
        return cls(lambda dim: norm / math.sqrt(dim), 0.0125, 3.2, RidgePrior())

    @classmethod
    def sgd(cls, ambient_dim: int) -> LrScale:
        """Return lr·d/D: a random subspace holds d/D of the gradient's square, and the curvature.

        Args:
            ambient_dim: D.
        """
        ridge = RidgePrior(math.log(0.03), 1.5, 0.0, 0.4)
        return cls(lambda dim: ambient_dim / dim, 1e-4, 10.0, ridge)

    @classmethod
    def declared(cls, low: float, high: float) -> LrScale:
        """Return the lr itself, between the ends that a trainable declares."""
        if not 0 < low < high < math.inf:
            raise invalid("lr", expected="0 < low < high", got=f"{low}, {high}")
        middle, width = math.log(low * high) / 2, math.log(high / low)
        return cls(lambda dim: 1.0, low, high, RidgePrior(middle, width / 4, -0.15, 0.35))
