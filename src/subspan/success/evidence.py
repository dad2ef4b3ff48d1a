"""Evidence for or against a statement about success, without a model of the curve's shape.

The posterior answers for its family of curves alone. These do not: a likelihood ratio of a pooled
success rate against a level and what it shows, the best monotone curve, and how far the counts are
from every monotone curve.
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

_NEAR = 1.2  # failures of this many δ are told from δ at the stated error, fewer are not
_AT_ONCE = 0.82  # share of the error that a run without a failure spends; 1,000 looks, the rest
_LOOKED_AT = 4.0  # times the likelihood ratio of one look, for 1,000 of them


def rate_evidence(successes: int, total: int, level: float) -> float:
    """Return the log likelihood ratio of the measured rate against a level.

    n · KL(k/n ‖ level), with the sign of k/n − level. Among rates on the other side of the level,
    the level itself is the one that explains the counts best.

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


def near_level(delta: float) -> float:
    """Return the success rate that is told from 1 − δ: 1 − 1.2 δ, 0.88 at δ = 0.1."""
    return max(1 - _NEAR * delta, (1 - delta) / 2)


def shows_level(successes: int, total: int, delta: float, confidence: float) -> bool:
    """Whether counts show a success rate of 1 − δ, and not one of 1 − 1.2 δ or less.

    Two ways: no failure in as many trials as a rate of 1 − 1.2 δ would pass without one with a
    chance of 0.82 (1 − confidence), 25 at δ = 0.1 and 95 %; or a likelihood ratio of at least
    1 / (1 − confidence) against 1 − δ, as in 55 of 56. Looked at after each of up to 1,000 trials,
    a rate of 0.88 passes with a chance of 4.9 %, one of 0.8 with 0.4 %, and one that is just at
    0.9 with 13 % (by recursion over the counts; `tests/success/test_evidence.py`).

    Fewer successes cannot do: a step and a plateau of 1 − 1.2 δ give n successes in a row alike,
    the plateau with a chance of (1 − 1.2 δ)ⁿ. Most of the error is spent there, as in a
    group-sequential test, since a law that seldom fails above d* is the usual one.

    Args:
        successes: k of n.
        total: n.
        delta: in (0, 1).
        confidence: in (0, 1).
    """
    error, near = 1 - confidence, near_level(delta)
    unbroken = successes == total and total * math.log(near) <= math.log(_AT_ONCE * error)
    return unbroken or rate_evidence(successes, total, 1 - delta) >= -math.log(error)


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


def refutes_level(successes: int, total: int, delta: float, confidence: float) -> bool:
    """Whether counts show a success rate below 1 − δ.

    By a likelihood ratio against 1 − δ of at least 4 / (1 − confidence), 80 at 95 %: counts are
    looked at again and again, and one look's 20 would be reached by 10 % of runs with a rate of
    just 0.9 within 1,000 trials. 80 is reached by 3.5 %, and by fewer at any higher rate. For δ
    from 0.05 to 0.5 the chance is below 1 − confidence (by recursion over the counts;
    `tests/success/test_evidence.py`).

    Args:
        successes: k of n.
        total: n.
        delta: in (0, 1).
        confidence: in (0, 1).
    """
    return rate_evidence(successes, total, 1 - delta) <= -math.log(_LOOKED_AT / (1 - confidence))


def fall_evidence(counts: Iterable[Count], span: Range, drop: float = -math.inf) -> float:
    """Return the log evidence that success falls with d somewhere: above ln(1/α) at level α.

    The mean likelihood of curves that rise and fall, fixed beforehand, over the likelihood of the
    best monotone curve. One half of these are `other_curves(span)`, the others drop from a curve
    of the posterior, with the mean likelihood e^`drop`; see `drops`. If success is monotone,
    whatever its shape, the evidence is 1/α or more with probability α at most, at any stopping
    time and however dims were chosen (Ville's inequality; Wasserman, Ramdas and Balakrishnan,
    2020, "Universal inference").
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
    mean = top + math.log(float(np.exp(each - top).mean()))
    return float(np.logaddexp(mean, drop)) - math.log(2) - best


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
