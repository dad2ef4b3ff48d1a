"""`LrScale`: on which scale a learning rate is searched, and where the best is thought to be."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

from subspan.errors import invalid
from subspan.optimizers import find
from subspan.problems.base import AbstractProblem

_NARROW = 1e-6


@dataclass(frozen=True)
class RidgePrior:
    """What is thought of the best log lr before any trial: normal, and drifting with log d.

    Args:
        centre: of the best log lr at the threshold.
        spread: its standard deviation.
        drift: mean change of the best log lr per unit of log d.
        drift_spread: its standard deviation.
        low: smallest log lr that may be used: the best is the best between the two.
        high: largest.
    """

    centre: float = math.log(0.8)
    spread: float = 1.3
    drift: float = -0.15
    drift_spread: float = 0.25
    low: float = -math.inf
    high: float = math.inf


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
        if not 0 < self.low <= self.high < math.inf:
            raise invalid("lr", expected="0 < low <= high", got=f"{self.low}, {self.high}")
        ends = {"low": math.log(self.low), "high": math.log(self.high)}
        object.__setattr__(self, "ridge", dataclasses.replace(self.ridge, **ends))

    @classmethod
    def adam(cls, norm: float, *, trained: bool = False) -> LrScale:
        """Return ρ = lr·√d/‖w₀‖: with orthonormal columns, the first step relative to the weights.

        Args:
            norm: ‖w₀‖.
            trained: whether w₀ is trained already, so that far smaller steps may serve.
        """
        unit = functools.partial(_per_root, norm)
        if trained:
            return cls(unit, 1e-4, 3.2, RidgePrior(math.log(0.02), 2.0))
        return cls(unit, 0.0125, 3.2, RidgePrior())

    @classmethod
    def sgd(cls, ambient_dim: int) -> LrScale:
        """Return lr·d/D: a random subspace holds d/D of the gradient's square, and the curvature.

        Args:
            ambient_dim: D.
        """
        ridge = RidgePrior(math.log(0.03), 1.5, 0.0, 0.4)
        return cls(functools.partial(_per, float(ambient_dim)), 1e-4, 10.0, ridge)

    @classmethod
    def declared(cls, low: float, high: float) -> LrScale:
        """Return the lr itself, between two ends that are given."""
        if not 0 < low < high < math.inf:
            raise invalid("lr", expected="0 < low < high", got=f"{low}, {high}")
        middle, width = math.log(low * high) / 2, math.log(high / low)
        return cls(_one, low, high, RidgePrior(middle, width / 4, -0.15, 0.35))

    @classmethod
    def fixed(cls, lr: float) -> LrScale:
        """Return one learning rate, of which there is nothing to choose."""
        at = math.log(lr)
        return cls(_one, lr, lr, RidgePrior(at, _NARROW, 0.0, _NARROW))

    @classmethod
    def of(cls, problem: AbstractProblem, optimizer: str) -> LrScale:
        """Return the scale of a problem, the same for every method.

        Where every trial starts at the same weights, they are pretrained (or 0, and ‖w₀‖ is then
        taken to be 1), and smaller steps are looked at too.
        """
        if find(optimizer).scales_gradient:
            return cls.sgd(problem.ambient_dim)
        start = problem.init(0)
        norm = float(start.double().norm())
        return cls.adam(norm or 1.0, trained=bool((start == problem.init(1)).all()))


# Functions of modules, not closures, so that a scale can be pickled.
def _per_root(size: float, dim: int) -> float:
    return size / math.sqrt(dim)


def _per(size: float, dim: int) -> float:
    return size / dim


def _one(dim: int) -> float:
    return 1.0
