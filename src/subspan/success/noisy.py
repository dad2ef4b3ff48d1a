"""`noisy_threshold`: d* where a trial's metric is known with noise alone, such as a reward.

Whether a trial meets the goal is then itself uncertain: the truth is its mean over all evaluations,
what is seen the mean of n.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from subspan.errors import invalid, whole
from subspan.estimate import Estimate
from subspan.goals import Goal, parse_goal
from subspan.streams import stream
from subspan.success.estimate import ThresholdEstimate, estimate_from_counts
from subspan.success.posterior import Count, Range
from subspan.success.records import experiment
from subspan.trials.evaluations import COUNT, ERROR
from subspan.trials.trial import TrialRecord

MORE_EVALUATIONS = "Their noise is in the interval: report more evaluations each."


def last_mean(record: TrialRecord, goal: Goal) -> tuple[float, float]:
    """Return the mean of a trial's last evaluations, and its standard error."""
    mean, error = (record.final(f"{goal.metric}{part}", goal.split) for part in ("", ERROR))
    return mean, error


def chance_met(record: TrialRecord, goal: Goal | str) -> float:
    """Return how likely the mean of a trial's last evaluations meets a goal, were they without end.

    By Student's t about the mean that was seen, under a flat prior; 0 where nothing was reported.
    Only the last report counts: the best of several is better than it is by luck.

    Raises:
        InputError: the trial reports the metric without its error.
    """
    wanted = parse_goal(goal)
    mean, error, count = (
        record.final(f"{wanted.metric}{part}", wanted.split) for part in ("", ERROR, COUNT)
    )
    if math.isnan(mean):
        return 0.0
    if math.isnan(error) or math.isnan(count):
        raise invalid(
            "trials",
            expected=f"records with several evaluations of {wanted.split}:{wanted.metric}",
            got="one number",
            remedy="Report a list of two or more evaluations.",
        )
    if error == 0:
        return float(wanted.met_by(mean))
    beyond = (mean - wanted.level) / error
    return float(stats.t.cdf(beyond if wanted.higher else -beyond, count - 1))


def noisy_threshold(
    trials: Sequence[TrialRecord],
    goal: Goal | str,
    *,
    delta: float = 0.1,
    confidence: float = 0.95,
    draws: int = 20,
    seed: int = 0,
    designed: bool = False,
) -> Estimate:
    """Estimate d* with the noise of each trial's evaluation in the interval.

    In each of several draws every trial meets the goal or not with its own `chance_met`, and d* is
    fitted to what was drawn (multiple imputation, Rubin 1987). The interval holds that of every
    draw, which is wider than a mixture of them; where evaluations leave no doubt it is
    `fit_threshold`'s.

    Args:
        trials: records of one function, whose last report has a list of evaluations. Those at d = 0
            are left out.
        goal: on the mean.
        delta: the threshold is where P_s = 1 − δ.
        confidence: of the interval.
        draws: how many.
        seed: of the draws.
        designed: whether a design chose the dims, as of `fit_threshold`.

    Returns:
        The median over draws, with the ends; the status is `"ok"`, or the worst among the draws,
        as of `ThresholdEstimate`.

    Raises:
        InputError: no trials above d = 0, or one that reports a single evaluation.
    """
    wanted, draws = parse_goal(goal), whole("draws", draws, low=1)
    told = [record for record in trials if record.dim]
    if not told:
        raise invalid("trials", expected="some with a dim above 0", got="none")
    dims = [record.dim for record in told]
    span = Range(min(dims), max(dims), delta)
    ambient_dim = experiment(told).ambient_dim
    return _imputed(told, wanted, span, ambient_dim, confidence, draws, seed, designed=designed)


def is_noisy(trials: Sequence[TrialRecord], goal: Goal | str) -> bool:
    """Whether trials report the goal's metric as several evaluations."""
    wanted = parse_goal(goal)
    errors = (record.final(f"{wanted.metric}{ERROR}", wanted.split) for record in trials)
    return any(not math.isnan(error) for error in errors)


def with_noise(
    found: ThresholdEstimate, ratio: float | None = None, *, draws: int = 20, seed: int = 0
) -> ThresholdEstimate:
    """Return an estimate by counts with the noise of its trials' evaluations in the interval.

    Args:
        found: by a design, with its records; one whose trials report single numbers, or where
            θ = 0 meets the goal, is returned as it is.
        ratio: an interval wider than this is `"not converged"`.
        draws: as of `noisy_threshold`.
        seed: of the draws.
    """
    told = [record for record in found.records if record.dim]
    if found.estimate.value == 0 or not is_noisy(told, found.goal):
        return found
    confidence = found.estimate.confidence
    estimate = _imputed(
        told, found.goal, found.span, found.ambient_dim, confidence, draws, seed, designed=True
    )
    low, high = estimate.low, estimate.high
    wide = ratio is not None and low is not None and high is not None and high > ratio * low
    if estimate.ok and wide:
        estimate = dataclasses.replace(estimate, status="not converged")
    advice = "" if estimate.ok else MORE_EVALUATIONS
    return dataclasses.replace(found, estimate=estimate, advice=advice or found.advice)


def _imputed(
    told: Sequence[TrialRecord],
    goal: Goal,
    span: Range,
    ambient_dim: int,
    confidence: float,
    draws: int,
    seed: int,
    *,
    designed: bool,
) -> Estimate:
    chances = np.array([chance_met(record, goal) for record in told])
    dims = np.array([record.dim for record in told])

    @functools.cache
    def fitted(hits: tuple[int, ...]) -> Estimate:
        counts = [
            Count(int(dim), won, int((dims == dim).sum()))
            for dim, won in zip(np.unique(dims), hits, strict=True)
        ]
        return estimate_from_counts(
            counts,
            goal,
            span,
            ambient_dim=ambient_dim,
            confidence=confidence,
            designed=designed,
        ).estimate

    found = []
    for index in range(draws):
        met = stream(seed, "noisy threshold", index).random(len(told)) < chances
        found.append(fitted(tuple(int(met[dims == dim].sum()) for dim in np.unique(dims))))
    values = [e.value for e in found if e.value is not None]
    lows, highs = [e.low for e in found], [e.high for e in found]
    return Estimate(
        int(np.median(values)) if len(values) == draws else None,
        None if None in lows else min(low for low in lows if low is not None),
        None if None in highs else max(high for high in highs if high is not None),
        confidence,
        len(told),
        next((e.status for e in found if not e.ok), "ok"),
    )
