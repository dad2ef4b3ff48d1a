"""Evidence for or against a statement about success, without a model of the curve's shape.

The posterior answers for its family of curves alone. These three do not: a likelihood ratio of a
pooled success rate against a level, the best monotone curve, and how far the counts are from every
monotone curve.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from subspan.success.posterior import (
    Count,
    Range,
    log_likelihood,
    other_curves,
    other_likelihood,
    outcomes,
)


def rate_evidence(successes: int, total: int, level: float) -> float:
    """Return the log likelihood ratio of the measured rate against a level.

    n · KL(k/n ‖ level), with the sign of k/n − level. Among rates on the other side of the level,
    the level itself is the one that explains the counts best. Looked at after each of 200 trials,
    ln 20 is passed by chance in at most 8 % of cases where the rate is just at 0.9, and in 3 %
    where it is 0.88 (by recursion over the counts; `tests/success/test_evidence.py`).

    Args:
        successes: k of n.
        total: n; 0 gives 0.
        level: in (0, 1).
    """
    if not total:
        return 0.0
    rate = successes / total
    won = successes * math.log(rate / level) if successes else 0.0
    lost = total - successes
    return math.copysign(
        won + (lost * math.log((1 - rate) / (1 - level)) if lost else 0.0), rate - level
    )


def isotonic_rates(wins: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """Return the best monotone success probabilities at ascending dims, (n,).

    The maximum likelihood under P_s rising with d, by pooling adjacent violators (Ayer et al.,
    1955, "An empirical distribution function for sampling with incomplete information").
    """
    blocks: list[list[float]] = []  # wins, trials, dims
    for won, lost in zip(wins, losses, strict=True):
        blocks.append([won, won + lost, 1])
        while len(blocks) > 1 and blocks[-2][0] * blocks[-1][1] >= blocks[-1][0] * blocks[-2][1]:
            last = blocks.pop()
            blocks[-1] = [a + b for a, b in zip(blocks[-1], last, strict=True)]
    return np.repeat([w / t for w, t, _ in blocks], [int(n) for _, _, n in blocks])


def fall_evidence(counts: Iterable[Count], span: Range) -> float:
    """Return the log evidence that success falls with d somewhere: above ln(1/α) at level α.

    The mean likelihood of curves that rise and fall, fixed beforehand, over the likelihood of the
    best monotone curve. If success is monotone, whatever its shape, its inverse is at most α with
    probability α at most, at any stopping time and however dims were chosen (Ville's inequality;
    Wasserman, Ramdas and Balakrishnan, 2020, "Universal inference").
    """
    others = other_curves(span)
    dims, wins, losses = outcomes(counts)
    if not len(dims) or not others.falling.any():
        return 0.0
    rates = isotonic_rates(wins, losses)[:, None]
    with np.errstate(divide="ignore"):
        best = float(log_likelihood(rates, wins, losses)[0])
    each = other_likelihood(span, dims, wins, losses)[others.falling]
    top = float(each.max())
    return top + math.log(float(np.exp(each - top).mean())) - best


def steepest_fall(counts: Iterable[Count]) -> str:
    """Say in a sentence where success falls most clearly: neighbouring dims before and after."""
    dims, wins, losses = outcomes(counts)
    won, lost = (np.concatenate([[0.0], np.cumsum(x)]) for x in (wins, losses))
    size, best, where = len(dims), -math.inf, (0, 1)
    for split in range(1, size):
        after = won[size] - won[split], lost[size] - lost[split]
        for first in range(split):
            before = won[split] - won[first], lost[split] - lost[first]
            if before[0] * sum(after) <= after[0] * sum(before):
                continue
            both = before[0] + after[0], before[1] + after[1]
            gain = _best_log(*before) + _best_log(*after) - _best_log(*both)
            if gain > best:
                best, where = gain, (first, split)
    first, split = where

    def told(a: int, b: int) -> str:
        k, n = int(won[b] - won[a]), int(won[b] - won[a] + lost[b] - lost[a])
        last = f" … {int(dims[b - 1]):,}" if b > a + 1 else ""
        return f"{k} of {n} trials at d = {int(dims[a]):,}{last}"

    return f"Success falls with d: {told(first, split)} met the goal, {told(split, size)}."


def _best_log(won: float, lost: float) -> float:
    """Return the log likelihood of counts at their own rate."""
    n = won + lost
    return sum(k * math.log(k / n) for k in (won, lost) if k)
