"""Paired differences: an exact test by sign flips, how many pairs it needs, and Holm's control."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from subspan.errors import check_confidence, invalid, real, whole
from subspan.streams import stream

FEWEST_PAIRS = 3
"""Below it there is no interval worth the name either."""

_ROUNDING = 2.0**-23  # of float32, in which trials are trained
_EXACT_PAIRS = 16  # all sign patterns up to here, 2^15 of the 2^(n−1) at random above
_TIED = 1e-9  # sums this near each other count as equal


class PairedTest(NamedTuple):
    """Mean of paired differences, its interval, two-sided p-value, and the number of pairs.

    With fewer than three pairs there is neither interval nor test: low, high and p are NaN. Where
    a difference is infinite the mean is too (NaN if both signs occur) and has no interval.
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
    if not np.isfinite(x).all():
        return math.fsum(x[~np.isfinite(x)]) if _one_sided(x) else math.nan, math.nan, math.nan
    mean = float(x.mean())
    if len(x) < 2:
        return mean, math.nan, math.nan
    error = float(_spread(x, resolution)) / math.sqrt(len(x))
    half = float(stats.t.ppf((1 + confidence) / 2, len(x) - 1)) * error
    return mean, mean - half, mean + half


def _one_sided(x: np.ndarray) -> bool:
    """Whether all that is not finite is +∞, or all −∞."""
    return not np.isnan(x).any() and not (np.isposinf(x).any() and np.isneginf(x).any())


def paired_test(
    differences: Sequence[float], confidence: float = 0.95, resolution: float = 0.0
) -> PairedTest:
    """Test whether two methods differ, by the signs of their paired differences.

    If they do not, exchanging the two within a pair changes nothing: d is as likely as −d, pair by
    pair. So the 2^n sign patterns of the differences are equally likely, and p is the share of them
    whose sum is as far from zero (Fisher 1935): exact for any law of the outcomes, but never below
    2^(1−n). (Above 16 pairs, 32,767 random patterns and the one seen stand for all.) What it tests
    is that the two are alike, not that their means are: a method that is a little worse in nine
    repeats of ten and so much better in one that the means are equal is not like the null, and may
    be told so.

    The interval of the mean is Student's, which takes differences to be near normal; p is not.

    Args:
        differences: one per pair; ±∞ where one of the two trials failed, which outweighs all
            others.
        confidence: of the interval of the mean.
        resolution: of the interval: the step of the values, in their units, as 1/n for accuracies
            over n rows; 0 for real numbers, whose step is float32's rounding of the largest
            difference. The standard deviation is taken to be at least that, as values with a step
            often agree by chance.

    Raises:
        InputError: a difference is NaN, the confidence is not in (0, 1), or the resolution is
            negative.
    """
    x = np.asarray(differences, float)
    if np.isnan(x).any():
        raise invalid("differences", expected="numbers", got="NaN")
    check_confidence(confidence)
    resolution = real("resolution", resolution, low=0.0)
    mean, low, high = mean_interval(x.tolist(), confidence, resolution)
    if len(x) < FEWEST_PAIRS:
        return PairedTest(mean, math.nan, math.nan, math.nan, len(x))
    return PairedTest(mean, low, high, float(p_values(bounded(x))), len(x))


def bounded(differences: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return differences (n,) with ±∞ put as ten times all others together, or ±1 if all are 0.

    What it depends on besides the sign is not changed by flips, so the test stays exact.
    """
    x = np.asarray(differences, float)
    largest = 10 * float(np.abs(x[np.isfinite(x)]).sum()) or 1.0
    return np.where(np.isinf(x), np.copysign(largest, x), x)


def p_values(differences: np.ndarray) -> np.ndarray:
    """Return two-sided p-values, shape (…), of finite differences, shape (…, pairs).

    As `paired_test`, for many tests at once and without its checks.
    """
    x = np.asarray(differences, float)
    sums = np.abs(x @ _patterns(x.shape[-1]).T)
    reached = sums[..., :1] - _TIED * np.abs(x).sum(-1, keepdims=True)
    return np.mean(sums >= reached, axis=-1)


@functools.cache
def _patterns(pairs: int) -> np.ndarray:
    """Return sign patterns (count, pairs), all plus first; each stands for its negative too."""
    if pairs <= _EXACT_PAIRS:
        bits = np.arange(2 ** (pairs - 1))[:, None] >> np.arange(pairs) & 1
    else:
        rng = stream(0, "sign flips", pairs)
        bits = rng.integers(0, 2, (2 ** (_EXACT_PAIRS - 1), pairs))
        bits[0] = 0
    return 1.0 - 2.0 * bits


def _spread(x: np.ndarray, resolution: float) -> np.ndarray:
    """Return standard deviations along the last axis, at least one step of the values."""
    rounding = _ROUNDING * np.abs(x).max(-1)
    return np.maximum(x.std(-1, ddof=1), np.maximum(rounding, resolution))


def repeats_needed(cells: int, confidence: float = 0.95) -> int:
    """Return the fewest repeats with which any of so many cells can be told from the null.

    The least p of n pairs is 2^(1−n), and Holm's first step multiplies it by the number of cells.
    One cell needs 6 at 95 %, 10 cells 9, and 40 cells 11. These show a difference that has the same
    sign in every repeat, and not a smaller one.

    Args:
        cells: tests in the family, at least 1.
        confidence: 1 − the chance of any false verdict.

    Raises:
        InputError: no cells, or the confidence is not in (0, 1).
    """
    cells = whole("cells", cells, low=1)
    check_confidence(confidence)
    repeats = FEWEST_PAIRS
    while cells * 2.0 ** (1 - repeats) > 1 - confidence + 1e-12:
        repeats += 1
    return repeats


def can_tell(pairs: Sequence[int], confidence: float = 0.95) -> list[bool]:
    """Return which cells are tested: the largest family with enough pairs for its own size.

    It depends on the numbers of pairs alone, not on what was seen, so the family is fixed before.

    Args:
        pairs: of each cell.
        confidence: 1 − the chance of any false verdict in the family.
    """
    for fewest in sorted(set(pairs)):
        family = [n >= fewest for n in pairs]
        if fewest >= repeats_needed(sum(family), confidence):
            return family
    return [False] * len(pairs)


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
