"""`next_trials`: where to train next, by what a trial there tells about d* at the best lr.

Each candidate (d, lr) is worth the expected fall of the variance of log d*, in the linear-Gaussian
approximation over the particles of the surface (as the knowledge gradient of Frazier, Powell and
Dayanik, 2009, has it): the covariance of log d* with what a trial there would show, against the
noise it would show it with. Further trials are picked given those before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from subspan.success.graded import FAR
from subspan.success.surface_model import SurfacePosterior

_DIMS_WIDE, _DIMS_NEAR, _LRS = 17, 16, 13
_PEAK = (0.1, 0.3, 0.5, 0.7, 0.9)  # quantiles of the best lr, candidates as well
_INFORMATION_DOF = (5.0 + 3) / (5.0 + 1)  # 1 / Fisher information of t's location, per scale²
_REACH = 2.0  # interquartile ranges: particles beyond must not decide what is asked
_ASKED = 1024  # particles that the lookahead is averaged over

Place = tuple[int, float]
"""A dim and a log learning rate, on the scale of the search."""


def next_trials(belief: SurfacePosterior, under_way: Sequence[Place], count: int) -> list[Place]:
    """Return the places of the next trials, in the order of their worth.

    Args:
        belief: what is known.
        under_way: trials that are known to come, and whose outcomes are not.
        count: how many to pick.
    """
    dims, log_lrs = _candidates(belief)
    free = len(dims)
    dims = np.append(dims, np.array([dim for dim, _ in under_way], np.int64))
    log_lrs = np.append(log_lrs, [log_lr for _, log_lr in under_way])
    target, seen, noise = _lookahead(belief, np.log(dims), log_lrs)
    picked: list[int] = []
    for i in range(len(under_way) + count):
        variance = seen.var(0) + noise
        covariance = (target - target.mean()) @ (seen - seen.mean(0)) / len(target)
        worth = np.round(covariance**2 / variance / max(target.var(), 1e-12), 9)
        best = free + i if i < len(under_way) else int(np.argmax(worth[:free]))
        picked.append(best)
        shown = seen[:, best] - seen[:, best].mean()
        gain = shown @ (seen - seen.mean(0)) / len(target) / variance[best]
        # A square-root update (Whitaker and Hamill, 2002): the particles keep their means and get
        # the variance that is left.
        less = 1 / (1 + math.sqrt(noise[best] / variance[best]))
        target = target - less * shown * covariance[best] / variance[best]
        seen = seen - less * shown[:, None] * gain
    return [(int(dims[best]), float(log_lrs[best])) for best in picked[len(under_way) :]]


def _candidates(belief: SurfacePosterior) -> tuple[np.ndarray, np.ndarray]:
    """Return dims and log lrs of all candidates, each (J,)."""
    span, prior = belief.surfaces.span, belief.surfaces.prior
    low, high = math.log(span.min_dim), math.log(span.max_dim)
    ranked = np.clip(belief.log_threshold, low, high)
    near = np.quantile(ranked, (0.01, 0.99))
    logs = np.concatenate(
        [
            np.linspace(low, high, _DIMS_WIDE),
            np.linspace(max(low, near[0] - 0.5), min(high, near[1] + 0.5), _DIMS_NEAR),
        ]
    )
    dims = np.unique(np.clip(np.round(np.exp(logs)), span.min_dim, span.max_dim))
    best = np.clip(belief.best_log_lr(float(np.median(ranked))), prior.low, prior.high)
    # A sharp peak lies between the points of a grid.
    lrs = np.append(np.linspace(prior.low, prior.high, _LRS), np.quantile(best, _PEAK))
    grid = np.meshgrid(dims.astype(np.int64), np.unique(lrs), indexing="ij")
    return grid[0].ravel(), grid[1].ravel()


def _lookahead(
    belief: SurfacePosterior, log_dims: np.ndarray, log_lrs: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return log d* (K,), what trials would show (K, J), and their noise variance (J,)."""
    span = belief.surfaces.span
    every = max(1, len(belief.log_threshold) // _ASKED)
    low, high = math.log(span.min_dim) - 1, math.log(span.max_dim) + 1
    target = np.clip(belief.log_threshold, low, high)
    quarters = np.quantile(target, (0.25, 0.75))
    reach = _REACH * (quarters[1] - quarters[0])
    if reach:  # none where most have d* beyond one end: then the others are all there is to tell
        target = np.clip(target, quarters[0] - reach, quarters[1] + reach)
    target = target[::every]
    surfaces = belief.surfaces.select(slice(None, None, every))
    t, v = surfaces.coordinates(log_dims, log_lrs)
    lapse = surfaces.lapse(v)
    mean = np.clip(surfaces.mean(t, v), -FAR, FAR)
    scale = surfaces.scale(t, v) ** 2 + surfaces.misfit**2 * (t * t + v * v)
    noise = _INFORMATION_DOF * scale / (1 - np.minimum(lapse, 0.9))
    return target, mean, noise.mean(0)
