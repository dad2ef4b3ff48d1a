"""`Response`: how good training gets over (d, lr), as the trials of a joint design show it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from subspan.success.graded import Observation, Scale
from subspan.success.surface_model import SurfacePosterior
from subspan.trials.lr_scale import LrScale


@dataclass(frozen=True)
class LearningRate:
    """The learning rate that serves a goal best, and how flat the optimum is.

    Args:
        best: at d*.
        low: the smallest with which d* is expected at most a tenth higher; None where lr was given.
        high: the largest.
        at_edge: the end, `"low"` or `"high"`, of the range searched that the best lies at, if any.
    """

    best: float
    low: float | None = None
    high: float | None = None
    at_edge: str | None = None


@dataclass(frozen=True)
class Response:
    """The posterior of the surface over (d, lr), and the trials it rests on.

    Args:
        scale: of the goal's metric: distances z are measured on it.
        lr: the scale and the range on which the learning rate was searched.
        told: the trials.
        posterior: of the surface.
    """

    scale: Scale
    lr: LrScale
    told: tuple[Observation, ...]
    posterior: SurfacePosterior

    def curve(self, dims: np.ndarray, confidence: float) -> tuple[np.ndarray, ...]:
        """Return the mean of P_s at the best lr, dims (n,), and its credible band: three (n,)."""
        belief, s = self.posterior, self.posterior.surfaces
        t = np.log(dims) - s.crossing
        chance = s.success(t, np.broadcast_to(belief.best_v[:, None], t.shape))
        tail = (1 - confidence) / 2
        low, high = np.quantile(chance, (tail, 1 - tail), axis=0)
        return chance.mean(0), low, high

    def distance(self, dims: np.ndarray, confidence: float) -> tuple[np.ndarray, ...]:
        """Return the median of z at the best lr, dims (n,), and its credible band: three (n,)."""
        belief, s = self.posterior, self.posterior.surfaces
        t = np.log(dims) - s.crossing
        z = s.mean(t, np.broadcast_to(belief.best_v[:, None], t.shape))
        tail = (1 - confidence) / 2
        low, middle, high = np.quantile(z, (tail, 0.5, 1 - tail), axis=0)
        return middle, low, high

    def threshold_at(self, lrs: np.ndarray, confidence: float) -> tuple[np.ndarray, ...]:
        """Return d* at learning rates (n,) and its credible band: three (n,), inf where never.

        Args:
            lrs: as a user gives them, one for all d.
            confidence: of the band.
        """
        span = self.posterior.surfaces.span
        dims = np.geomspace(span.min_dim, span.max_dim, 160)
        s = self.posterior.surfaces
        level, found = 1 - span.delta, []
        unit = np.array([self.lr.unit(round(d)) for d in dims])
        tail = (1 - confidence) / 2
        for lr in lrs:
            t, v = s.coordinates(np.log(dims), np.log(lr / unit))
            enough = s.success(t, v) >= level
            first = np.where(enough.any(1), dims[enough.argmax(1)], np.inf)
            ranked = np.sort(first)
            found.append([ranked[int(q * (len(ranked) - 1))] for q in (0.5, tail, 1 - tail)])
        middle, low, high = np.array(found).T
        return middle, low, high
