"""Paired differences with their interval and p-value, and Holm's control of many of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special, stats

from subspan.errors import check_confidence, invalid, real

FEWEST_PAIRS = 3
"""With two pairs the spread has one degree of freedom: it tells nothing apart after Holm."""

_ROUNDING = 2.0**-23  # of float32, in which trials are trained


class PairedTest(NamedTuple):
    """Mean of paired differences, its interval, two-sided p-value, and the number of pairs.

    With fewer than three pairs there is neither interval nor test: low, high and p are NaN.
    """

    mean: float
    low: float
    high: float
    p: float
    pairs: int


def mean_interval(
    values: Sequence[float], confidence: float = 0.95, resolution: float = 0.0
) -> tuple[float, float, float]:
    """Return the mean of values and Student's interval of it; NaN ends for fewer than two.

    The standard deviation is taken to be at least `resolution`, the step of the values.
    """
    x = np.asarray(values, float)
    if not len(x):
        return math.nan, math.nan, math.nan
    mean = float(x.mean())
    if len(x) < 2:
        return mean, math.nan, math.nan
    error = float(_spread(x, resolution)) / math.sqrt(len(x))
    half = float(stats.t.ppf((1 + confidence) / 2, len(x) - 1)) * error
    return mean, mean - half, mean + half


def paired_test(
    differences: Sequence[float], confidence: float = 0.95, resolution: float = 0.0
) -> PairedTest:
    """Test whether paired differences have mean zero, by Student's paired t-test.

    Student's test, since with the usual five repeats the exact sign-flip test cannot go below
    p = 2/32 and would never tell anything apart. It takes differences to be near normal, and to
    have a spread that the pairs show. Values with a step, as accuracies over n rows (1/n), often
    agree by chance; so the standard deviation is taken to be at least one step.

    Args:
        differences: one per pair, finite.
        confidence: of the interval of the mean.
        resolution: the step of the values, in their units; 0 for real numbers, whose spread is
            taken to be at least float32's rounding of the largest difference.

    Raises:
        InputError: a difference is not finite, the confidence is not in (0, 1), or the resolution
            is negative.
    """
    x = np.asarray(differences, float)
    if not np.isfinite(x).all():
        raise invalid("differences", expected="finite numbers", got="NaN or infinity")
    check_confidence(confidence)
    resolution = real("resolution", resolution, low=0.0)
    mean, low, high = mean_interval(x.tolist(), confidence, resolution)
    if len(x) < FEWEST_PAIRS:
        return PairedTest(mean, math.nan, math.nan, math.nan, len(x))
    return PairedTest(mean, low, high, float(p_values(x, resolution)), len(x))


def p_values(differences: np.ndarray, resolution: float = 0.0) -> np.ndarray:
    """Return two-sided p-values, shape (…), of differences, shape (…, pairs); never 0.

    As `paired_test`, for many tests at once and without its checks.
    """
    x = np.asarray(differences, float)
    mean, error = np.abs(x.mean(-1)), _spread(x, resolution) / math.sqrt(x.shape[-1])
    t = np.divide(mean, error, out=np.zeros_like(mean), where=mean > 0)
    return np.maximum(2 * special.stdtr(x.shape[-1] - 1, -t), np.finfo(float).tiny)


def _spread(x: np.ndarray, resolution: float) -> np.ndarray:
    """Return standard deviations along the last axis, at least one step of the values."""
    rounding = _ROUNDING * np.abs(x).max(-1)
    return np.maximum(x.std(-1, ddof=1), np.maximum(rounding, resolution))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values (Holm, 1979): rejecting those ≤ α errs with chance ≤ α.

    The chance is that of one false rejection or more in the family, under any dependence. NaN
    stands for a test that could not be done; it stays NaN and does not count.
    """
    p = np.asarray(p_values, float)
    adjusted = np.full_like(p, np.nan)
    order = [i for i in np.argsort(p, kind="stable") if not math.isnan(p[i])]
    running = 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(order) - rank) * p[i]))
        adjusted[i] = running
    return [float(v) for v in adjusted]
