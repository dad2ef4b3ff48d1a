"""The designs' conformance suite: success laws in and out of the model, each with its error rates.

What may be wrong is held against the binomial law inside `check_design`, so that a design within
its limits fails a check with a chance below 0.001.
"""

from __future__ import annotations

import dataclasses
import math
import re

import numpy as np
import pytest

import subspan
from subspan.estimate import Estimate
from subspan.success.design import ThresholdDesign
from subspan.testing import check_design
from subspan.testing.design_conformance import LawTally, check_tallies, law_table, run_law
from subspan.testing.success_laws import LAWS, Law

BY_NAME = {law.name: law for law in LAWS}
QUICK = [
    "probit, width 0.1",
    "logit, width 0.3",
    "gumbel, width 0.3",
    "step at 60",
    "step plateau 0.5",
    "step plateau 0.8",
    "rises to .97 at 50, falls at 700",
    "rises to 1, falls to .2 at D/3",
    "falls from the first d on",
    "logit at 2",
    "min_dim far above d*",
    "one dim, P = 0",
    "one dim, P = 0.95",
    "delta 0.25",
    "confidence 0.5, width 0.3",
    "20 trials, width 1",
]


@pytest.fixture(scope="module")
def quick() -> dict[str, LawTally]:
    return {t.law.name: t for t in check_design(ThresholdDesign, [BY_NAME[n] for n in QUICK], 4)}


def test_names_are_distinct_and_laws_are_probabilities() -> None:
    assert len(BY_NAME) == len(LAWS) >= 60
    for law in LAWS:
        dims = np.unique(np.geomspace(law.min_dim, law.max_dim, 500).astype(np.int64))
        p = law.probability(dims)
        assert ((p >= 0) & (p <= 1)).all(), law.name
        assert (np.diff(p) >= -1e-12).all() == law.monotone, law.name


def test_thresholds_are_where_success_passes_one_minus_delta() -> None:
    for law in LAWS:
        truth = law.threshold
        if truth is None:
            dims = np.arange(1, min(law.max_dim, 10_000) + 1)
            assert (law.probability(dims) < 1 - law.delta).all(), law.name
        else:
            around = law.probability(np.array([max(truth - 1, 1), truth]))
            assert around[1] >= 1 - law.delta, law.name
            assert truth == 1 or around[0] < 1 - law.delta, law.name
    assert BY_NAME["probit, width 2.3"].threshold == 100


def test_laws_that_are_measured_easily_come_out_ok(quick: dict[str, LawTally]) -> None:
    for name in ("probit, width 0.1", "logit, width 0.3", "step at 60", "logit at 2"):
        assert quick[name].ok == quick[name].repeats, name


def test_what_is_not_a_threshold_is_said(quick: dict[str, LawTally]) -> None:
    assert quick["step plateau 0.5"].statuses == {"never reaches": 4}
    assert quick["step plateau 0.8"].ok == 0
    assert quick["rises to .97 at 50, falls at 700"].ok == 0
    assert quick["falls from the first d on"].statuses == {"not monotone": 4}
    assert quick["one dim, P = 0"].statuses == {"above range": 4}


def test_a_capped_run_is_not_biased_below() -> None:
    """By chance a fair value is below d* in 17 of 20 cases or more with a chance of 0.1 %."""
    tally = run_law(ThresholdDesign, BY_NAME["20 trials, width 1"], 20)
    assert tally.valued == 20
    assert tally.below < 17
    assert tally.ok == 0


class Rash(ThresholdDesign):
    """Says "ok" as soon as the posterior is narrow, as designs did that trusted it alone."""

    def estimate(self) -> Estimate:
        tail = (1 - self.confidence) / 2
        low, value, high = (self.posterior.quantile(q) for q in (tail, 0.5, 1 - tail))
        if self.trials and high <= max(self.ratio * low, low + 1):
            return Estimate(int(value), int(low), int(high), self.confidence, self.trials)
        return Estimate(None, 1, None, self.confidence, self.trials, "not converged")

    @property
    def done(self) -> bool:
        return self.trials >= self.max_trials or self.estimate().ok

    def ask(self, n: int = 1) -> list[int]:
        return [70] * n if self.trials else [59] * n


def test_the_suite_finds_a_rash_design() -> None:
    with pytest.raises(AssertionError, match=r"step plateau 0\.88"):
        check_design(Rash, [BY_NAME["step plateau 0.88"]], 24)


class Greedy(ThresholdDesign):
    """Asks for fewer dims than it is asked for."""

    def ask(self, n: int = 1) -> list[int]:
        return super().ask(n)[:-1]


class Forgetful(ThresholdDesign):
    """Never knows when to stop."""

    done = False


@pytest.mark.parametrize(("design", "law"), [(Greedy, "as many dims"), (Forgetful, "at most 10")])
def test_the_suite_finds_broken_manners(design: type, law: str) -> None:
    with pytest.raises(AssertionError, match=law):
        check_design(design, [BY_NAME["10 trials, width 0.3"]], 1)


class Mute(ThresholdDesign):
    """Says nothing of d*, at once, and so nothing false."""

    done = property(lambda self: self.trials > 0)  # type: ignore[assignment]

    def estimate(self) -> Estimate:
        return Estimate(None, 1, None, self.confidence, self.trials, "not converged")


