"""The family of success curves P_s(d) that the threshold posterior weighs against each other.

P_s(d) = c · F(z_q + s·(log d − t)), with ceiling c = 1 − λ, F one of three cumulative shapes, and
z_q = F⁻¹((1−δ)/c), so that P_s(eᵗ) = 1 − δ: log threshold t is itself a coordinate. The slope s is
given by the *transition width*, the distance in log d between F = 0.1 and F = 0.9. The three
shapes differ in which tail is long, which keeps the threshold honest when the true curve is not
symmetric in log d.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

SHAPES = ("logistic", "gumbel_min", "gumbel_max")
_SHARP = 0.3
_FLOOR = 1e-3  # no hypothesis calls an outcome impossible: one freak trial must not rule it out


def shape_probability(shape: str, z: np.ndarray) -> np.ndarray:
    """Return F(z): `logistic`, `gumbel_min` 1−exp(−eᶻ), or `gumbel_max` exp(−e⁻ᶻ)."""
    z = np.clip(z, -40.0, 40.0)
    if shape == "logistic":
        return 1.0 / (1.0 + np.exp(-z))
    if shape == "gumbel_min":
        return -np.expm1(-np.exp(z))
    return np.exp(-np.exp(-z))


def shape_quantile(shape: str, p: np.ndarray) -> np.ndarray:
    """Return F⁻¹(p) for p in (0, 1)."""
    if shape == "logistic":
        return np.log(p) - np.log1p(-p)
    if shape == "gumbel_min":
        return np.log(-np.log1p(-p))
    return -np.log(-np.log(p))


def slope_of_width(shape: str, width: np.ndarray) -> np.ndarray:
    """Return the slope s at which F rises from 0.1 to 0.9 over `width` in log d."""
    span = shape_quantile(shape, np.array(0.9)) - shape_quantile(shape, np.array(0.1))
    return span / width


def width_mass(log_width: np.ndarray) -> np.ndarray:
    """Return the prior mass of transition widths up to one, up to a constant factor and term.

    The density on the log axis is flat from 0.3 on and falls like the root of the width below,
    where it matters little which width it is: a prior that is flat down to a step would take the
    first ten outcomes of many a curve for a step's.
    """
    x = np.asarray(log_width) - math.log(_SHARP)
    return np.where(x < 0, 2 * np.exp(np.minimum(x, 0) / 2), 2 + x)


@dataclass(frozen=True)
class Nuisances:
    """Every combination of shape, transition width and lapse, shape-major; N in all.

    Args:
        slope: s, shape (N,).
        offset: z_q, shape (N,).
        ceiling: c = 1 − λ, shape (N,).
        log_prior: log prior mass, shape (N,).
    """

    slope: np.ndarray
    offset: np.ndarray
    ceiling: np.ndarray
    log_prior: np.ndarray

    @classmethod
    def grid(
        cls, delta: float, width_edges: np.ndarray, lapses: np.ndarray, lapse_prior: np.ndarray
    ) -> Nuisances:
        """Build the product grid of shapes, widths and lapses.

        Args:
            delta: P_s = 1 − δ at the threshold.
            width_edges: ascending edges (W+1,) of cells of the log transition width; a cell
                stands for its middle and weighs its share of `width_mass`, so that a part of the
                axis can be looked at closely without changing what it weighs.
            lapses: λ below δ, shape (L,).
            lapse_prior: their masses, shape (L,).
        """
        middles = np.exp((width_edges[1:] + width_edges[:-1]) / 2)
        w, lapse = (a.ravel() for a in np.meshgrid(middles, lapses, indexing="ij"))
        mass = np.outer(np.diff(width_mass(width_edges)), lapse_prior / lapse_prior.sum()).ravel()
        ceiling = 1 - lapse
        level = (1 - delta) / ceiling
        return cls(
            slope=np.concatenate([slope_of_width(shape, w) for shape in SHAPES]),
            offset=np.concatenate([shape_quantile(shape, level) for shape in SHAPES]),
            ceiling=np.tile(ceiling, len(SHAPES)),
            log_prior=np.log(np.tile(mass / len(SHAPES), len(SHAPES))),
        )

    def probability(self, log_dims: np.ndarray, log_thresholds: np.ndarray) -> np.ndarray:
        """Return P_s at log dims (n,) for log thresholds (T,): shape (n, T, N), float32."""
        gap = log_dims[:, None] - log_thresholds[None, :]
        each = len(self.slope) // len(SHAPES)
        out = np.empty((*gap.shape, len(self.slope)), np.float32)
        for i, shape in enumerate(SHAPES):
            part = slice(i * each, (i + 1) * each)
            z = gap[:, :, None].astype(np.float32) * self.slope[part].astype(np.float32)
            z += self.offset[part].astype(np.float32)
            out[..., part] = shape_probability(shape, z)
        out *= self.ceiling.astype(np.float32)
        return np.clip(out, _FLOOR, 1 - _FLOOR, out=out)

    def select(
        self, log_dims: np.ndarray, log_thresholds: np.ndarray, index: np.ndarray
    ) -> np.ndarray:
        """Return P_s at log dims (n,) of chosen (log threshold, nuisance) pairs (K,): (n, K)."""
        each = len(self.slope) // len(SHAPES)
        z = self.slope[index] * (log_dims[:, None] - log_thresholds) + self.offset[index]
        z = z.astype(np.float32)
        out = np.empty_like(z)
        for i, shape in enumerate(SHAPES):
            part = index // each == i
            out[:, part] = shape_probability(shape, z[:, part])
        out *= self.ceiling[index].astype(np.float32)
        return np.clip(out, _FLOOR, 1 - _FLOOR, out=out)


@dataclass(frozen=True)
class Others:
    """Curves outside the rising family, each with its own prior mass and d*; M in all.

    Plateaus rise to a ceiling below 1 − δ and stay there. Falls rise to a peak and drop to a
    lower level as d grows: a success probability that is not monotone in d, as where a learning
    rate is too large for many dims. A fall whose peak lies above 1 − δ has a d* inside the range.

    Args:
        rise: slope and midpoint in log d of the rise, shape (M, 2).
        fall: slope and midpoint of the drop, (M, 2); slope 0 where there is none.
        peak: highest level, (M,).
        rest: level after the drop, as a share of the peak, (M,).
        log_prior: log prior mass, (M,).
        log_value: log d*, (M,): inf where 1 − δ is never reached.
    """

    rise: np.ndarray
    fall: np.ndarray
    peak: np.ndarray
    rest: np.ndarray
    log_prior: np.ndarray
    log_value: np.ndarray

    @property
    def falling(self) -> np.ndarray:
        """Which curves fall, (M,)."""
        return self.fall[:, 0] > 0

    def probability(self, log_dims: np.ndarray) -> np.ndarray:
        """Return P_s at log dims (n,): shape (n, M), float32."""
        x = log_dims[:, None]
        p = self.peak * shape_probability("logistic", (x - self.rise[:, 1]) * self.rise[:, 0])
        drop = shape_probability("logistic", (x - self.fall[:, 1]) * self.fall[:, 0])
        p = p * np.where(self.falling, 1 - (1 - self.rest) * drop, 1.0)
        return np.clip(p, _FLOOR, 1 - _FLOOR).astype(np.float32)

    @classmethod
    def plateaus(
        cls, ceilings: np.ndarray, widths: np.ndarray, locations: np.ndarray, mass: float
    ) -> Others:
        """Build the product grid of ceilings, transition widths and midpoints in log d."""
        c, w, m = (a.ravel() for a in np.meshgrid(ceilings, widths, locations, indexing="ij"))
        none = np.zeros((len(c), 2))
        rise = np.stack([slope_of_width("logistic", w), m], 1)
        prior = np.full(len(c), np.log(mass / len(c)))
        return cls(rise, none, c, np.ones(len(c)), prior, np.full(len(c), np.inf))

    @classmethod
    def falls(
        cls,
        peaks: np.ndarray,
        rests: np.ndarray,
        widths: np.ndarray,
        locations: np.ndarray,
        level: float,
        mass: float,
    ) -> Others:
        """Build the grid of peaks, levels after the drop, widths and pairs of midpoints in order.

        `level` is 1 − δ; it says where d* lies. `locations` must have at least two entries.
        """
        first, second = np.triu_indices(len(locations), 1)
        grids = np.meshgrid(peaks, rests, widths, widths, np.arange(len(first)), indexing="ij")
        c, rest, up, down, pair = (a.ravel() for a in grids)
        pair = pair.astype(int)
        rise = np.stack([slope_of_width("logistic", up), locations[first][pair]], 1)
        fall = np.stack([slope_of_width("logistic", down), locations[second][pair]], 1)
        prior = np.full(len(c), np.log(mass / len(c)))
        reached = np.minimum(level / c, 0.999)
        at = rise[:, 1] + shape_quantile("logistic", reached) / rise[:, 0]
        value = np.where((c > level) & (at < fall[:, 1] - down / 2), at, np.inf)
        return cls(rise, fall, c, rest, prior, value)

    @classmethod
    def joined(cls, *parts: Others) -> Others:
        """Return all curves of several sets."""
        return cls(*(np.concatenate(fields) for fields in zip(*map(_fields, parts), strict=True)))


def _fields(others: Others) -> tuple[np.ndarray, ...]:
    return tuple(others.__dict__.values())
