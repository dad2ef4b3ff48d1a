"""`ThresholdEstimate`: the threshold training dimension d* with what it was estimated from.

Length: the estimate says itself in words, JSON and HTML, beside the two ways to make one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from subspan import notebook
from subspan.errors import check_confidence, invalid
from subspan.estimate import Estimate, counted
from subspan.goals import Goal, parse_goal
from subspan.intervals import binomial_interval
from subspan.success.posterior import Count, Range, posterior
from subspan.success.records import Experiment, experiment, refuse_missing_metric, tally
from subspan.success.response import LearningRate, Response
from subspan.success.surface import refuse_undetermined
from subspan.success.verdict import LEAST_CONFIDENCE, REMEDIES, judge
from subspan.trials.endings import Endings
from subspan.trials.trial import TrialRecord


@dataclass(frozen=True)
class ThresholdEstimate:
    """The threshold training dimension: the smallest d with P_s(d) ≥ 1 − δ.

    `value`, `low` and `high` are dims, by status:

    - `"ok"`: the posterior median of d* and its equal-tailed interval; where no design chose the
      dims, as on a grid, with its ends moved outward to tested dims.
    - `"below range"`: d* ≤ min_dim. `value` and `high` are min_dim, `low` is 1. Where the offset
      alone (θ = 0) meets the goal, `value` and `low` are 0, and so is `high` once it is certain.
    - `"above range"`: d* > max_dim. `value` and `high` are None, `low` is max_dim.
    - `"never reaches"`: success levels off below 1 − δ, at `level`; otherwise as above the range.
    - `"not monotone"`: success falls with d somewhere. There is no value and no interval.
    - `"edge of the model"`: the rise is as slow as the widest curve that is reckoned with.
    - `"not converged"`: what is known so far; `high` (and `value`) may be None.
    - `"the budget decides"`: right for these steps, but with twice as many d* lies elsewhere; only
      where that was asked for.

    `judge` says when each is given. P_s is assumed to rise with d, which "not monotone" tests.

    Args:
        estimate: value, interval, confidence, number of trials and status.
        goal: what counted as success.
        span: the dims between which d* was sought, and δ.
        counts: successes and trials per dim, ascending; the estimate is a function of these.
        ambient_dim: D.
        experiment: problem, method and training spec of the trials, where known.
        records: the trials.
        seen: what was seen, in one sentence; empty where the status is "ok".
        level: where the status is "never reaches", the success probability that is reached.
        design: `"joint"`: d* at the best learning rate (or at one, from how good trials got), or
            `"binary"`: from which of them met the goal.
        trainings: what the trials cost, searches included, in full trainings, where known.
        learning_rate: the best (or the one given), where known.
        response: of a joint design, the surface over d and lr that the estimate is read off.
        advice: what to do, where it is not what the status says by itself.
        note: why the design is not the usual one; else empty.
        doubled: the same with twice the steps, where that was asked for.
        most_ratio: the ratio of the interval that was asked for, if any.
    """

    estimate: Estimate
    goal: Goal
    span: Range
    counts: tuple[Count, ...]
    ambient_dim: int
    experiment: Experiment | None = None
    records: tuple[TrialRecord, ...] = field(default=(), repr=False)
    seen: str = ""
    level: Estimate | None = None
    design: Literal["joint", "binary"] = "binary"
    trainings: float | None = None
    learning_rate: LearningRate | None = None
    response: Response | None = field(default=None, repr=False, compare=False)
    advice: str = ""
    note: str = ""
    doubled: ThresholdEstimate | None = field(default=None, repr=False)
    most_ratio: float | None = field(default=None, repr=False, compare=False)

    @property
    def value(self) -> int | None:
        """Estimated d*."""
        return _whole(self.estimate.value)

    @property
    def low(self) -> int | None:
        """Lower end of the interval."""
        return _whole(self.estimate.low)

    @property
    def high(self) -> int | None:
        """Upper end of the interval; None where unbounded."""
        return _whole(self.estimate.high)

    @property
    def status(self) -> str:
        """`"ok"`, or one of the other keys of `subspan.success.verdict.REMEDIES`."""
        return self.estimate.status

    @property
    def lr(self) -> float | None:
        """The learning rate that serves the goal best (or the one given); None where unknown."""
        return None if self.learning_rate is None else self.learning_rate.best

    @property
    def lr_low(self) -> float | None:
        """The smallest learning rate with which d* is expected at most a tenth higher."""
        return None if self.learning_rate is None else self.learning_rate.low

    @property
    def lr_high(self) -> float | None:
        """The largest learning rate with which d* is expected at most a tenth higher."""
        return None if self.learning_rate is None else self.learning_rate.high

    @property
    def lr_at_edge(self) -> str | None:
        """The end, `"low"` or `"high"`, of the range searched that the best lr lies at, if any."""
        return None if self.learning_rate is None else self.learning_rate.at_edge

    @property
    def at_best_lr(self) -> bool:
        """Whether the learning rate was chosen."""
        return self.lr_low is not None

    @property
    def as_good(self) -> str:
        """`as good from 0.1 to 0.4`; empty where lr was not chosen, or there is no d* to rise."""
        if self.lr_low is None or self.lr_high is None or self.value is None:
            return ""
        return f"as good from {self.lr_low:.2g} to {self.lr_high:.2g}"

    @property
    def remedy(self) -> str:
        """What to do about the status, in one sentence; empty where there is nothing to do."""
        if self.status == "below range" and (self.value == 0 or self.span.min_dim == 1):
            return self.advice
        said = self.advice or REMEDIES.get(self.status, "")
        if self.status == "above range" and self.span.max_dim < self.ambient_dim:
            return f"{said} A larger max_dim may reach it too."
        if said == REMEDIES["not converged"] and self._too_wide:
            return f"{said[:-1]}, or a larger ratio."
        return said

    @property
    def _too_wide(self) -> bool:
        """Whether the interval has two ends that lie farther apart than was asked for."""
        if self.most_ratio is None or self.low is None or self.high is None:
            return False
        return self.high > max(self.low * self.most_ratio, self.low + 1)

    @property
    def caution(self) -> str:
        """Where an interval by counts is asked for with less than 90 %: that it is that one's."""
        if self.design != "binary" or self.low is None or self.confidence >= LEAST_CONFIDENCE:
            return ""
        return (
            f"The interval is the one of {100 * LEAST_CONFIDENCE:g} %, the least that is made, not "
            f"of {100 * self.confidence:g} %."
        )

    @property
    def remark(self) -> str:
        """What was seen, what to do about it and what the interval is, a sentence each, or ""."""
        return " ".join(part for part in (self.seen, self.remedy, self.caution) if part)

    @property
    def endings(self) -> Endings:
        """How many of the trials failed or diverged; each counted as a miss."""
        return Endings.of(self.records, lr_searched=self.at_best_lr)

    @property
    def confidence(self) -> float:
        """Confidence of the interval."""
        return self.estimate.confidence

    @property
    def delta(self) -> float:
        """δ: the threshold is where P_s = 1 − δ."""
        return self.span.delta

    @property
    def trials(self) -> int:
        """Number of trials that the estimate rests on."""
        return self.estimate.samples

    @property
    def ratio(self) -> float | None:
        """`high / low`; None where an end is unbounded or 0."""
        return self.estimate.ratio

    @property
    def compression(self) -> float | None:
        """Compression ratio D/d*; None where d* is unknown or 0."""
        return self.ambient_dim / self.value if self.value else None

    def curve(self, dims: Sequence[int] | np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the posterior mean of P_s at dims (n,) and its credible band: three (n,).

        At the best learning rate, where it was chosen.
        """
        if self.response is not None:
            return self.response.curve(np.asarray(dims, float), self.confidence)
        return posterior(self.counts, self.span).curve(np.asarray(dims, float), self.confidence)

    def to_json(self) -> dict[str, Any]:
        """Return the estimate as plain JSON data, without the records."""
        return {
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "confidence": self.confidence,
            "status": self.status,
            "remark": self.remark,
            "note": self.note,
            "level": None if self.level is None else self.level.to_json(),
            "trials": self.trials,
            "endings": self.endings.to_json(),
            "design": self.design,
            "trainings": self.trainings,
            "lr": self.lr,
            "lr_low": self.lr_low,
            "lr_high": self.lr_high,
            "lr_at_edge": self.lr_at_edge,
            "goal": str(self.goal),
            "delta": self.delta,
            "min_dim": self.span.min_dim,
            "max_dim": self.span.max_dim,
            "ambient_dim": self.ambient_dim,
            "compression": self.compression,
            "counts": [count._asdict() for count in self.counts],
            "experiment": None if self.experiment is None else self.experiment.to_json(),
            **({} if self.doubled is None else {"doubled": self.doubled.to_json()}),
        }

    def _repr_html_(self) -> str:
        """Return what a notebook shows: d* with its interval, and what it rests on."""
        ends = {"d*": self.value, "low": self.low, "high": self.high}
        shown = {**ends, "D": self.ambient_dim, "D/d*": self.compression, "trials": self.trials}
        if self.at_best_lr:
            shown |= {"trainings": self.trainings, "best lr": self.lr}
            shown |= {"as good from": self.lr_low, "to": self.lr_high}
        return notebook.table(
            f"Threshold training dimension for {self.goal}",
            (*shown, "status"),
            [(*shown.values(), self.status)],
            f"{100 * self.confidence:g} % interval; P = {1 - self.delta:g} at d*.",
            f"{self.remark} {self._endings}".strip(),
        )

    def __str__(self) -> str:
        text = self._found()
        said = " ".join(part for part in (self.remark, self._endings, self.note) if part)
        return f"{text}. {said}" if said else text

    @property
    def _endings(self) -> str:
        """What became of trials that failed or diverged, where that may be why there is no d*."""
        return "" if self.status == "ok" else self.endings.remark

    def _found(self) -> str:
        """d* with its interval, and the learning rate and the cost where they are known."""
        known = "" if self.status == "ok" else f" ({self.status})"
        found = counted(self.value, self.low, self.high)
        cost = "" if self.trainings is None else f", {self.trainings:.1f} trainings"
        if not self.at_best_lr:
            rate = "" if self.lr is None else f" at lr = {self.lr:.3g}"
            return f"d* = {found}{known}{rate}{cost}"
        flat = f", {self.as_good}" if self.as_good else ""
        return f"d* = {found}{known} at the best learning rate{cost}; lr = {self.lr:.2g}{flat}"

    def __repr__(self) -> str:
        level, trials = f"{100 * self.confidence:g} %", f"{self.trials} trials"
        found = self._found()
        return f"<ThresholdEstimate {self.goal}: {found}, {level}, {trials}, {self.status}>"


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def estimate_from_counts(
    counts: Iterable[Count],
    goal: Goal,
    span: Range,
    *,
    ambient_dim: int,
    confidence: float = 0.95,
    ratio: float | None = None,
    designed: bool = False,
) -> ThresholdEstimate:
    """Estimate d* from success counts per dim, whatever they were counted on.

    Between two tested dims only the assumed shape of a curve speaks: unless a design chose the
    dims, the ends of the interval are moved outward to tested dims, as `judge` says.

    Args:
        counts: successes and trials per dim.
        goal: what counted as success.
        span: the dims between which d* is sought, and δ.
        ambient_dim: D.
        confidence: of the interval.
        ratio: if given, an interval wider than this is `"not converged"`.
        designed: whether a design chose the dims; where a ratio is given, it did.

    Returns:
        The estimate, without records.
    """
    table = tuple(sorted(count for count in counts if count.total))
    if not table:
        raise invalid("counts", expected="at least one trial", got="none")
    check_confidence(confidence)
    found = judge(posterior(table, span), table, confidence, ratio, designed=designed)
    return ThresholdEstimate(
        found.estimate,
        goal,
        span,
        table,
        ambient_dim,
        seen=found.seen,
        level=found.level,
        most_ratio=ratio,
    )


def fit_threshold(
    trials: Sequence[TrialRecord],
    goal: Goal | str,
    *,
    delta: float = 0.1,
    confidence: float = 0.95,
    min_dim: int | None = None,
    max_dim: int | None = None,
    ratio: float | None = None,
    designed: bool = False,
) -> ThresholdEstimate:
    """Estimate d* from any set of finished trials, such as a fixed grid of dims.

    Between two tested dims only the assumed shape of a curve speaks: unless a design chose the
    dims, the ends of the interval are moved outward to tested dims, and it is no narrower than the
    gap of the grid that d* lies in.

    Args:
        trials: records of one problem, method and training spec.
        goal: what counts as success.
        delta: the threshold is where P_s = 1 − δ.
        confidence: of the interval.
        min_dim: smallest d* that counts as in range; the smallest dim tried by default.
        max_dim: largest d* that counts as in range; the largest dim tried by default.
        ratio: if given, an interval wider than this is `"not converged"`.
        designed: whether a design chose the dims, as `threshold` does; where a ratio is given, it
            did.

    Returns:
        The estimate, with the records it rests on.

    Raises:
        InputError: no trials, a mixture of experiments, trials that stopped early at another
            goal and cannot tell, or an argument out of range.
    """
    wanted = parse_goal(goal)
    shared = experiment(trials)
    refuse_missing_metric(trials, wanted)
    rows = [row for row in tally(trials, wanted) if row.dim]  # 0 is judged by `with_records`
    if not rows:
        raise invalid("trials", expected="some with a dim above 0", got="none")
    refuse_undetermined(sum(row.undetermined for row in rows), wanted)
    low = rows[0].dim if min_dim is None else min_dim
    high = rows[-1].dim if max_dim is None else max_dim
    span = Range(low, high, delta)
    counts = [Count(row.dim, row.successes, row.successes + row.failures) for row in rows]
    fitted = estimate_from_counts(
        counts,
        wanted,
        span,
        ambient_dim=shared.ambient_dim,
        confidence=confidence,
        ratio=ratio,
        designed=designed,
    )
    return with_records(fitted, trials, shared)


def with_records(
    fitted: ThresholdEstimate, trials: Sequence[TrialRecord], shared: Experiment
) -> ThresholdEstimate:
    """Attach the records; and where the offsets alone meet the goal, say that d* is 0.

    Whether θ = 0 meets the goal does not depend on d, so all trials together tell: d* is 0 if at
    least 1 − δ of them met it before their first step, and `high` is 0 once that is certain.
    """
    estimate, goal, level = fitted.estimate, fitted.goal, 1 - fitted.delta
    untrained = [r for r in trials if r.dim == 0]
    if untrained:  # trials that are nothing but the offset
        met, of = sum(r.meets(goal) is True for r in untrained), len(untrained)
    else:
        starts = [r.curve[0] for r in trials if r.curve and r.curve[0].step == 0]
        met = sum(goal.met_by(start.value(goal.metric, goal.split)) for start in starts)
        of = len(trials)
    if of and met >= level * of:
        one_sided = max(2 * fitted.confidence - 1, 0.5)
        certain = float(binomial_interval(met, of, one_sided)[0]) >= level
        high = 0 if certain else estimate.high
        estimate = dataclasses.replace(estimate, value=0, low=0, high=high, status="below range")
        seen = f"The offset alone met the goal in {met} of {of} trials."
        fitted = dataclasses.replace(fitted, estimate=estimate, seen=seen, level=None)
    return dataclasses.replace(fitted, experiment=shared, records=tuple(trials))
