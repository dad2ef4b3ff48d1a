"""Synthetic success curves whose threshold is known, in and out of the estimator's model."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, stdtr

from subspan.streams import stream

FAMILIES = (
    "logistic",
    "probit",
    "weibull",
    "gumbel_max",
    "step",
    "logistic lapse",
    "probit lapse",
    "student-t",
    "two-stage",
    "kinked power",
)


@dataclass(frozen=True)
class SyntheticCurve:
    """P_s(d) for d in 1..D, and the threshold: the smallest d with P_s >= 1 - delta."""

    family: str
    ambient_dim: int
    probability: np.ndarray
    threshold: int


def draw_curve(
    family: str, seed: int, index: int, delta: float = 0.1, widest: float = 4.6
) -> SyntheticCurve:
    """Draw D in 60..2e5, a midpoint and a transition width (10 to 90 %, 0.03..widest in log d)."""
    rng = stream(seed, "coverage", family, index)
    while True:
        ambient = int(np.exp(rng.uniform(math.log(60), math.log(2e5))))
        middle = rng.uniform(math.log(2), math.log(ambient))
        width = math.exp(rng.uniform(math.log(0.03), math.log(widest)))
        dims = np.arange(1, ambient + 1)
        x = (np.log(dims) - middle) / width
        p = _shape(family, rng)(x)
        if family.endswith("lapse"):
            p = p * (1 - rng.uniform(0, 0.6 * delta))
        reached = p >= 1 - delta
        if reached.any():
            return SyntheticCurve(family, ambient, p, int(dims[np.argmax(reached)]))


def _shape(family: str, rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
    if family.startswith("logistic"):
        return lambda x: 1 / (1 + np.exp(-np.clip(4.394 * x, -500, 500)))
    if family.startswith("probit"):
        return lambda x: ndtr(2.563 * x)
    if family == "weibull":  # in d: 1 - exp(-(d/scale)^k)
        return lambda x: -np.expm1(-np.exp(np.clip(3.084 * x, -50, 50)))
    if family == "gumbel_max":
        return lambda x: np.exp(-np.exp(np.clip(-3.084 * x, -50, 50)))
    if family == "step":
        return lambda x: (x >= 0) * 1.0
    if family == "student-t":  # heavy tails: odd successes far below, odd failures far above
        return lambda x: stdtr(3, 3.276 * x)
    if family == "two-stage":  # a shelf: two steps apart
        share, gap = rng.uniform(0.2, 0.8), rng.uniform(0.5, 2)
        return lambda x: share * ndtr(4 * x) + (1 - share) * ndtr(4 * (x - gap))
    return lambda x: np.clip(0.1 + 0.8 * (np.expm1(x) / math.expm1(1)), 0, 1)  # kinks at 0 and 1
