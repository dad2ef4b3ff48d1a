"""Paired differences with their interval and p-value, and Holm's control of many of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from subspan.errors import check_confidence, invalid


class PairedTest(NamedTuple):
    """Mean of paired differences, its interval, two-sided p-value, and the number of pairs.

    With one pair there is neither interval nor test: low, high and p are NaN.
    """

    mean: float
    low: float
    high: float
    p: float
    pairs: int


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """Return the mean of values and Student's interval of it; NaN ends for fewer than two."""
    x = np.asarray(values, float)
    if not len(x):
        return math.nan, math.nan, math.nan
    mean = float(x.mean())
    if len(x) < 2:
        return mean, math.nan, math.nan
    half = float(stats.t.ppf((1 + confidence) / 2, len(x) - 1) * x.std(ddof=1) / math.sqrt(len(x)))
    return mean, mean - half, mean + half


def paired_test(differences: Sequence[float], confidence: float = 0.95) -> PairedTest:
    """Test whether paired differences have mean zero, by Student's paired t-test.

    Student's test, since with the usual five repeats the exact sign-flip test cannot go below
    p = 2/32 and would never tell anything apart. It takes differences to be near normal. Where
    all differences are equal, p is 1 if they are zero and 0 if not.

    Args:
        differences: one per pair, finite.
        confidence: of the interval of the mean.

    Raises:
        InputError: a difference is not finite, or the confidence is not in (0, 1).
    """
    x = np.asarray(differences, float)
    if not np.isfinite(x).all():
        raise invalid("differences", expected="finite numbers", got="NaN or infinity")
    check_confidence(confidence)
    mean, low, high = mean_interval(x.tolist(), confidence)
    if len(x) < 2:
        return PairedTest(mean, low, high, math.nan, len(x))
    spread = float(x.std(ddof=1))
    if spread <= 1e-12 * max(1.0, abs(mean)):
        p = 1.0 if abs(mean) <= 1e-12 else 0.0
    else:
        p = float(2 * stats.t.sf(abs(mean) / (spread / math.sqrt(len(x))), len(x) - 1))
    return PairedTest(mean, low, high, p, len(x))


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
