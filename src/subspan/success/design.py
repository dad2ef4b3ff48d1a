"""Which dims to try next: the ask/tell design behind `threshold`.

Each round picks the dims whose outcomes tell most about log d* per unit of cost (Lindley, 1956,
"On a measure of the information provided by an experiment"): the mutual information between an
outcome and d*, with slope, lapse and shape integrated out. The tails of d* are given more say than
they weigh, since to end they must be known to be thin. Further dims of the same round are picked
given fantasised outcomes of those before, so that a round is not n copies of one dim. The first
rounds bracket the threshold like a bisection, since that is what informs most.

Once the posterior is sure, what is left is to check it without a model: a `Verdict` names the dim
where trials must agree, just above d*, at an end of the range, or where success seems to fall, and
whole rounds go there. With δ = 0.1 and 95 % that takes 25 successes above d* if none fails (see
`shows_level`). Those met while d* is sought count too, so a success is cheap: d* is sought from
above.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from subspan.errors import check_confidence, invalid
from subspan.estimate import Estimate
from subspan.success.posterior import Count, Posterior, Range, posterior
from subspan.success.verdict import Verdict, judge

Cost = Callable[[int, bool], float]
_BRANCHES = 4  # fantasised outcome paths kept apart; up to two trials ahead they are exact
_GROUPS = 3  # groups of d* to each halving of a tail, that an outcome is to tell apart
_WANTED = 0.2  # of its cost that a success is charged, since the last check wants it anyway
_TEMPER = 0.5  # the power of its mass by which a group of d* counts less than it weighs
_MASS = 0.995  # of the curves that are looked ahead with
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
        max_trials: int = 1000,
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
        self._verdict: Verdict | None = None

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
        self._posterior = self._verdict = None

    @property
    def verdict(self) -> Verdict:
        """What the outcomes say of d*, and what would say more; see `judge`."""
        if self._verdict is None:
            self._verdict = judge(self.posterior, self.counts, self.confidence, self.ratio)
        return self._verdict

    def estimate(self) -> Estimate:
        """Return d* with its interval and status; see `judge`."""
        return self.verdict.estimate

    @property
    def done(self) -> bool:
        """Whether there is a verdict that further trials would not change, or trials are up."""
        return self.trials >= self.max_trials or self.verdict.settled

    def ask(self, n: int = 1) -> list[int]:
        """Return the next n dims to train in, in the order of their worth.

        All n are one dim where it is trials there that a verdict waits for.

        Raises:
            InputError: n is not positive.
        """
        if n < 1:
            raise invalid("n", expected="a positive integer", got=repr(n))
        if self.trials and self.verdict.confirm is not None:
            return [self.verdict.confirm] * n
        dims = self._candidates()
        chances, weights, values = self.posterior.hypotheses(np.log(dims), _MASS)
        starts = _groups(values, weights)
        weights = _tempered(weights, starts)
        tilt = self._tilt(chances, np.where(np.isfinite(values), weights, 0.0))
        price = np.array([[self.cost(int(d), won) for won in (False, True)] for d in dims])
        if not (self.trials and self.verdict.shown):
            price[:, 1] *= _WANTED
        paths = weights[None, :]  # one row per fantasised path, summing to the path's chance
        asked: list[int] = []
        for step in range(n):
            information, success = _information(chances, paths, starts)
            worth = information * tilt / (price[:, 0] * (1 - success) + price[:, 1] * success)
            best = int(np.argmax(np.round(worth / worth.max(), 6))) if worth.max() > 0 else 0
            asked.append(int(dims[best]))
            if step + 1 < n:
                paths = _extend(paths, chances[best], step)
        return asked

    def _tilt(self, chances: np.ndarray, reaching: np.ndarray) -> np.ndarray:
        """Return 1 … 2 by how much a trial at each candidate also tells that 1 − δ is reached.

        Of two dims that tell as much of d*, the one above it also serves the last check, which
        wants trials there.
        """
        p = (chances * reaching.astype(np.float32)).sum(1, dtype=float) / max(reaching.sum(), 1e-12)
        p, level = np.clip(p, 1e-9, 1 - 1e-9), 1 - self.span.delta
        gain = p * np.log(p / level) + (1 - p) * np.log((1 - p) / (1 - level))
        return 1 - np.where(p > level, gain, 0.0) / math.log(level)

    def _candidates(self) -> np.ndarray:
        """Return dims on a lattice in log d: wide-meshed over the range, finer near d*."""
        low, high = math.log(self.span.min_dim), math.log(self.span.max_dim)
        near = [
            math.log(min(max(self.posterior.quantile(q), 1), self.span.max_dim))
            for q in (0.005, 0.995)
        ]
        fine = math.log(self.ratio) / 8
        mesh = max(fine, (near[1] - near[0] + 1.4) / 40)
        mesh = fine * 2 ** math.ceil(math.log2(mesh / fine))  # so that meshes nest
        first = max(0, math.floor((near[0] - 0.7 - low) / mesh))
        last = min(math.ceil((high - low) / mesh), math.ceil((near[1] + 0.7 - low) / mesh))
        logs = np.concatenate([np.linspace(low, high, 17), low + mesh * np.arange(first, last + 1)])
        dims = np.round(np.exp(np.minimum(logs, high))).astype(np.int64)
        return np.unique(np.clip(dims, self.span.min_dim, self.span.max_dim))


def _entropy(p: np.ndarray) -> np.ndarray:
    p = np.clip(p, 1e-12, 1 - 1e-12)
    return -(p * np.log(p) + (1 - p) * np.log1p(-p))


def _groups(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Group curves, ascending in d*, into groups that halve the tails; return where each starts."""
    middle = np.cumsum(weights) - weights / 2
    tail = np.clip(np.minimum(middle, 1 - middle), 1e-12, 0.5)
    rank = np.sign(middle - 0.5) * np.floor(-_GROUPS * np.log2(tail))
    fresh = np.concatenate([[True], values[1:] != values[:-1]])  # equal d* stay together
    rank = rank[np.flatnonzero(fresh)][np.cumsum(fresh) - 1]
    return np.flatnonzero(np.concatenate([[True], rank[1:] != rank[:-1]]))


