"""`judge`: what success counts say of d*, which status that is, and what would say more.

The posterior gives d* its interval, and is only as good as its curves. So before it is believed,
the counts themselves must agree: trials above d* with 1 − δ, trials at the ends of the range with
d* beyond them, and all of them with a success that rises with d.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from subspan.estimate import Estimate
from subspan.intervals import binomial_interval
from subspan.success.drops import Drops, drops
from subspan.success.evidence import (
    fall_evidence,
    isotonic_rates,
    rate_evidence,
    refutes_level,
    shows_level,
    steepest_fall,
)
from subspan.success.posterior import WIDTH_EDGE, Count, Posterior, other_curves, outcomes

REMEDIES = {
    "ok": "",
    "below range": "Trials at smaller d (a smaller min_dim) find where success begins.",
    "above range": "Give a weaker goal or a better training.",
    "never reaches": "See why trials fail at large d, or ask for a larger delta.",
    "not monotone": "Give a max_dim below the fall, or a training that large d does not upset, "
    "such as a smaller learning rate.",
    "edge of the model": "Read success off a grid of dims: the rise is too slow for one threshold.",
    "not converged": "Give more trials (a larger max_trials).",
}
"""Every status, with one sentence of remedy."""

_SETTLED = ("ok", "below range", "above range", "never reaches", "not monotone")
LEAST_CONFIDENCE = 0.9
"""An interval asked for with less confidence is this one's: how the middle of the posterior is
shaped depends on the curves assumed, and intervals of 50 and 80 % of it held d* less often."""

_SUSPECT = 0.5  # posterior mass of falling curves that has to be looked into
_HINT = 0.05  # posterior mass of a drop that is looked into before a threshold is believed
_BROAD = 0.1  # posterior mass of transitions at the family's edge that is too much
_ALPHA = 0.05  # of the test that success rises with d
_FREAK = 0.01  # no rate is taken to be nearer to 0 or 1, to say what a trial may tell
_NEAR_TOP = 0.004  # a success probability this near to the highest is as good, to confirm d* at
_TOLD_WIDTH = 1.5  # in log d: a rise that takes longer is told, as it takes many trials
_FULL_RISE = 0.95  # share of a plateau's rise that is over where its level is read
_FLAT = 2.0  # times the d from which success is flat: a plateau lasts as long
_DOUBT = 0.5  # log evidence against 1 − δ above d* from which on it is sought at max_dim


@dataclass(frozen=True)
class Verdict:
    """An estimate of d* and what it rests on.

    Args:
        estimate: value, interval, confidence, trials and status, a key of `REMEDIES`.
        seen: what was seen, in one sentence; empty where the status is "ok".
        level: where the status is "never reaches", the success probability that is reached, with
            its Clopper–Pearson interval.
        confirm: the dim at which trials are still needed, although the interval is narrow enough
            or lies outside the range; None where it is the posterior that needs them.
        shown: whether the trials above the median of d* agree with 1 − δ.
    """

    estimate: Estimate
    seen: str = ""
    level: Estimate | None = None
    confirm: int | None = None
    shown: bool = False

    @property
    def settled(self) -> bool:
        """Whether more trials are not asked for."""
        return self.estimate.status in _SETTLED

    @property
    def remedy(self) -> str:
        """What to do about the status, in one sentence; empty where it is "ok"."""
        return REMEDIES[self.estimate.status]


def judge(
    belief: Posterior,
    counts: Sequence[Count],
    confidence: float,
    ratio: float | None = None,
    *,
    designed: bool = False,
) -> Verdict:
    """Turn a posterior and the counts that it rests on into a verdict.

    A rate lies below 1 − δ by `refutes_level`, and above by `shows_level`. Statuses, in the order
    they are looked for:

    - `"not monotone"`: success falls with d somewhere. d* is not defined; no value, no interval.
    - `"below range"`: d* ≤ min_dim, also by the trials at min_dim alone. `value` and `high` are
      min_dim, `low` is 1.
    - `"never reaches"`: success levels off below 1 − δ, at `level`. `low` is max_dim. Either the
      posterior believes in a plateau, and the likelihood ratio of the trials on it against 1 − δ is
      1 / (1 − confidence), or a narrow interval of d* is belied by the trials from its upper end
      on. Then those at max_dim, where success would be as high as anywhere, agree by themselves:
      so many that they would show 1 − δ if none failed (any number, without a `ratio`: then
      nothing was sought), fewer than 1 − δ of them met the goal.
    - `"above range"`: d* > max_dim, also by the trials at max_dim alone. `low` is max_dim.
    - `"ok"`: the posterior median and the equal-tailed interval of d*, of the ratio asked for, and
      trials above the median that agree with 1 − δ.
    - `"edge of the model"`: the same, but the rise is as slow as the widest curve of the family.
    - `"not converged"`: anything else; what is known so far, where `value` and `high` may be None.

    Between two tested dims only the assumed shape of a curve speaks. A design tests where that
    matters; where none did, the ends of the interval are moved outward to tested dims, once the
    status is found: `low` to the integer after the largest tested dim below it, `high` to the
    smallest from it on, and to the end of the range where there is none.

    Args:
        belief: the posterior of d*.
        counts: what it was made from, ascending in dim.
        confidence: of the interval, and of the evidence.
        ratio: an interval wider than this is "not converged"; None allows any.
        designed: whether a design chose the dims; where a ratio is given, it did.
    """
    counted, designed = tuple(counts), designed or ratio is not None
    return _Case(belief, counted, confidence, ratio, designed).verdict()


@dataclass(frozen=True)
class _Case:
    belief: Posterior
    counts: tuple[Count, ...]
    confidence: float
    ratio: float | None
    designed: bool

    @property
    def sure(self) -> float:
        return max(self.confidence, LEAST_CONFIDENCE)

    @functools.cached_property
    def drops(self) -> Drops:
        return drops(self.belief, self.counts)

    @functools.cached_property
    def shown(self) -> bool:
        last, ends = self.belief.span.max_dim, self._interval()[1:3]
        # Two cuts and not any: the best of many would find luck.
        return any(self._shows(*self._pooled(int(min(end, last)), last)) for end in ends)

    @property
    def wanted(self) -> float:
        return 1 - self.belief.span.delta

    def verdict(self) -> Verdict:
        drop = self.drops.log_evidence
        if fall_evidence(self.counts, self.belief.span, drop) >= -math.log(_ALPHA):
            return self._is("not monotone", None, None, None, steepest_fall(self.counts))
        if self.belief.falling > _SUSPECT:
            return self._open("Success may fall with d.", confirm=self._telling())
        if self.drops.mass > _SUSPECT:
            return self._open("Success may fall with d.", confirm=self.drops.last)
        if self.belief.below >= self.sure:
            return self._below()
        if self.belief.above >= self.sure:
            return self._above()
        return self._inside()

    def _below(self) -> Verdict:
        least = self.belief.span.min_dim
        won, n = self._pooled(least, least)
        seen = _met(won, n, f"at d = {least:,}")
        if self._shows(won, n):
            return self._is("below range", least, 1, least, f"{seen}.")
        return self._open(f"{seen}, too few to say that d* lies below.", confirm=least)

    def _above(self) -> Verdict:
        if self.belief.never > self.belief.above / 2:
            return self._levels_off() or self._fails_at_the_top()
        return self._fails_at_the_top()

    def _levels_off(self) -> Verdict | None:
        """Judge the heaviest plateau; None where none is seen or, where d* was sought, a short one.

        Where d* is max_dim, the trials just below it would else pass for a plateau.
        """
        last, (first, level) = self.belief.span.max_dim, self._plateau()
        if level is None or (self.ratio is not None and first * _FLAT > last):
            return None
        assert level.value is not None
        seen = f"at {_percent(level)} from d = {first:,} on"
        # One look's ratio: the posterior believes it too.
        won, n = round(level.value * level.samples), level.samples
        if rate_evidence(won, n, self.wanted) <= math.log(1 - self.sure):
            text = f"Success levels off {seen}, below {100 * self.wanted:g} %."
            return self._is("never reaches", None, last, None, text, level)
        return self._open(f"Success seems to level off {seen}.", confirm=last)

    def _fails_at_the_top(self) -> Verdict:
        last = self.belief.span.max_dim
        won, n = self._pooled(last, last)
        seen = _met(won, n, f"at d = {last:,}")
        if self._refutes(won, n):
            below = ", and no d below does better" if self.counts[0].dim < last else ""
            return self._is("above range", None, last, None, f"{seen}{below}.")
        return self._open(f"{seen}, too few to say that d* lies above.", confirm=last)

    def _inside(self) -> Verdict:
        span = self.belief.span
        low, value, high, open_low = self._interval()
        if open_low or math.isinf(high):
            return self._open("The interval runs out of the dims that were searched.")
        if self.ratio is not None and high > low * self.ratio and high > low + 1:
            return self._open(f"The interval is wider than the ratio {self.ratio:g}{self._pace()}.")
        if not self.shown:
            above = self._pooled(int(high), span.max_dim)
            if rate_evidence(*above, self.wanted) <= -_DOUBT:
                return self._belied(int(low), int(high))
            won, n = self._pooled(int(value), span.max_dim)
            seen = _met(won, n, f"from d = {int(value):,} on")
            text = f"{seen}, which does not show {100 * self.wanted:g} % yet."
            return self._open(text, confirm=self._surest(int(high)))
        if self.drops.mass > _HINT:
            return self._open("Success may fall with d.", confirm=self.drops.last)
        if self.belief.broad > _BROAD and high > low + 1:
            decades = math.floor(WIDTH_EDGE / math.log(10))
            text = f"The rise from 10 to 90 % seems to take more than {decades} decades of d."
            return self._is("edge of the model", int(value), *self._ends(low, high), text)
        return self._is("ok", int(value), *self._ends(low, high))

    def _belied(self, low: int, high: int) -> Verdict:
        """Judge a narrow interval above which trials fail more often than they may.

        Until they show it, all that is known of d* is `low`.
        """
        last = self.belief.span.max_dim
        if self.drops.mass > _HINT:
            return self._open("Success may fall with d.", confirm=self.drops.last)
        if high == last:
            return self._fails_at_the_top()
        (won, n), top = self._pooled(high, last), self._pooled(last, last)
        level = self._level(won, n)
        seen = f"{_percent(level)} from d = {high:,} on"
        enough = self.ratio is None or self._shows(top[1], top[1])
        if self._refutes(won, n) and enough and rate_evidence(*top, self.wanted) < 0:
            text = f"Success levels off at {seen}, below {100 * self.wanted:g} %."
            return self._is("never reaches", None, last, None, text, level)
        text = f"Success seems to level off at {seen}."
        least = self._ends(low, math.inf)[0]
        return self._is("not converged", None, least, None, text, confirm=last)

    def _pace(self) -> str:
        """Say how wide the rise is, by the median of the posterior, where it is slow."""
        share, edges = self.belief.width_weights.cumsum(), self.belief.width_edges
        half = int(np.searchsorted(share, share[-1] / 2))
        width = math.exp((edges[half] + edges[half + 1]) / 2)
        if width < _TOLD_WIDTH:
            return ""
        factor = f"{math.exp(width):.0f}"
        return f"; success seems to rise from 10 to 90 % over a factor of {factor} in d"

    def _shows(self, won: int, n: int) -> bool:
        return shows_level(won, n, self.belief.span.delta, self.sure)

    def _refutes(self, won: int, n: int) -> bool:
        return refutes_level(won, n, self.belief.span.delta, self.sure)

    def _telling(self) -> int:
        """Return the tested dim at which falling curves differ most from the best monotone one."""
        others = other_curves(self.belief.span)
        dims, wins, losses = outcomes(self.counts)
        weights = np.where(others.falling, self.belief.other_weights, 0.0)
        fall = (others.probability(np.log(dims)) * weights).sum(1) / weights.sum()
        rise = np.clip(isotonic_rates(wins, losses), _FREAK, 1 - _FREAK)
        gain = fall * np.log(fall / rise) + (1 - fall) * np.log((1 - fall) / (1 - rise))
        return int(dims[np.argmax(gain)])

    def _plateau(self) -> tuple[int, Estimate | None]:
        """Return where the heaviest plateau is reached and the success rate from there on."""
        others, last = other_curves(self.belief.span), self.belief.span.max_dim
        flat = np.flatnonzero(~others.falling)
        best = flat[np.argmax(self.belief.other_weights[flat])]
        slope, middle = others.rise[best]
        start = math.exp(middle + math.log(_FULL_RISE / (1 - _FULL_RISE)) / slope)
        first = min((count.dim for count in self.counts if count.dim >= start), default=last)
        won, n = self._pooled(first, last)
        return first, self._level(won, n) if won else None

    def _level(self, won: int, n: int) -> Estimate:
        low, high = binomial_interval(won, n, self.confidence)
        return Estimate(won / n, float(low), float(high), self.confidence, n)

    def _surest(self, high: int) -> int:
        """Return the smallest dim from the interval's end on where success is near its highest."""
        last = self.belief.span.max_dim
        dims = np.unique(np.round(np.geomspace(high, last, 30)).astype(np.int64)).clip(high, last)
        p, weights, value = self.belief.hypotheses(np.log(dims), 0.99)
        reaching = np.where(np.isfinite(value), weights, 0.0)
        chance = (p * reaching).sum(1) / reaching.sum()
        return int(dims[np.argmax(chance >= chance.max() - _NEAR_TOP)])

    def _interval(self) -> tuple[float, float, float, bool]:
        """Return low, value and high of d*, and whether d* may lie below the range.

        An end of the range that only the curves leave out is taken in: min_dim, unless trials
        below the interval fail too often for 1 − δ, and max_dim where it is within the ratio,
        unless trials up to the interval's end show 1 − δ. Otherwise "ok" would leave out a d* that
        is the end of the range in nearly every case: those are the runs that come to it.
        """
        tail, span = (1 - self.sure) / 2, self.belief.span
        (low, high), value = self.belief.interval(tail), self.belief.quantile(0.5)
        open_low = self.belief.below > tail and span.min_dim > 1
        if open_low or math.isinf(high):
            return 1.0 if open_low else low, value, high, open_low
        if low > span.min_dim > 1:
            won, n = self._pooled(span.min_dim, int(low) - 1)
            if rate_evidence(won, n, self.wanted) > math.log(tail):
                low = float(span.min_dim)
        near = self.ratio is not None and high < span.max_dim <= low * self.ratio
        if near and not self._shows(*self._pooled(int(value), int(high))):
            high = float(span.max_dim)
        return low, value, high, open_low

    def _ends(self, low: float, high: float) -> tuple[int, int | None]:
        """Return the ends that are told, moved outward to tested dims where nothing was designed.

        An infinite `low` is told as max_dim, which d* lies above, and an infinite `high` as None.
        """
        first, last = self.belief.span.min_dim, self.belief.span.max_dim
        if not self.designed:
            tested = [count.dim for count in self.counts if count.total]
            before = max((dim for dim in tested if dim < low), default=0)
            low = min(low, max(before + 1, first))
            if math.isfinite(high):
                high = max(high, min((dim for dim in tested if high <= dim <= last), default=last))
        return int(min(low, last)), None if math.isinf(high) else int(high)

    def _open(self, seen: str, confirm: int | None = None) -> Verdict:
        low, value, high, _ = self._interval()
        middle = None if math.isinf(value) else int(value)
        return self._is("not converged", middle, *self._ends(low, high), seen, confirm=confirm)

    def _is(
        self,
        status: str,
        value: int | None,
        low: int | None,
        high: int | None,
        seen: str = "",
        level: Estimate | None = None,
        confirm: int | None = None,
    ) -> Verdict:
        trials = sum(count.total for count in self.counts)
        estimate = Estimate(value, low, high, self.confidence, trials, status)
        return Verdict(estimate, seen, level, confirm, self.shown)

    def _pooled(self, first: int, last: int) -> tuple[int, int]:
        inside = [count for count in self.counts if first <= count.dim <= last]
        return sum(c.successes for c in inside), sum(c.total for c in inside)


def _met(won: int, n: int, where: str) -> str:
    return f"{won} of {n} trials {where} met the goal" if n else f"No trials were made {where}"


def _percent(rate: Estimate) -> str:
    value, low, high = (100 * (v or 0.0) for v in (rate.value, rate.low, rate.high))
    return f"{value:.0f} % [{low:.0f}, {high:.0f}]"