class Evasive(Mute):
    """Gives the whole range, under a status that asks for no more."""

    def estimate(self) -> Estimate:
        last, value = self.span.max_dim, self.span.max_dim // 2
        return Estimate(value, 1, last, self.confidence, self.trials, "edge of the model")


class Generous(Evasive):
    """Calls that "ok", whatever the ratio."""

    def estimate(self) -> Estimate:
        return dataclasses.replace(super().estimate(), status="ok")


class Misspelt(Evasive):
    """Has a status of its own, which no count counts."""

    def estimate(self) -> Estimate:
        return dataclasses.replace(super().estimate(), status="OK")


class Wild(Mute):
    """Names an interval that holds nothing, but does not call it known."""

    def estimate(self) -> Estimate:
        return Estimate(1, 1, 1, self.confidence, self.trials, "not converged")


@pytest.mark.parametrize(
    ("design", "law", "broken"),
    [
        (Mute, "step at 60", 'not "ok"'),
        (Evasive, "logit, width 1", 'not "ok"'),
        (Generous, "gumbel, width 2.3", "as narrow as was asked for"),
        (Misspelt, "step plateau 0.5", "a key of REMEDIES"),
        (Wild, "gumbel, width 4.6", '"not converged" without d'),
    ],
)
def test_the_suite_finds_designs_that_say_nothing(design: type, law: str, broken: str) -> None:
    with pytest.raises(AssertionError, match=broken):
        check_design(design, [BY_NAME[law]], 4)


def test_designs_that_say_nothing_are_not_found_by_what_is_false() -> None:
    """So what finds them is needed: none of their verdicts is false."""
    for design in (Mute, Evasive):
        assert run_law(design, BY_NAME["step at 60"], 4).wrong == 0


def tally(wrong: int, name: str = "gumbel, width 1.5") -> LawTally:
    """60 runs of a law, "ok", so many without d*."""
    return LawTally(BY_NAME[name], {"ok": 60}, wrong, wrong, 0, 60, 0, (100,) * 60)


def test_laws_together_are_held_to_less_than_each() -> None:
    """One law in ten runs passes with 8 of 60 wrong (13 %), six such laws together do not."""
    check_tallies([tally(8)])
    with pytest.raises(AssertionError, match="some laws of 95 %"):
        check_tallies([tally(8)] * 6, "some laws")
    check_tallies([tally(4)] * 6)


WIDTHS = (0.1, 0.5, 1.0, 2.0, 2.3, 4.6)


def groups() -> dict[str, list[Law]]:
    """The laws by what they are an example of, the curves also by width."""
    found: dict[str, list[Law]] = {}
    for law in LAWS:
        name, width = law.group, re.search(r"width ([\d.]+)$", law.name)
        if name == "curve" and width:
            name = f"curves to width {min(w for w in WIDTHS if w >= float(width[1])):g}"
        found.setdefault(name, []).append(law)
    return found


def test_groups_are_large_enough_to_be_pooled() -> None:
    assert sum(map(len, groups().values())) == len(LAWS)
    assert min(map(len, groups().values())) >= 4


@pytest.mark.slow
def test_every_law() -> None:
    """60 runs of each: each law by itself, each group together, and all."""
    tallies: list[LawTally] = []
    broken: list[str] = []
    for name, laws in groups().items():
        own = [run_law(ThresholdDesign, law, 60) for law in laws]
        print(f"\n{name}\n\n{law_table(own)}", flush=True)
        tallies += own
        for together in (own, tallies):
            try:
                check_tallies(together, name if together is own else "all laws so far")
            except AssertionError as error:
                broken.append(str(error))
    assert not broken, "\n".join(broken)


def estimate_of(law: Law, seed: int, *misses: str) -> tuple[object, ...]:
    """Measure d* by trials that fall by a law, and miss in these ways, by turns."""

    @subspan.trainable(name="law", max_dim=law.max_dim)
    def falls(trial):  # type: ignore[no-untyped-def]
        if np.random.default_rng(trial.seed).random() < law.probability(np.array([trial.dim]))[0]:
            return {"loss": 0.0}
        way = misses[trial.seed % len(misses)]
        if way == "fails":
            trial.report(step=1, loss=1.0)  # as long a trial as the others: what it costs counts
            raise RuntimeError("by the law")
        return {"loss": {"diverges": math.nan, "misses": 1.0}[way]}

    found = subspan.threshold(
        falls, goal="loss<=0.5", seed=seed, workers=1, min_dim=law.min_dim, max_failures=10**6
    )
    ends = found.endings
    assert (ends.failed > 0, ends.diverged > 0) == ("fails" in misses, "diverges" in misses)
    return found.value, found.low, found.high, found.status, tuple(found.counts)


@pytest.mark.parametrize("name", ["step plateau 0.5", "step plateau 0.8"])
def test_a_plateau_is_what_it_is_with_failures_and_divergence_in_the_mix(name: str) -> None:
    """Designs hear of hits and misses alone; so what holds of a law holds however trials miss."""
    found = estimate_of(BY_NAME[name], 1, "misses", "fails", "diverges")
    assert found == estimate_of(BY_NAME[name], 1, "misses")
    assert found[3] != "ok"
