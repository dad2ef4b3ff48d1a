"""Worlds in which the success of a design over (d, lr) can be replayed: banks of real trials, and
synthetic surfaces, each with the d* at the best learning rate that is true in it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from scipy.special import ndtr

BANKS = Path(__file__).parent / "banks"
_BANDWIDTH = 0.5  # of the smoothed bootstrap, in standard deviations of the cell


class World(Protocol):
    """z of a trial at (d, lr), and P(z ≥ 0)."""

    max_dim: int
    min_dim: int

    def draw(self, dim: int, log_rho: float, rng: np.random.Generator) -> float:
        """Draw how far above the level a trial gets."""

    def probability(self, dim: float, log_rho: float) -> float:
        """Return the chance that a trial meets the goal."""


def oracle(world: World, delta: float = 0.1, finest: float = 1.004) -> tuple[float, float]:
    """Return the smallest d at which the best lr succeeds with probability 1 − δ, and its log ρ."""
    rhos = np.log(0.0125) + np.log(2) * np.arange(0, 8.01, 0.25)
    dim = float(world.min_dim)
    while dim <= world.max_dim:
        chances = [world.probability(dim, r) for r in rhos]
        if max(chances) >= 1 - delta:
            return dim, float(rhos[int(np.argmax(chances))])
        dim *= finest
    return math.inf, math.nan


@dataclass
class BankWorld:
    """A resampled bank: means between the cells of its grid, scatter of a cell nearby.

    Args:
        name: of the bank.
        metric: `"loss"` or `"accuracy"`.
        level: of the goal.
    """

    name: str
    metric: str
    level: float
    folder: Path = BANKS

    def __post_init__(self) -> None:
        with np.load(self.folder / f"{self.name}.npz") as bank:
            best = np.array(bank[self.metric][..., -1], float)
            dims, rhos = bank["dims"], bank["rhos"]
        if self.metric == "loss":
            z = math.log(self.level) - np.log(np.nan_to_num(best, nan=1e3))
        else:
            best = np.clip(np.nan_to_num(best, nan=0.0), 1e-4, 1 - 1e-4)
            z = np.log(best / (1 - best)) - math.log(self.level / (1 - self.level))
        z = np.clip(z, -4, 4)
        self.x, self.u = np.log(dims), np.log(rhos)
        self.mean = z.mean(2)
        count = z.shape[2]
        self.residual = (z - self.mean[..., None]) * math.sqrt(count / (count - 1))
        self.sd = z.std(2, ddof=1)
        self.residual /= math.sqrt(1 + _BANDWIDTH**2)
        self.min_dim, self.max_dim = int(dims[0]), int(dims[-1])

    def _corners(self, dim: float, log_rho: float) -> list[tuple[float, int, int]]:
        i, a = _place(self.x, math.log(dim))
        k, b = _place(self.u, log_rho)
        return [
            ((1 - a) * (1 - b), i, k),
            (a * (1 - b), i + 1, k),
            ((1 - a) * b, i, k + 1),
            (a * b, i + 1, k + 1),
        ]

    def draw(self, dim: int, log_rho: float, rng: np.random.Generator) -> float:
        """Draw how far above the level a trial gets."""
        corners = self._corners(dim, log_rho)
        mean = sum(w * self.mean[i, k] for w, i, k in corners)
        weights = np.array([w for w, _, _ in corners])
        _, i, k = corners[rng.choice(4, p=weights / weights.sum())]
        residual = rng.choice(self.residual[i, k])
        wide = _BANDWIDTH / math.sqrt(1 + _BANDWIDTH**2) * self.sd[i, k]
        return float(mean + residual + wide * rng.standard_normal())

    def probability(self, dim: float, log_rho: float) -> float:
        """Return the chance that a trial meets the goal."""
        corners = self._corners(dim, log_rho)
        mean = sum(w * self.mean[i, k] for w, i, k in corners)
        total = 0.0
        for w, i, k in corners:
            wide = _BANDWIDTH / math.sqrt(1 + _BANDWIDTH**2) * max(self.sd[i, k], 1e-6)
            total += w * float(ndtr((mean + self.residual[i, k]) / wide).mean())
        return total


def _place(grid: np.ndarray, value: float) -> tuple[int, float]:
    i = int(np.clip(np.searchsorted(grid, value) - 1, 0, len(grid) - 2))
    return i, float(np.clip((value - grid[i]) / (grid[i + 1] - grid[i]), 0, 1))
