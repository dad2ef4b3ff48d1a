"""The laws of a design that chooses dims by ask and tell, as checks with stated error rates."""

from __future__ import annotations

import collections
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.stats import binom

from subspan.estimate import Estimate
from subspan.streams import uniforms
from subspan.testing.laws import law as hold
from subspan.testing.success_laws import Law

_SLACK = 0.02  # an interval of 95 % may hold d* in 93 %
_RAREST = 1e-3  # a count less likely than this under the law breaks it


class Design(Protocol):
    """What chooses dims; `ThresholdDesign` is one."""

    def ask(self, n: int = 1) -> list[int]:
        """Return the next n dims to train in."""

    def tell(self, dim: int, success: bool) -> None:
        """Record an outcome."""

    @property
    def done(self) -> bool:
        """Whether no further trials are wanted."""

    def estimate(self) -> Estimate:
        """Return d* with its interval and status."""


MakeDesign = Callable[..., Design]
"""Called as `ThresholdDesign` is: the largest dim, and `Law.options` by name."""


@dataclass(frozen=True)
class LawTally:
    """What a design said of one law over many repeats.

    Args:
        law: the law.
        statuses: how often each status was given.
        missed: times that the status was "ok" and the interval did not hold d*.
        wrong: those, and other verdicts that are false: d* in the range said to be out of it, or a
            fall seen where there is none.
        below: times that a value was given and lay below d*.
        trials: of each repeat.
    """

    law: Law
    statuses: dict[str, int]
    missed: int
    wrong: int
    below: int
    trials: tuple[int, ...]

    @property
    def repeats(self) -> int:
        """How often the design was run."""
        return len(self.trials)

    @property
    def ok(self) -> int:
        """Times that the status was "ok"."""
        return self.statuses.get("ok", 0)

    @property
    def median_trials(self) -> float:
        """Median number of trials."""
        return float(statistics.median(self.trials))


def run_law(make: MakeDesign, law: Law, repeats: int, seed: int = 0) -> LawTally:
    """Run a design on a law from start to end, again and again with fresh outcomes.

    Raises:
        AssertionError: a dim out of range was asked for, or not as many as were wanted, or the
            design went on beyond its trials.
    """
    statuses: collections.Counter[str] = collections.Counter()
    missed = wrong = below = 0
    trials = []
    for repeat in range(repeats):
        found, told = _run(make, law, uniforms(seed, law.name, repeat, count=law.max_trials))
        statuses[found.status] += 1
        trials.append(told)
        missed += found.status == "ok" and not holds(found, law)
        wrong += is_wrong(found, law)
        truth = law.threshold
        below += truth is not None and found.value is not None and found.value < truth
    return LawTally(law, dict(statuses), missed, wrong, below, tuple(trials))


def _run(make: MakeDesign, law: Law, luck: np.ndarray) -> tuple[Estimate, int]:
    design, told = make(law.max_dim, **law.options), 0
    while not design.done:
        hold(told < law.max_trials, f"at most {law.max_trials} trials are asked for ({law.name})")
        n = min(law.width, law.max_trials - told)
        dims = design.ask(n)
        hold(len(dims) == n, f"as many dims as asked for ({law.name})")
        hold(min(dims) >= law.min_dim and max(dims) <= law.max_dim, "dims lie in the range")
        chance = law.probability(np.array(dims))
        for dim, p in zip(dims, chance, strict=True):
            design.tell(dim, bool(luck[told] < p))
            told += 1
    return design.estimate(), told


def holds(found: Estimate, law: Law) -> bool:
    """Whether the interval holds d*; one without an upper end holds a d* that is not there."""
    truth = law.threshold
    if truth is None:
        return found.high is None
    if found.low is None:
        return False
    return found.low <= truth and (found.high is None or max(truth, law.min_dim) <= found.high)


def is_wrong(found: Estimate, law: Law) -> bool:
    """Whether a verdict is false."""
    truth = law.threshold
    if found.status == "below range":
        return truth is None or truth > law.min_dim
    if found.status in ("above range", "never reaches"):
        return truth is not None
    if found.status == "not monotone":
        return law.monotone
    return found.status in ("ok", "edge of the model") and not holds(found, law)


def check_design(
    make: MakeDesign, laws: Iterable[Law], repeats: int, seed: int = 0
) -> list[LawTally]:
    """Raise `AssertionError` unless a design keeps what it says, on each law and on all together.

    Of intervals whose status is "ok", and of all verdicts, no more may be false than `confidence`
    allows (for intervals 2 % more); where a law has no d*, of all runs no more may say "ok". What
    is counted is held against the binomial law: a count that a design at the limit would reach or
    pass with a chance of less than 0.001 breaks it. So ten repeats find gross errors; a hundred
    find 18 % where 5 % are allowed, four times in five.

    Args:
        make: makes the design, as `ThresholdDesign` is made.
        laws: see `subspan.testing.success_laws.LAWS`.
        repeats: of each law.
        seed: of the outcomes.

    Returns:
        What was counted, law by law.
    """
    tallies = [run_law(make, law, repeats, seed) for law in laws]
    for tally in tallies:
        law, allowed = tally.law, 1 - tally.law.confidence
        if law.threshold is None:  # every "ok" is false: it is their share of all runs that counts
            _within(tally.missed, tally.repeats, allowed, f'{law.name}: "ok" where there is no d*')
        else:
            _within(tally.missed, tally.ok, allowed + _SLACK, f'{law.name}: "ok" without d*')
        _within(tally.wrong, tally.repeats, allowed + _SLACK, f"{law.name}: false verdicts")
    usual = [t for t in tallies if t.law.confidence == 0.95 and t.law.threshold is not None]
    missed, ok = sum(t.missed for t in usual), sum(t.ok for t in usual)
    _within(missed, ok, 0.05 + _SLACK, 'all laws of 95 %: "ok" without d*')
    _check_replay(make, tallies[0].law)
    return tallies


def _within(count: int, total: int, rate: float, what: str) -> None:
    chance = float(binom.sf(count - 1, total, min(rate, 1.0))) if count else 1.0
    hold(chance >= _RAREST, f"{what}: {count} of {total}, where {rate:.0%} are allowed")


def _check_replay(make: MakeDesign, law: Law) -> None:
    """What is asked depends on what was told, not on its order."""
    one, two = make(law.max_dim, **law.options), make(law.max_dim, **law.options)
    tells = [(dim, i % 3 > 0) for i, dim in enumerate([law.max_dim, law.min_dim, law.max_dim])]
    for dim, success in tells:
        one.tell(dim, success)
    for dim, success in reversed(tells):
        two.tell(dim, success)
    hold(one.ask(4) == two.ask(4) == one.ask(4), "the same tells give the same asks, in any order")
    hold(one.estimate() == two.estimate(), "the same tells give the same estimate")


def law_table(tallies: Iterable[LawTally]) -> str:
    """Write tallies as a Markdown table, "ok" apart from the rest."""
    lines = [
        "| law | repeats | ok | d* held, of ok | false verdicts | value below d* | trials | rest |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for t in tallies:
        rest = ", ".join(
            f"{n} {status}" for status, n in sorted(t.statuses.items()) if status != "ok"
        )
        held = f"{t.ok - t.missed} of {t.ok}" if t.ok else "–"
        lines.append(
            f"| {t.law.name} | {t.repeats} | {t.ok} | {held} | {t.wrong} | {t.below} "
            f"| {t.median_trials:g} | {rest or '–'} |"
        )
    return "\n".join(lines)
