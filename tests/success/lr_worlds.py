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
    rhos = np.log(0.0125) + np.log(2) * np.arange(0, 8.01, 0.05)  # a cusp is not to be missed

    def first(dim: float, step: float) -> tuple[float, float]:
        while dim <= world.max_dim:
            chances = [world.probability(dim, r) for r in rhos]
            if max(chances) >= 1 - delta:
                return dim, float(rhos[int(np.argmax(chances))])
            dim *= step
        return math.inf, math.nan

    coarse = finest**15
    near, _ = first(float(world.min_dim), coarse)
    start = max(min(near, world.max_dim) / coarse, world.min_dim)
    return first(start, finest)


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
            curves = np.array(bank[self.metric], float)
            best = curves[..., -1]
            dims, rhos = bank["dims"], bank["rhos"]
        if self.metric == "loss":
            z = math.log(self.level) - np.log(np.nan_to_num(best, nan=1e3))
        else:
            best = np.clip(np.nan_to_num(best, nan=0.0), 1e-4, 1 - 1e-4)
            z = np.log(best / (1 - best)) - math.log(self.level / (1 - self.level))
        z = np.clip(z, -4, 4)
        self.curves = curves
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

    def share(self, dim: int, log_rho: float, enough: float) -> float:
        """Return the share of a training after which the trials of the nearest cell had enough."""
        i, k = (
            int(np.abs(g - p).argmin()) for g, p in ((self.x, math.log(dim)), (self.u, log_rho))
        )
        curves = self.curves[i, k]
        met = curves <= enough if self.metric == "loss" else curves >= enough
        steps = np.where(met.any(1), met.argmax(1) + 1, curves.shape[1])
        return float(steps.mean() / curves.shape[1])

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


@dataclass
class Family:
    """A synthetic world: z = mean(x, v) + sd(x, v)·noise, or a collapse with chance lapse(x, v).

    x = log d − log d₀ and v = log ρ − ridge. `kind` names the family; some lie outside the model.
    """

    kind: str
    seed: int
    min_dim: int = 1
    max_dim: int = 100_000

    def __post_init__(self) -> None:
        rng = np.random.default_rng([self.seed, FAMILIES.index(self.kind)])
        self.max_dim = int(10 ** rng.uniform(3.3, 6))
        edge = math.log(self.max_dim)
        self.x0 = rng.uniform(2.0, edge - 1.0)
        if self.kind == "near the end":
            self.x0 = edge - rng.uniform(0.2, 0.6)
        self.slope = math.exp(rng.uniform(math.log(0.6), math.log(2.5)))
        self.sd = math.exp(rng.uniform(math.log(0.05), math.log(0.25)))
        self.ridge = rng.uniform(math.log(0.15), math.log(1.2))
        self.drift = rng.uniform(-0.4, 0.1)
        self.rise = math.exp(rng.uniform(math.log(0.25), math.log(0.9)))
        self.fall = math.exp(rng.uniform(math.log(0.5), math.log(4)))
        self.noise_lr = rng.uniform(0.0, 0.4)
        self.bend = rng.uniform(0.0, 0.5)  # how fast the curve flattens
        if self.kind == "strong drift":
            self.drift = -rng.uniform(0.5, 0.8)
        if self.kind == "noise grows with lr":
            self.noise_lr = rng.uniform(0.7, 1.0)
        if self.kind == "steepening":
            self.bend = -rng.uniform(0.4, 0.8)
        self.draws = rng.uniform(size=4)

    def _parts(self, log_dim: float, log_rho: float) -> tuple[float, float, float]:
        """Return mean, sd and chance of a collapse."""
        x = log_dim - self.x0
        v = log_rho - self.ridge - self.drift * min(max(x, -4), 4)
        bend = self.bend if x > 0 else -0.2 * self.bend
        g = self.slope * (x if abs(bend) < 1e-9 else -math.expm1(min(-bend * x, 5)) / bend)
        total = self.rise + self.fall
        h = -math.log(
            (self.fall * math.exp(-self.rise * v) + self.rise * math.exp(self.fall * v)) / total
        )
        sd = self.sd * math.exp(self.noise_lr * v)
        lapse = 0.0
        if self.kind == "plateau below the level":
            g = -0.3 - 1.5 * self.draws[0] - math.log1p(math.exp(-1.5 * x))
        elif self.kind == "two phases":
            # A shelf of up to a decade a little below the level, or a little above it.
            shelf = -0.6 + 1.2 * self.draws[0]
            g = shelf + self.slope * (min(x + 0.5, 0) + max(x - 0.5 - self.draws[1], 0))
        elif self.kind == "failure at large d":
            g -= 1.5 * max(x - 2.0 - self.draws[0], 0) * self.slope
        elif self.kind == "quadratic ridge":
            h = -(0.1 + 0.3 * self.draws[0]) * v * v
        elif self.kind == "cusp":
            h = -(self.rise * max(-v, 0.0) + self.fall * max(v, 0.0))
        elif self.kind == "cliff":
            lapse = 1 / (1 + math.exp(-6 * (v - 0.5 - self.draws[0])))
            h = -self.rise * max(-v, 0)
        elif self.kind == "no matter the lr":
            h = 0.0
        elif self.kind == "lapse":
            lapse = 0.02 + 0.05 * self.draws[0]
        elif self.kind == "dead trials":  # at any d: 1 − δ is never reached
            lapse = 0.15 + 0.15 * self.draws[0]
        elif self.kind == "noise at small d":
            sd *= math.exp(min(-0.4 * x, 2.0))
        return g + max(h, -30.0), min(sd, 3.0), lapse

    def draw(self, dim: int, log_rho: float, rng: np.random.Generator) -> float:
        """Draw how far above the level a trial gets."""
        mean, sd, lapse = self._parts(math.log(dim), log_rho)
        if rng.random() < lapse:
            return -4.0 + rng.random()
        if self.kind == "heavy tails":
            return mean + sd * float(rng.standard_t(2))
        if self.kind == "skew":
            return mean - sd * 0.78 * (float(rng.gumbel()) - 0.577)
        return mean + sd * float(rng.standard_normal())

    def probability(self, dim: float, log_rho: float) -> float:
        """Return the chance that a trial meets the goal."""
        mean, sd, lapse = self._parts(math.log(dim), log_rho)
        if self.kind == "heavy tails":
            r = mean / sd
            p = 0.5 + r / (2 * math.sqrt(2 + r * r))
        elif self.kind == "skew":
            p = math.exp(-math.exp(min(-(mean / (0.78 * sd) + 0.577), 50.0)))
        else:
            p = float(ndtr(mean / sd))
        return (1 - lapse) * p


FAMILIES = [
    "the model",
    "heavy tails",
    "lapse",
    "plateau below the level",
    "two phases",
    "failure at large d",
    "strong drift",
    "noise grows with lr",
    "quadratic ridge",
    "cliff",
    "skew",
    "steepening",
    "noise at small d",
    "no matter the lr",
    "near the end",
    "cusp",
    "dead trials",
]
