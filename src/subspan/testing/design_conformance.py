"""The laws of a design that chooses dims by ask and tell, as checks with stated error rates."""

from __future__ import annotations

import collections
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.stats import binom

from subspan.estimate import Estimate
from subspan.streams import uniforms
from subspan.success.verdict import REMEDIES
from subspan.testing.laws import law as hold
from subspan.testing.success_laws import Law

_SLACK = 0.02  # an interval of 95 % may hold d* in 93 %
_SO_FAR = 0.05  # beyond the error, that what is known before the end may leave d* out in
_HARD = 0.1  # of the runs on an easy law that may end without "ok"
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
        lost: times that the status was "not converged" and there is a d* that what is known so far,
            `low` … `high`, leaves out.
        valued: times that a value was given.
        below: those where it lay below d*.
        trials: of each repeat.
    """

    law: Law
    statuses: dict[str, int]
    missed: int
    wrong: int
    lost: int
    valued: int
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
            design went on beyond its trials; or the estimate is not one, see `check_design`.
    """
    statuses: collections.Counter[str] = collections.Counter()
    missed = wrong = lost = valued = below = 0
    trials = []
    for repeat in range(repeats):
        found, told = _run(make, law, uniforms(seed, law.name, repeat, count=law.max_trials))
        _check_estimate(found, law)
        statuses[found.status] += 1
        trials.append(told)
        held, truth = holds(found, law), law.threshold
        missed += found.status == "ok" and not held
        wrong += is_wrong(found, law)
        lost += found.status == "not converged" and truth is not None and not held
        valued += found.value is not None
        below += truth is not None and found.value is not None and found.value < truth
    return LawTally(law, dict(statuses), missed, wrong, lost, valued, below, tuple(trials))


def _check_estimate(found: Estimate, law: Law) -> None:
    """A status is one of those that are, and "ok" has an interval of the ratio asked for."""
    hold(found.status in REMEDIES, f"a status is a key of REMEDIES, not {found.status!r}")
    if found.status != "ok":
        return
    low, value, high = found.low, found.value, found.high
    hold(
        low is not None and value is not None and high is not None and low <= value <= high,
        f'"ok" has an interval and a value in it ({law.name})',
    )
    assert low is not None
    assert high is not None
    hold(high <= max(low * law.ratio, low + 1), f'"ok" is as narrow as was asked for ({law.name})')


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

    - Every status is a key of `REMEDIES`, and the interval of "ok" has the ratio asked for.
    - Of intervals whose status is "ok", and of all verdicts, no more are false than `confidence`
      allows, and 2 % more; where a law has no d*, of all runs no more say "ok".
    - What is known so far, the interval of "not converged", leaves d* out in no more than that
      and 5 % of all runs: no error is promised for it, as it belongs to the unlucky runs, but
      whoever spends a few trials reads it. Where a law has no d* nothing is asked of it: that
      there is none takes a verdict.
    - Laws that are `easy` come out "ok" in all but a tenth of runs. So a design that says nothing
      does not pass by being right.

    What is counted is held against the binomial law: a count that a design at the limit would reach
    or pass with a chance of less than 0.001 breaks it. With 60 repeats of a law, 7 % allowed, that
    are 12: a design that is wrong in 14 % is found in 13 of 100 tries, in 18 % in 39, in 25 % in
    85, in 30 % in 97; with 10 repeats one of 30 % in 15 and of 50 % in 62. Small errors are found
    by laws together: of 360 runs 42 break it (10 % wrong: found in 17 of 100, 12 % in 60, 14 % in
    91), of 2,100 runs 185 (9 % in 63, 10 % in 97). See `tests/success/laws`.

    Args:
        make: makes the design, as `ThresholdDesign` is made.
        laws: see `subspan.testing.success_laws.LAWS`.
        repeats: of each law.
        seed: of the outcomes.

    Returns:
        What was counted, law by law.
    """
    tallies = [run_law(make, law, repeats, seed) for law in laws]
    check_tallies(tallies)
    _check_replay(make, tallies[0].law)
    return tallies


def check_tallies(tallies: Sequence[LawTally], what: str = "all laws") -> None:
    """Hold what was counted to the laws of `check_design`: each law's, and all together.

    Args:
        tallies: of one law each.
        what: they are together.
    """
    for tally in tallies:
        law, allowed = tally.law, 1 - tally.law.confidence
        if law.threshold is None:  # every "ok" is false: it is their share of all runs that counts
            _within(tally.missed, tally.repeats, allowed, f'{law.name}: "ok" where there is no d*')
        else:
            _within(tally.missed, tally.ok, allowed + _SLACK, f'{law.name}: "ok" without d*')
        _within(tally.wrong, tally.repeats, allowed + _SLACK, f"{law.name}: false verdicts")
        so_far = f'{law.name}: "not converged" without d*'
        _within(tally.lost, tally.repeats, allowed + _SO_FAR, so_far)
        if law.easy:
            _within(tally.repeats - tally.ok, tally.repeats, _HARD, f'{law.name}: not "ok"')
    usual = [t for t in tallies if t.law.confidence == 0.95]
    runs = sum(t.repeats for t in usual)
    there = [t for t in usual if t.law.threshold is not None]
    missed, ok = sum(t.missed for t in there), sum(t.ok for t in there)
    _within(missed, ok, 0.05 + _SLACK, f'{what} of 95 %: "ok" without d*')
    _within(sum(t.wrong for t in usual), runs, 0.05 + _SLACK, f"{what} of 95 %: false verdicts")
    none = [t for t in usual if t.law.threshold is None]
    ok, runs = sum(t.ok for t in none), sum(t.repeats for t in none)
    _within(ok, runs, 0.05, f'{what} of 95 %: "ok" where there is no d*')


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
