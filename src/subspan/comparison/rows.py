"""Rows of the comparison: each cell's statistics, its paired test and the verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from subspan.comparison import table as tables
from subspan.comparison.paired import FEWEST_PAIRS, PairedTest, holm, mean_interval, paired_test
from subspan.comparison.table import ComparisonRow
from subspan.metrics import find, known, parse
from subspan.training.outcome import Outcome
from subspan.trials.function import FunctionTrainable
from subspan.trials.runner import Subject
from subspan.trials.trial import TrialRecord

Records = Mapping[str, Sequence[TrialRecord]]


def first_metric(records: Records) -> str:
    """Return the metric that tables show where none is asked for, of those that the trials have.

    Accuracy before others, loss last, held-out data before the training set.
    """
    there = {name: parse(name) for own in records.values() for r in own for name in r.metrics}
    told = [(name, *pair) for name, pair in there.items() if find(pair[0])]
    ranked = sorted(
        (kind != "accuracy", kind == "loss", split == "train", name) for name, kind, split in told
    )
    return ranked[0][-1] if ranked else "train:loss"


def rows_of(
    problem: Subject, records: Records, null: str, metric: str, confidence: float
) -> list[ComparisonRow]:
    """Return one row per method and dim, by method, then dim."""
    kind, split = parse(metric)
    facts = known(kind)
    step = _resolution(problem, split) if kind == "accuracy" else 0.0
    top = facts.most - facts.least  # of a difference, and −top the least
    best = {
        label: {(r.dim, r.trial.repeat): r.best(kind, split) for r in own}
        for label, own in records.items()
    }
    cells = [
        (label, [r for r in own if r.dim == dim])
        for label, own in records.items()
        for dim in sorted({r.dim for r in own})
    ]
    tests, notes = [], []
    for label, own in cells:
        ours, theirs = best[label], {} if label == null else best[null]
        pairs = [(r.dim, r.trial.repeat) for r in own]
        differences = _finite([ours[pair] - theirs.get(pair, math.nan) for pair in pairs])
        test = paired_test(differences, confidence, step)
        note = "" if label == null else _untestable(own, test.pairs)
        tests.append(_untested(test) if note else test)
        notes.append(note)
    adjusted = holm([test.p for test in tests])
    rows = []
    for (label, own), test, p, note in zip(cells, tests, adjusted, notes, strict=True):
        values = tuple(best[label][r.dim, r.trial.repeat] for r in own)
        mean, low, high = mean_interval(_finite(values), confidence, step)
        train_steps = sum(r.steps for r in own) / len(own)
        gain = test.mean if facts.higher else -test.mean
        rows.append(
            ComparisonRow(
                label,
                own[0].dim,
                problem.ambient_dim / own[0].dim,
                len(own),
                sum(r.outcome is Outcome.DIVERGED for r in own),
                mean,
                _clip(low, facts.least, facts.most),
                _clip(high, facts.least, facts.most),
                *mean_interval(_finite([r.best_train_loss for r in own]), confidence),
                test.mean,
                _clip(test.low, -top, top),
                _clip(test.high, -top, top),
                test.p,
                p,
                _verdict(label == null, gain, p, 1 - confidence),
                own[0].search_steps,
                own[0].search_bits,
                train_steps,
                train_steps + own[0].search_steps,
                values,
                test.pairs,
                note,
            )
        )
    return rows


def _resolution(problem: Subject, split: str) -> float:
    """Return the step of accuracies on a split: one over its rows; 0 where it has none."""
    if isinstance(problem, FunctionTrainable):
        return 0.0
    batch = problem.batch(split=split)
    return 0.0 if batch is None else 1 / len(batch[1])


def _untestable(records: Sequence[TrialRecord], pairs: int) -> str:
    """Say why a cell cannot be tested against the null; nothing if it can."""
    method = records[0].trial.method
    if method["name"] == "saved" and not method["transfer"]:
        return "every repeat starts from the same weights"
    if pairs < FEWEST_PAIRS:
        return f"repeats in common with the null: {pairs}; {FEWEST_PAIRS} are needed"
    return ""


def _untested(test: PairedTest) -> PairedTest:
    return test._replace(low=math.nan, high=math.nan, p=math.nan)


def _clip(value: float, low: float, high: float) -> float:
    return value if math.isnan(value) else min(max(value, low), high)


def _finite(values: Sequence[float]) -> list[float]:
    return [v for v in values if math.isfinite(v)]


def _verdict(is_null: bool, gain: float, p: float, level: float) -> str:
    if is_null:
        return tables.NULL
    if math.isnan(p):
        return tables.UNTESTED
    if p > level + 1e-12:
        return tables.SAME
    return tables.BETTER if gain > 0 else tables.WORSE
