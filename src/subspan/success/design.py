"""Which dims to try next: the ask/tell design behind `threshold`.

Each round picks the dims whose outcomes tell most about log d* per unit of cost (Lindley, 1956,
"On a measure of the information provided by an experiment"): the mutual information between an
outcome and d*, with slope, lapse and shape integrated out. Further dims of the same round are
picked given fantasised outcomes of those before, so that a round is not n copies of one dim.
The first rounds bracket the threshold like a bisection, since that is what informs most.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from subspan.errors import check_confidence, invalid
from subspan.estimate import Estimate
from subspan.success.posterior import Count, Posterior, Range, posterior

Cost = Callable[[int, bool], float]
_BRANCHES = 8  # fantasised outcome paths kept apart; up to three trials ahead they are exact
_MASS = 0.995
_GOLDEN = (math.sqrt(5) - 1) / 2


def half_if_success(dim: int, success: bool) -> float:
    """Cost of a trial in full trainings: 1, or one half if it succeeds and so stops early."""
    return 0.5 if success else 1.0


class ThresholdDesign:
    """Ask which dims to train in, tell what came of it, until d* is known well enough.

    Laws: what is asked and estimated depends on the outcomes told and on nothing else, not even
    on their order; the same tells give the same asks.

    Args:
        max_dim: largest dim to try, usually D.
        min_dim: smallest dim to try.
        delta: the threshold is where P_s = 1 − δ.
        confidence: of the interval.
        ratio: done when high/low of the interval is at most this, or when its ends are
            neighbouring integers.
        max_trials: done, and "not converged", after so many outcomes.
        cost: `cost(dim, success)`, relative cost of a trial at a dim that comes out so.

    Raises:
        InputError: an argument is out of range.
    """

    def __init__(
        self,
        max_dim: int,
        *,
        min_dim: int = 1,
        delta: float = 0.1,
        confidence: float = 0.95,
        ratio: float = 1.5,
        max_trials: int = 200,
        cost: Cost = half_if_success,
    ) -> None:
        if not ratio > 1:
            raise invalid("ratio", expected="a number above 1", got=repr(ratio))
        if max_trials < 1:
            raise invalid("max_trials", expected="a positive integer", got=repr(max_trials))
        check_confidence(confidence)
        self.span = Range(min_dim, max_dim, delta)
        self.confidence = confidence
        self.ratio = ratio
        self.max_trials = max_trials
        self.cost = cost
        self._table: dict[int, tuple[int, int]] = {}
        self._posterior: Posterior | None = None

    @property
    def counts(self) -> tuple[Count, ...]:
        """What has been told, one `Count` per dim, in order of dim."""
        return tuple(Count(dim, *self._table[dim]) for dim in sorted(self._table))

    @property
    def trials(self) -> int:
        """Number of outcomes told."""
        return sum(total for _, total in self._table.values())

    @property
    def posterior(self) -> Posterior:
        """The posterior given all that has been told."""
        if self._posterior is None:
            self._posterior = posterior(self.counts, self.span)
        return self._posterior

    def tell(self, dim: int, success: bool) -> None:
        """Record that a trial at `dim` met the goal or did not.

        Raises:
            InputError: the dim is out of range.
        """
        if not self.span.min_dim <= dim <= self.span.max_dim:
            raise invalid(
                "dim", expected=f"{self.span.min_dim}..{self.span.max_dim}", got=repr(dim)
            )
        successes, total = self._table.get(dim, (0, 0))
        self._table[dim] = (successes + bool(success), total + 1)
        self._posterior = None

    def estimate(self) -> Estimate:
        """Return d* with its interval and status; see `judge`."""
        return judge(self.posterior, self.confidence, self.trials, self.ratio)

    @property
    def done(self) -> bool:
        """Whether the threshold is known to the ratio, lies outside the range, or trials are up."""
        return self.trials >= self.max_trials or self.estimate().status != "not converged"

    def ask(self, n: int = 1) -> list[int]:
        """Return the next n dims to train in, in the order of their worth.

        Raises:
            InputError: n is not positive.
        """
        if n < 1:
            raise invalid("n", expected="a positive integer", got=repr(n))
        dims = self._candidates()
        chances, weights, values = self.posterior.hypotheses(np.log(dims), _MASS)
        chances = chances.astype(np.float64)
        starts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
        price = np.array([[self.cost(int(d), won) for won in (False, True)] for d in dims])
        paths = weights[None, :]  # one row per fantasised path, summing to the path's chance
        asked: list[int] = []
        for step in range(n):
            information, success = _information(chances, paths, starts)
            worth = information / (price[:, 0] * (1 - success) + price[:, 1] * success)
            best = int(np.argmax(np.round(worth / worth.max(), 6))) if worth.max() > 0 else 0
            asked.append(int(dims[best]))
            if step + 1 < n:
                paths = _extend(paths, chances[best], step)
        return asked

    def _candidates(self) -> np.ndarray:
        low, high = math.log(self.span.min_dim), math.log(self.span.max_dim)
        near = [
            math.log(min(max(self.posterior.quantile(q), 1), self.span.max_dim))
            for q in (0.005, 0.995)
        ]
        logs = np.concatenate(
            [
                np.linspace(low, high, 25),
                np.linspace(max(low, near[0] - 0.7), min(high, near[1] + 0.7), 40),
            ]
        )
        dims = np.unique(np.round(np.exp(logs)).astype(np.int64))
        return np.clip(dims, self.span.min_dim, self.span.max_dim)


def judge(
    belief: Posterior, confidence: float, trials: int, ratio: float | None = None
) -> Estimate:
    """Turn a posterior into an estimate: median, equal-tailed interval, and a status.

    Status is `"below range"` (d* ≤ min_dim with the stated confidence: value and high are
    min_dim, low is 1), `"above range"` (d* > max_dim, or never: value and high are None, low is
    max_dim), `"not converged"` (the interval runs out of the range, or is wider than `ratio`), or
    `"ok"`.
    """
    span = belief.span
    if belief.below >= confidence:
        return Estimate(span.min_dim, 1, span.min_dim, confidence, trials, "below range")
    if belief.above >= confidence:
        return Estimate(None, span.max_dim, None, confidence, trials, "above range")
    tail = (1 - confidence) / 2
    low, value, high = (belief.quantile(q) for q in (tail, 0.5, 1 - tail))
    open_low = belief.below > tail and span.min_dim > 1
    if open_low:
        low = 1.0
    wide = ratio is not None and high > low * ratio and high > low + 1
    settled = not (open_low or math.isinf(high) or wide)
    return Estimate(
        value=None if math.isinf(value) else int(value),
        low=span.max_dim if math.isinf(low) else int(low),
        high=None if math.isinf(high) else int(high),
        confidence=confidence,
        samples=trials,
        status="ok" if settled else "not converged",
    )


def _entropy(p: np.ndarray) -> np.ndarray:
    p = np.clip(p, 1e-12, 1 - 1e-12)
    return -(p * np.log(p) + (1 - p) * np.log1p(-p))


def _information(
    chances: np.ndarray, paths: np.ndarray, starts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return I(outcome; d*) and P(success) per candidate, averaged over the paths."""
    information = np.zeros(len(chances))
    success = np.zeros(len(chances))
    for path in paths:
        chance = path.sum()
        if chance < 1e-9:
            continue
        mass = np.add.reduceat(path, starts) / chance
        won = np.add.reduceat(chances * (path / chance), starts, axis=1)
        p = won.sum(1)
        given = np.divide(won, mass, out=np.zeros_like(won), where=mass > 1e-300)
        information += chance * (_entropy(p) - _entropy(given) @ mass)
        success += chance * p
    return np.maximum(information, 0), success


def _extend(paths: np.ndarray, p: np.ndarray, step: int) -> np.ndarray:
    """Split each path by the outcome of a trial; beyond the limit, take one outcome per path."""
    if 2 * len(paths) <= _BRANCHES:
        return np.concatenate([paths * p, paths * (1 - p)])
    chance = paths.sum(1)
    success = (paths @ p) / np.maximum(chance, 1e-300)
    draw = np.mod(_GOLDEN * (1 + step) + np.arange(len(paths)) / len(paths), 1.0)
    taken = np.where((draw < success)[:, None], paths * p, paths * (1 - p))
    total = np.maximum(taken.sum(1), 1e-300)
    return taken * (chance / total)[:, None]
