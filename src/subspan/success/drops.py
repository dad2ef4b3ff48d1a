"""Evidence that success rises with d and then drops: the rising curves, each cut off somewhere.

The falls of `posterior.other_curves` are few and coarse. Once many trials lie where success rises,
none of them follows it, and a drop far above is taken for a rate of failure. A drop of a curve of
the posterior itself follows the rise as well as that does: P_s = R(d) before it, r R(d) after it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from subspan.success.posterior import PRIOR_FALL, PRIOR_PLATEAU, Count, Posterior, outcomes

_LEFT = np.array([0.002, 0.15, 0.4, 0.7])  # r, equally likely
# Curves this much lighter than the heaviest are left out: the evidence is a lower bound.
_LIGHT = 1e-13


class Drops(NamedTuple):
    """What counts say of a drop.

    Args:
        log_evidence: log of the prior mean of the likelihood over curves that drop, or less; −inf
            where no success lies below a failure.
        mass: posterior probability of a drop, beside the curves of the posterior.
        last: the largest dim tested, above the likeliest drop; None where there is none.
    """

    log_evidence: float
    mass: float
    last: int | None


def drops(belief: Posterior, counts: Iterable[Count]) -> Drops:
    """Weigh drops between tested dims against the curves of a posterior of the same counts.

    A drop lies anywhere in log d alike, and leaves any share r of `_LEFT`. Only those are counted
    that have a success below and a failure above.
    """
    dims, wins, losses = outcomes(counts)
    first, last = (np.flatnonzero(x > 0) for x in (wins, losses))
    span = belief.span
    if not len(first) or not len(last) or first[0] >= last[-1]:
        return Drops(-math.inf, 0.0, None)
    above = np.arange(first[0] + 1, last[-1] + 1)  # a drop between the dim before and this one
    cell, curve = np.nonzero(belief.weights > _LIGHT * belief.weights.max())
    lost = np.flatnonzero((losses > 0) & (np.arange(len(dims)) >= above[0]))
    p = belief.nuisances.select(np.log(dims[lost]), belief.centers[cell], curve).astype(float)
    log_miss = np.log1p(-p)
    place = np.diff(np.log(dims))[above - 1] / math.log(span.max_dim / span.min_dim)
    won = np.cumsum(wins[::-1])[::-1][above]  # from each drop on; it weighs all curves alike
    following = np.searchsorted(lost, above)  # the first failures after each drop
    gain = np.full(len(above), -math.inf)
    for left in _LEFT:
        each = losses[lost, None] * (np.log1p(-left * p) - log_miss)
        tail = np.cumsum(each[::-1], axis=0)[::-1]
        top = tail.max(1)
        mean = top + np.log(np.exp(tail - top[:, None]) @ belief.weights[cell, curve])
        gain = np.logaddexp(gain, mean[following] + won * math.log(left))
    gain += np.log(place / len(_LEFT))
    best = float(gain.max())
    rising = 1 - PRIOR_PLATEAU - PRIOR_FALL  # prior mass of the curves that are cut off
    over = best + math.log(float(np.exp(gain - best).sum()) / rising)
    odds = math.exp(min(math.log(PRIOR_FALL) + over, 700.0))
    return Drops(belief.log_evidence + over, odds / (1 + odds), int(dims[-1]))
