"""How good training gets at (d, lr), as one surface with noise: the posterior of d* at the best lr.

A trial says more than whether it met the goal. On a suitable scale (the log of a loss, the logit of
an accuracy), how far its best metric lies above the level is

    z = g(t) + h(v) + noise,   t = log d − x*,   v = log lr − μ(t),

with g increasing and g(0) = 0; h ≤ 0 what a learning rate off the best costs, with a slope of its
own on either side, since training decays slowly below the best learning rate and collapses above
it, and a peak between them that is anything from round to a cusp; and the ridge μ(t) = μ₀ + μ₁ t.
The noise is Student's t with a scale that changes with t and v, and some trials lapse: they end
anywhere below. d* is the smallest d at which P(z ≥ 0) ≥ 1 − δ at the lr that makes this probability
largest.

The posterior depends on the observations alone, not on their order, and on no global state. What
the surface gets wrong far from the level is part of the noise there: an observation counts the
less, the farther it lies from the threshold and from the ridge. Where a metric is the mean of
several evaluations, their error is part of the noise of that observation, and of no trial's chance
to meet the goal.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit

from subspan.streams import stream
from subspan.success.graded import FAR, Observation, Scale
from subspan.success.posterior import Range
from subspan.success.tempering import temper
from subspan.trials.lr_scale import RidgePrior

PARTICLES = 1024
_DOF = 5.0  # of the noise
_CLIFF_SLOPE = 4.0  # how fast, in the logit of the chance of a collapse per unit of log lr
_LAPSE_SPAN = 3.0  # a lapsed trial that says a number is spread evenly over so much of z
_LAPSE_COLLAPSED = 0.5  # the share of lapsed trials that say none
_MARGIN = 3.0  # how far beyond the range, in log d, the crossing may lie
_OUTSIDE = 0.1  # prior mass of a crossing below the range, and above it
_TINY = 1e-300


class Parameter(NamedTuple):
    """Prior of one parameter: normal with `mean` and `sd`, on the log scale where `log`."""

    name: str
    mean: float
    sd: float
    log: bool


# Per unit of log d or log lr. Means and widths hold what digits-mlp, mnist-mlp, Conv-2 and a LeNet
# show with room on both sides; `crossing` and the ridge are set by the range and the `RidgePrior`.
_PARAMETERS = (
    Parameter("crossing", 0.0, 1.0, False),
    Parameter("slope", math.log(1.3), 0.9, True),  # of g at the crossing
    Parameter("saturation", 0.25, 0.35, False),  # how fast g flattens above it (< 0: steepens)
    Parameter("decay", 0.1, 0.3, False),  # and below it
    Parameter("ridge", 0.0, 1.0, False),
    Parameter("drift", 0.0, 1.0, False),
    Parameter("rise", math.log(0.5), 0.5, True),  # slope of h far below the best lr
    Parameter("fall", math.log(1.5), 0.7, True),  # far above it
    Parameter("noise", math.log(0.11), 0.65, True),
    Parameter("noise_lr", 0.2, 0.25, False),  # change of log noise per unit of v
    Parameter("noise_dim", 0.0, 0.15, False),  # and of t
    Parameter("lapse", math.log(0.006), 1.1, True),
    Parameter("cliff", 2.0, 1.0, False),  # v beyond which training collapses
    Parameter("misfit", math.log(0.06), 0.9, True),
    Parameter("sharpness", -1.3, 1.4, True),  # above 1: of the peak of h, a cusp where it is large
)
_INDEX = {p.name: i for i, p in enumerate(_PARAMETERS)}
_MEAN = np.array([p.mean for p in _PARAMETERS])
_SD = np.array([p.sd for p in _PARAMETERS])
_V_GRID = np.linspace(-2.4, 1.2, 19)


class Surfaces:
    """Many surfaces at once, one per particle; all fields have shape (N, 1).

    Args:
        raw: standard-normal parameters, shape (N, P).
        span: the range of dims and δ.
        prior: of the ridge.
        graded: the scale of z, where trials are means of several evaluations.
    """

    def __init__(
        self, raw: np.ndarray, span: Range, prior: RidgePrior, graded: Scale | None = None
    ) -> None:
        self.raw, self.span, self.prior, self.graded = raw, span, prior, graded
        values = _MEAN + _SD * raw
        part = {name: values[:, i : i + 1] for name, i in _INDEX.items()}
        for p in _PARAMETERS:
            if p.log:
                part[p.name] = np.exp(part[p.name])
        self.crossing = _crossing(raw[:, :1], span)
        self.slope, self.saturation, self.decay = part["slope"], part["saturation"], part["decay"]
        self.ridge = prior.centre + prior.spread * part["ridge"]
        self.drift = prior.drift + prior.drift_spread * part["drift"]
        self.rise, self.fall = part["rise"], part["fall"]
        self.noise, self.noise_lr, self.noise_dim = (
            part["noise"],
            part["noise_lr"],
            part["noise_dim"],
        )
        self.lapse_at_best = np.minimum(part["lapse"], 0.95)
        self.cliff = part["cliff"]
        self.misfit = part["misfit"]
        self.sharpness = 1 + part["sharpness"]

    def select(self, part: slice) -> Surfaces:
        """Return some of the surfaces."""
        chosen = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray):
                setattr(chosen, name, value[part])
        return chosen

    def coordinates(self, log_dim: np.ndarray, log_lr: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return t and v, each (N, n), of points (n,)."""
        t = log_dim - self.crossing
        return t, log_lr - self.ridge - self.drift * np.clip(t, -4, 4)

    def mean(self, t: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Return g(t) + h(v), (N, n)."""
        bend = np.where(t > 0, self.saturation, -self.decay)
        bend = np.where(np.abs(bend) < 1e-6, 1e-6, bend)
        g = self.slope * -np.expm1(np.clip(-bend * t, -40, 4)) / bend
        return g + self.off_ridge(v)

    def off_ridge(self, v: np.ndarray) -> np.ndarray:
        """Return h(v) ≤ 0: −rise·|v| far below the ridge, −fall·v far above it, h(0) = 0.

        Its peak is round over 1 / sharpness of log lr: how far it lies below where the flanks meet
        is known only from trials near it.
        """
        total, u = self.rise + self.fall, self.sharpness * v
        slow, steep = np.clip(-self.rise * u, -600, 600), np.clip(self.fall * u, -600, 600)
        peak = np.log((self.fall * np.exp(slow) + self.rise * np.exp(steep)) / total)
        return -peak / self.sharpness

    def scale(self, t: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Return the scale of the noise, (N, n)."""
        return self.noise * np.exp(
            self.noise_lr * np.clip(v, -3, 2) + self.noise_dim * np.clip(t, -3, 3)
        )

    def lapse(self, v: np.ndarray) -> np.ndarray:
        """Return the probability of a lapse: small, and nearly one beyond a cliff, (N, n)."""
        fallen = 1 / (1 + np.exp(np.clip(_CLIFF_SLOPE * (self.cliff - v), -40, 40)))
        return self.lapse_at_best + (1 - self.lapse_at_best) * fallen

    def log_likelihood(self, data: _Data) -> np.ndarray:
        """Return the log likelihood of all observations, shape (N,)."""
        plain, lapsed, _ = self._parts(data)
        return np.log(np.maximum(plain + lapsed, _TINY)).sum(1)

    def lapsed(self, data: _Data) -> np.ndarray:
        """Return the chance that an observation is a lapse, and not one of a lr beyond the cliff;
        shape (N, n)."""
        plain, lapsed, lapse = self._parts(data)
        return lapsed / np.maximum(plain + lapsed, _TINY) * self.lapse_at_best / lapse

    def _parts(self, data: _Data) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the likelihood of each observation as a plain one and as a lapse, and the chance
        of a lapse there, each (N, n)."""
        t, v = self.coordinates(data.log_dim, data.log_lr)
        mean = self.mean(t, v)
        gap = data.z - mean
        variance = self.scale(t, v) ** 2 + self.misfit**2 * (t * t + v * v)
        if self.graded is not None and data.error.any():
            # At the surface's own value: at one that was high by luck the scale is another.
            variance += (data.error * self.graded.per_unit(np.clip(mean, -FAR, FAR))) ** 2
        scale = np.sqrt(variance)
        lapse = self.lapse(v)
        plain, lapsed = np.empty_like(gap), np.zeros_like(gap)
        exact, least, most = data.exact, data.least, data.most
        r = gap / scale
        plain[:, exact] = (1 - lapse[:, exact]) * _density(r[:, exact]) / scale[:, exact]
        lapsed[:, exact] = lapse[:, exact] * ((1 - _LAPSE_COLLAPSED) / _LAPSE_SPAN)
        if least.any():
            plain[:, least] = (1 - lapse[:, least]) * _cumulative(-r[:, least])
        if most.any():
            plain[:, most] = (1 - lapse[:, most]) * _cumulative(r[:, most])
            lapsed[:, most] = lapse[:, most] * _LAPSE_COLLAPSED
        return plain, lapsed, lapse

    def best(self) -> tuple[np.ndarray, np.ndarray]:
        """Return log d* (inf where success never becomes that sure) and v of the best lr, (N,)."""
        t = np.zeros_like(self.noise)
        for _ in range(8):  # the ridge and the noise change slowly with t, so iterate
            ridge = self.ridge + self.drift * np.clip(t, -4, 4)
            v = np.clip(_V_GRID, self.prior.low - ridge, self.prior.high - ridge)
            level = (1 - self.span.delta) / (1 - self.lapse(v))
            sure = level < 1 - 1e-9
            quantile = np.interp(level, *_quantiles())
            needed = np.where(sure, quantile * self.scale(t, v) - self.off_ridge(v), np.inf)
            at = needed.argmin(1)[:, None]
            reached = self._inverse(np.take_along_axis(needed, at, 1))
            t = np.clip(reached, -6, 6)
        return (self.crossing + reached)[:, 0], np.take_along_axis(v, at, 1)[:, 0]

    def _inverse(self, g: np.ndarray) -> np.ndarray:
        """Return t with g(t) = g; inf where it is never reached."""
        bend = np.where(g > 0, self.saturation, -self.decay)
        bend = np.where(np.abs(bend) < 1e-6, 1e-6, bend)
        inside = 1 - bend * g / self.slope
        return np.where(
            inside > 1e-9, -np.log(np.maximum(inside, 1e-9)) / bend, np.where(g > 0, np.inf, -9.0)
        )

    def success(self, t: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Return P(z ≥ 0), (N, n)."""
        return (1 - self.lapse(v)) * _cumulative(self.mean(t, v) / self.scale(t, v))


@dataclass(frozen=True)
class _Data:
    """Observations as arrays (n,), beyond ±FAR taken as bounds."""

    log_dim: np.ndarray
    log_lr: np.ndarray
    z: np.ndarray
    error: np.ndarray
    exact: np.ndarray
    least: np.ndarray
    most: np.ndarray

    @classmethod
    def of(cls, observations: Sequence[Observation]) -> _Data:
        rows = sorted(observations)
        z = np.array([row.z for row in rows], float)
        said = np.array([row.censoring for row in rows], object)
        most = ((said == "at most") & (z <= FAR)) | ((said == "none") & (z < -FAR))
        least = ((said == "at least") & (z >= -FAR)) | ((said == "none") & (z > FAR))
        silent = ((said == "at most") & (z > FAR)) | ((said == "at least") & (z < -FAR))
        keep = ~silent
        return cls(
            log_dim=np.array([row.log_dim for row in rows], float)[keep],
            log_lr=np.array([row.log_lr for row in rows], float)[keep],
            z=np.clip(z, -FAR, FAR)[keep],
            error=np.array([row.error for row in rows], float)[keep],
            exact=~(most | least)[keep],
            least=least[keep],
            most=most[keep],
        )


def _crossing(raw: np.ndarray, span: Range) -> np.ndarray:
    """Map standard normals to x*: even over the range, and a margin beyond either end."""
    low, high = math.log(span.min_dim), math.log(span.max_dim)
    return np.interp(
        ndtr(raw),
        [0, _OUTSIDE, 1 - _OUTSIDE, 1],
        [low - _MARGIN, low, max(high, low + 1e-3), max(high, low + 1e-3) + _MARGIN],
    )


def _density(r: np.ndarray) -> np.ndarray:
    """Student's t density with five degrees of freedom."""
    return 0.3796066898224944 / (1 + r * r / _DOF) ** 3


def _cumulative(r: np.ndarray) -> np.ndarray:
    """Student's t distribution function with five degrees of freedom."""
    angle = np.arctan(r / math.sqrt(_DOF))
    c = np.cos(angle)
    return 0.5 + (angle + np.sin(angle) * (c + 2 / 3 * c**3)) / math.pi


@functools.cache
def _quantiles() -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, and Student's t quantiles at them, to interpolate in."""
    ends = 10.0 ** np.linspace(-9, -2, 200)
    p = np.concatenate([ends, np.linspace(0.01, 0.99, 1500)[1:-1], 1 - ends[::-1]])
    return p, stdtrit(_DOF, p)


@functools.lru_cache(maxsize=4)
def _prior_draws(count: int) -> np.ndarray:
    """Standard normals (count, P), each column evenly spread: a Latin hypercube."""
    rng = stream(0, "surface", "prior")
    shape = (len(_PARAMETERS), count)
    places = rng.permuted(np.tile(np.arange(count), (len(_PARAMETERS), 1)), axis=1)
    return ndtri((places + rng.random(shape)) / count).T.copy()


@dataclass(frozen=True)
class SurfacePosterior:
    """Particles of the surface, equally weighted.

    Args:
        surfaces: one per particle.
        log_threshold: log d* of each, shape (N,); inf where success never becomes that sure.
        best_v: where the best lr lies from the ridge, (N,).
    """

    surfaces: Surfaces
    log_threshold: np.ndarray
    best_v: np.ndarray

    @property
    def below(self) -> float:
        """Probability that d* ≤ min_dim."""
        return float((self.log_threshold <= math.log(self.surfaces.span.min_dim)).mean())

    @property
    def above(self) -> float:
        """Probability that d* > max_dim, or that success never becomes that sure."""
        return float((self.log_threshold > math.log(self.surfaces.span.max_dim) + 1e-9).mean())

    def quantile(self, probability: float) -> float:
        """Return the quantile of d*, not rounded; min_dim below the range, inf above it."""
        span = self.surfaces.span
        ranked = np.sort(self.log_threshold)
        place = probability * len(ranked) - 0.5
        at = min(max(place, 0.0), len(ranked) - 1.0)
        low, high = ranked[math.floor(at)], ranked[math.ceil(at)]
        if not math.isfinite(high) or high > math.log(span.max_dim) + 1e-9:
            return math.inf
        t = low + (at - math.floor(at)) * (high - low)
        return float(min(max(math.exp(min(t, 700)), span.min_dim), span.max_dim))

    def lapses(self, observations: Sequence[Observation]) -> tuple[int, int]:
        """Return how many observations are lapses, and of how many that could have told of one."""
        data = _Data.of(observations)
        if not len(data.z):
            return 0, 0
        lost = self.surfaces.lapsed(data).mean(0) > 0.5
        return int(lost.sum()), int((lost | ~data.most).sum())

    def best_log_lr(self, log_dim: float) -> np.ndarray:
        """Return each particle's best log lr at a dim, (N,)."""
        s = self.surfaces
        t = np.clip(log_dim - s.crossing, -4, 4)
        return (s.ridge + s.drift * t)[:, 0] + self.best_v


def sample(
    observations: Sequence[Observation],
    span: Range,
    prior: RidgePrior,
    graded: Scale | None = None,
    *,
    particles: int = PARTICLES,
    populations: int = 1,
    begun: SurfacePosterior | None = None,
) -> SurfacePosterior:
    """Sample the posterior of the surface.

    Args:
        observations: in any order.
        span: the range of dims and δ.
        prior: of the best learning rate.
        graded: the scale of z; None: no observation has an error.
        particles: in each population.
        populations: sampled independently and pooled, against the luck of one.
        begun: the same of fewer populations, to go on from.

    Returns:
        Equally weighted particles: a function of the arguments alone.
    """
    data = _Data.of(observations)

    def log_likelihood(points: np.ndarray) -> np.ndarray:
        return Surfaces(points, span, prior, graded).log_likelihood(data)

    raw = _prior_draws(particles)
    if len(data.z):
        pool = [] if begun is None else [begun.surfaces.raw]
        for i in range(sum(map(len, pool)) // particles, populations):
            rng = stream(0, "surface", "moves", i)
            pool.append(temper(_prior_draws(particles), log_likelihood, rng))
        raw = np.concatenate(pool)
    surfaces = Surfaces(raw, span, prior, graded)
    return SurfacePosterior(surfaces, *surfaces.best())
