"""Exact intervals for a success probability."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv

from subspan.errors import check_confidence, invalid


def binomial_interval(
    successes: ArrayLike, total: ArrayLike, confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Return the Clopper–Pearson interval of a success probability.

    The equal-tailed exact interval (Clopper and Pearson, 1934): it holds the truth with at least
    the stated confidence for every probability and sample size.

    Args:
        successes: counts k, any shape.
        total: counts n ≥ k, broadcast against `successes`. Where n = 0 the interval is [0, 1].
        confidence: in (0, 1).

    Returns:
        Lower and upper ends, float64, of the broadcast shape.

    Raises:
        InputError: a count is negative, k > n, or the confidence is not in (0, 1).
    """
    check_confidence(confidence)
    k, n = np.broadcast_arrays(np.asarray(successes, float), np.asarray(total, float))
    if np.any(k < 0) or np.any(k > n):
        raise invalid(
            "successes", expected="counts with 0 <= successes <= total", got=f"{k} of {n}"
        )
    tail = (1 - confidence) / 2
    with np.errstate(all="ignore"):
        low = betaincinv(np.maximum(k, 1), n - k + 1, tail)
        high = betaincinv(k + 1, np.maximum(n - k, 1), 1 - tail)
    return np.where(k == 0, 0.0, low), np.where(k == n, 1.0, high)