def _tempered(weights: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Give unlikely groups of d* more say: to end, the tails must be known to be thin."""
    mass = np.add.reduceat(weights, starts)
    size = np.diff(np.append(starts, len(weights)))
    flat = weights * np.repeat((mass / mass.max()) ** -_TEMPER, size)
    return flat / flat.sum()


def _information(
    chances: np.ndarray, paths: np.ndarray, starts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return I(outcome; d*) and P(success) per candidate, averaged over the paths.

    No matrix product: threads of a linear algebra library that wait for each other would cost more
    than these few numbers.
    """
    information = np.zeros(len(chances))
    success = np.zeros(len(chances))
    for path in paths:
        chance = path.sum()
        if chance < 1e-9:
            continue
        share = (path / chance).astype(np.float32)
        mass = np.add.reduceat(share, starts).astype(float)
        won = np.add.reduceat(chances * share, starts, axis=1).astype(float)
        p = won.sum(1)
        given = np.divide(won, mass, out=np.zeros_like(won), where=mass > 1e-12)
        information += chance * (_entropy(p) - (_entropy(given) * mass).sum(1))
        success += chance * p
    return np.maximum(information, 0), success


def _extend(paths: np.ndarray, p: np.ndarray, step: int) -> np.ndarray:
    """Split each path by the outcome of a trial; beyond the limit, take one outcome per path."""
    if 2 * len(paths) <= _BRANCHES:
        return np.concatenate([paths * p, paths * (1 - p)])
    chance = paths.sum(1)
    success = (paths * p).sum(1) / np.maximum(chance, 1e-300)
    draw = np.mod(_GOLDEN * (1 + step) + np.arange(len(paths)) / len(paths), 1.0)
    taken = np.where((draw < success)[:, None], paths * p, paths * (1 - p))
    total = np.maximum(taken.sum(1), 1e-300)
    return taken * (chance / total)[:, None]
