"""`JointDesign`: which d and learning rate to try next, until d* at the best lr is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from scipy.stats import binom

from subspan.errors import check_confidence, invalid
from subspan.estimate import Estimate
from subspan.intervals import binomial_interval
from subspan.success.evidence import near_level
from subspan.success.falls import Place, best_below, first_fall, unseen_below
from subspan.success.graded import FAR, Censoring, Observation, Scale
from subspan.success.joint_estimate import JointEstimate
from subspan.success.lookahead import next_trials
from subspan.success.posterior import Count, Range, posterior
from subspan.success.surface_model import SurfacePosterior, sample
from subspan.trials.lr_scale import LrScale

TrialOutcome = Literal["finished", "stopped", "diverged"]
ENOUGH = 1.0  # on the scale of the surface
_FLAT = math.log(1.1)  # "as good as the best": d* at most a tenth higher
_FLAT_CELLS = 60  # learning rates looked at on either side, to a factor of e³
_DOUBT = 0.01  # counts less likely than this contradict the surface
_FEWEST = 8  # trials before any verdict
_AT_END = math.log(1.1)  # so near an end of the range in log d, a trial tells of it
_AT_LEAST, _MOST_AT_END = 3, 12  # trials at an end before d* is said to lie beyond it
_SPREAD = (0.5, 0.35, 0.65)  # quantiles of the best lr that they are trained at
_POPULATIONS = 3


class Ask(NamedTuple):
    """A trial to run."""

    dim: int
    lr: float


class JointDesign:
    """Ask which (d, lr) to train at, tell how good training got, until d* is known well enough.

    Law: what is asked and estimated depends on what was told and on nothing else, not its order.

    Args:
        scale: of the goal's metric.
        lr: where the learning rate is searched.
        max_dim: largest dim to try.
        min_dim: smallest dim to try.
        delta: d* is where the success probability at the best lr reaches 1 − δ.
        confidence: of the interval.
        ratio: done when high/low is at most this, or the ends are neighbouring integers.
        max_trials: done, and "not converged", after so many.

    Raises:
        InputError: an argument is out of range.
    """

    def __init__(
        self,
        scale: Scale,
        lr: LrScale,
        max_dim: int,
        *,
        min_dim: int = 1,
        delta: float = 0.1,
        confidence: float = 0.95,
        ratio: float = 1.5,
        max_trials: int = 100,
    ) -> None:
        if not ratio > 1:
            raise invalid("ratio", expected="a number above 1", got=repr(ratio))
        if max_trials < 1:
            raise invalid("max_trials", expected="a positive integer", got=repr(max_trials))
        check_confidence(confidence)
        self.scale, self.lr = scale, lr
        self.span = Range(min_dim, max_dim, delta)
        self.confidence, self.ratio, self.max_trials = confidence, ratio, max_trials
        self._told: list[Observation] = []
        self._cost = 0.0
        self._posterior: SurfacePosterior | None = None

    @property
    def trials(self) -> int:
        """Number of trials told."""
        return len(self._told)

    @property
    def told(self) -> tuple[Observation, ...]:
        """What has been told."""
        return tuple(self._told)

    @property
    def enough(self) -> float:
        """The metric's value at which a trial may be stopped: how far beyond tells little more."""
        return self.scale.value_at(ENOUGH)

    @property
    def posterior(self) -> SurfacePosterior:
        """The posterior given all that has been told."""
        if self._posterior is None:
            known = self._told, self.span, self.lr.ridge, self.scale
            self._posterior = sample(*known)
            tail = (1 - self.confidence) / 2
            low, high = (self._posterior.quantile(q) for q in (tail, 1 - tail))
            # Near a verdict, look again: an interval must not be narrow by the luck of a sample.
            if len(self._told) >= _FEWEST and high <= max(low * self.ratio**1.25, low + 2):
                self._posterior = sample(*known, populations=_POPULATIONS, begun=self._posterior)
        return self._posterior

    def tell(
        self,
        dim: int,
        lr: float,
        value: float | None,
        outcome: TrialOutcome = "finished",
        share: float = 1.0,
        error: float = 0.0,
    ) -> None:
        """Record how good a trial got.

        Args:
            dim: where it was trained.
            lr: its learning rate.
            value: its best metric; None or NaN where it has none.
            outcome: `"stopped"` says that it was cut short at `value` and would have gone on.
            share: of a full training, what it cost.
            error: standard error of `value`, where it is the mean of several evaluations.

        Raises:
            InputError: dim or lr are out of range.
        """
        if not self.span.min_dim <= dim <= self.span.max_dim:
            expected = f"{self.span.min_dim}..{self.span.max_dim}"
            raise invalid("dim", expected=expected, got=repr(dim))
        if not 0 < lr < math.inf:
            raise invalid("lr", expected="a positive number", got=repr(lr))
        z = math.nan if value is None else self.scale.distance(value)
        place = math.log(dim), math.log(lr / self.lr.unit(dim))
        if math.isnan(z):
            self._told.append(Observation(*place, -FAR, "at most"))
        else:
            bound: Censoring = "at least" if outcome == "stopped" else "none"
            self._told.append(Observation(*place, z, bound, error))
        self._cost += share
        self._posterior = None

    def estimate(self) -> JointEstimate:
        """Return d* with interval, status, cost and the learning rate that serves the goal best.

        The plain success counts of the trials near the best learning rate must agree: where their
        own interval lies beside the surface's, the two are joined and the status is
        `"not converged"`; where they succeed above d* and fail farther above, `"not monotone"`.
        """
        belief, span = self.posterior, self.span
        tail = (1 - self.confidence) / 2
        low, value, high = (belief.quantile(q) for q in (tail, 0.5, 1 - tail))
        status = "ok"
        counted = posterior(self.near_counts(), span)
        plain = [counted.quantile(q) for q in (_DOUBT / 2, 1 - _DOUBT / 2)]
        unsure, level = self._lost()
        if first_fall(self.near_counts(), value, span.delta) is not None:
            status = "not monotone"
        elif level is not None:
            low, value, high, status = span.max_dim, math.inf, math.inf, "never reaches"
        elif plain[1] < low or plain[0] > high:
            low, high, status = min(low, plain[0]), max(high, plain[1]), "not converged"
        elif belief.below >= self.confidence:
            low, value, high = 1, span.min_dim, span.min_dim
            status = "below range" if self._shown(span.min_dim) else "not converged"
        elif belief.above >= self.confidence:
            low, value, high = span.max_dim, math.inf, math.inf
            status = "above range" if self._shown(span.max_dim) else "not converged"
            if self._better_below() is not None:
                status = "not monotone"
        elif belief.below > tail and span.min_dim > 1:
            low, status = 1, "not converged"
        bottom = math.ceil(min(low, span.max_dim) - 1e-9)
        middle, top = (None if math.isinf(x) else math.ceil(x - 1e-9) for x in (value, high))
        if status == "ok":
            wide = top is None or (top > bottom * self.ratio and top > bottom + 1)
            status = "not converged" if wide or unsure else "ok"
        best, least, most = self._best_lr(span.max_dim if middle is None else middle)
        return JointEstimate(
            value=middle,
            low=bottom,
            high=top,
            confidence=self.confidence,
            status=status,
            trials=self.trials,
            trainings=self._cost,
            lr=best,
            lr_low=least,
            lr_high=most,
            lr_at_edge=self._lr_at_edge(),
            level=level if status == "never reaches" else None,
        )

    def lost(self) -> tuple[int, int]:
        """Return how many trials are lost whatever d is, and of how many that could have told.

        A lost trial got far below what the surface has there, at no lr that is too large.
        """
        return self.posterior.lapses(self._told)

    def _lost(self) -> tuple[bool, Estimate | None]:
        """Whether too many trials may be lost at any d for 1 − δ; and what is reached, if so.

        One lost asks for as many as show a share below 1.2 δ, 38 at δ = 0.1 and 95 %: its share is
        not known better. None lost is taken for a share below δ, which 24 trials could show at
        least, more than d* takes.
        """
        lost, of = self.lost()
        if not lost:
            return False, None
        if binom.sf(lost - 1, of, self.span.delta) < _DOUBT:
            low, high = binomial_interval(of - lost, of, self.confidence)
            share = (of - lost) / of
            return True, Estimate(share, float(low), float(high), self.confidence, of)
        most = 1 - near_level(self.span.delta)
        return bool(binom.cdf(lost, of, most) > 1 - self.confidence), None

    def near_counts(self) -> list[Count]:
        """Return successes and trials per dim at learning rates that cost next to nothing."""
        if not self._told:
            return []
        table: dict[int, list[int]] = {}
        places = np.array([row[:2] for row in self._told])
        surfaces = self.posterior.surfaces
        v = surfaces.coordinates(places[:, 0], places[:, 1])[1]
        best = surfaces.off_ridge(self.posterior.best_v[:, None])
        lost = np.median((best - surfaces.off_ridge(v)) / surfaces.slope, axis=0)
        for row, cost in zip(self._told, lost, strict=True):
            if cost <= _FLAT:
                cell = table.setdefault(round(math.exp(row.log_dim)), [0, 0])
                cell[0] += row.met
                cell[1] += 1
        return [Count(dim, *table[dim]) for dim in sorted(table)]

    def seen_fall(self) -> str:
        """Say, where trials succeed and fail farther up, what was seen; else nothing."""
        found = first_fall(self.near_counts(), self.posterior.quantile(0.5), self.span.delta)
        if found is not None:
            below, above = (
                f"{sum(c.successes for c in part)} of {sum(c.total for c in part)}"
                for part in found
            )
            first, last = found[0][0].dim, found[0][-1].dim
            dims = f"at d = {last:,}" if first == last else f"from d = {first:,} to {last:,}"
            return (
                f"Near the best learning rate {below} trials {dims} met "
                f"the goal, but {above} from {found[1][0].dim:,} on."
            )
        place = self._better_below()
        if place is None:
            return ""
        lr = math.exp(place.log_lr) * self.lr.unit(place.dim)
        won, of = self.at_end(self.span.max_dim)
        return (
            f"At d = {place.dim:,} and lr = {lr:.2g} {place.successes} of {place.total} trials met "
            f"the goal, but {won} of {of} near d = {self.span.max_dim:,} at the rates that seem "
            "best there."
        )

    def at_end(self, dim: int) -> tuple[int, int]:
        """Return successes and trials near an end of the range and near the best lr there."""
        near = [c for c in self.near_counts() if abs(math.log(c.dim / dim)) <= _AT_END]
        return sum(c.successes for c in near), sum(c.total for c in near)

    def _shown(self, dim: int) -> bool:
        """Whether trials at an end show that d* lies beyond it; and of max_dim those below, too."""
        won, total = self.at_end(dim)
        if total < _AT_LEAST:
            return False
        if dim == self.span.max_dim:
            fails = binom.sf(total - won - 1, total, self.span.delta) <= 1 - self.confidence
            return bool(fails and not self._below(1))
        return won >= (1 - self.span.delta) * total

    def _to_confirm(self) -> int | None:
        """Return the end of the range that d* seems to lie beyond and trials do not show yet."""
        span, belief = self.span, self.posterior
        beyond = (
            span.min_dim
            if belief.below >= self.confidence
            else span.max_dim
            if belief.above >= self.confidence
            else None
        )
        if beyond is None or self._shown(beyond):
            return None
        below = beyond == span.max_dim and self._below(1)
        return beyond if below or self.at_end(beyond)[1] < _MOST_AT_END else None

    def _lr_at_edge(self) -> Literal["low", "high"] | None:
        """Which end of the learning rates searched the best lies at, if d* is to gain beyond it."""
        belief = self.posterior
        gain = -belief.surfaces.off_ridge(belief.best_v[:, None]) / belief.surfaces.slope
        if np.median(gain) <= _FLAT:
            return None
        t = np.minimum(belief.log_threshold, math.log(self.span.max_dim))
        s = belief.surfaces
        at = (s.ridge + s.drift * np.clip(t[:, None] - s.crossing, -4, 4))[:, 0] + belief.best_v
        near = 0.5 * math.log(2)
        if np.mean(at > math.log(self.lr.high) - near) > 0.5:
            return "high"
        return "low" if np.mean(at < math.log(self.lr.low) + near) > 0.5 else None

    @property
    def done(self) -> bool:
        """Whether d* is known to the ratio, lies outside the range, or trials are up."""
        if self.trials < _FEWEST:
            return self.trials >= self.max_trials
        return self.trials >= self.max_trials or self.estimate().status != "not converged"

    def ask(self, n: int = 1, beside: Sequence[Ask] = ()) -> list[Ask]:
        """Return the next n trials to run, in the order of their worth.

        Args:
            n: how many.
            beside: trials under way, whose outcomes are not known yet.

        Raises:
            InputError: n is not positive.
        """
        if n < 1:
            raise invalid("n", expected="a positive integer", got=repr(n))
        end = self._to_confirm() if self.trials else None
        places = [(ask.dim, math.log(ask.lr / self.lr.unit(ask.dim))) for ask in beside]
        if end is not None:
            below = self._below(n, places) if end == self.span.max_dim else []
            at_end = sum(ask.dim == end for ask in beside)
            return self._asked(below) + self._asks_at(end, n - len(below), at_end)
        return self._asked(next_trials(self.posterior, places, n))

    def _asked(self, places: Sequence[tuple[int, float]]) -> list[Ask]:
        return [Ask(dim, _rounded(math.exp(u) * self.lr.unit(dim))) for dim, u in places]

    def _below(self, n: int, beside: Sequence[tuple[int, float]] = ()) -> list[tuple[int, float]]:
        """Return up to n trials to look at below max_dim before d* is said to lie above it."""
        seen = [(row.log_dim, row.log_lr) for row in self._told]
        seen += [(math.log(dim), log_lr) for dim, log_lr in beside]
        unseen = unseen_below(seen, self.span, self.lr)
        best = best_below(self._told, self.span)
        if unseen or best is None or not best.worth_another(self.span.delta):
            return unseen[:n]
        return [] if self._better_below() else [(best.dim, best.log_lr)] * n

    def _better_below(self) -> Place | None:
        """Return a place where the goal is met more often than near max_dim, if there is one."""
        best = best_below(self._told, self.span)
        return best if best is not None and best.beats(*self.at_end(self.span.max_dim)) else None

    def _asks_at(self, dim: int, n: int, under_way: int) -> list[Ask]:
        """Return n trials at a dim, at learning rates that may be the best there."""
        done = under_way + sum(round(math.exp(row.log_dim)) == dim for row in self._told)
        thought = np.clip(
            self.posterior.best_log_lr(math.log(dim)), math.log(self.lr.low), math.log(self.lr.high)
        )
        places = [_SPREAD[(done + i) % len(_SPREAD)] for i in range(n)]
        unit = self.lr.unit(dim)
        return [Ask(dim, _rounded(math.exp(np.quantile(thought, q)) * unit)) for q in places]

    def _best_lr(self, dim: int) -> tuple[float, float, float]:
        """Return the best lr at a dim, and the ends of those with which d* is a tenth up at most.

        That is what half of the surfaces say: each is asked whether with one lr success is as sure
        a tenth beyond its own d* as it is there with its own best.
        """
        belief, s = self.posterior, self.posterior.surfaces
        centre = float(np.median(belief.best_log_lr(math.log(dim))))
        logs = centre + math.log(self.lr.unit(dim)) + np.linspace(-3, 3, 2 * _FLAT_CELLS + 1)
        reached = np.isfinite(belief.log_threshold)
        own = np.where(reached, belief.log_threshold, math.log(dim))[:, None]
        up = own + _FLAT
        t, v = s.coordinates(up, logs - self._log_unit(up))
        enough = s.success(own - s.crossing, belief.best_v[:, None])
        serves = (s.success(t, v) >= enough).mean(0) >= 0.5
        serves[_FLAT_CELLS] = True  # the best itself
        fails = np.concatenate([[-1], np.flatnonzero(~serves), [len(logs)]])
        after = np.searchsorted(fails, _FLAT_CELLS)
        ends = logs[fails[after - 1] + 1], logs[_FLAT_CELLS], logs[fails[after] - 1]
        unit = self.lr.unit(dim)
        low, best, high = (
            min(max(math.exp(end), self.lr.low * unit), self.lr.high * unit) for end in ends
        )
        return best, low, high

    def _log_unit(self, log_dim: np.ndarray) -> np.ndarray:
        """Return the log of the lr that is 1 on the scale: a constant, or a power of d."""
        first, last = (math.log(self.lr.unit(d)) for d in (1, self.span.max_dim))
        return first + (last - first) * log_dim / max(math.log(self.span.max_dim), 1e-9)


def _rounded(lr: float) -> float:
    """Three significant digits: enough for a learning rate, and the same on every machine."""
    return float(f"{lr:.3g}")
