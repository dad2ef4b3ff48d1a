"""Rows of the comparison: each cell's statistics, its paired test and the verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from subspan.comparison import table as tables
from subspan.comparison.paired import (
    FEWEST_PAIRS,
    PairedTest,
    bounded,
    can_tell,
    holm,
    mean_interval,
    paired_test,
    repeats_needed,
)
from subspan.comparison.table import ComparisonRow
from subspan.errors import invalid
from subspan.metrics import find, known, parse
from subspan.problems import structure
from subspan.subspaces.registry import starts_alike
from subspan.training.outcome import Outcome
from subspan.trials.columns import Curves
from subspan.trials.function import FunctionTrainable
from subspan.trials.runner import Subject
from subspan.trials.trial import TrialRecord

SAME_WEIGHTS = "every repeat starts from the same weights"

Records = Mapping[str, Sequence[TrialRecord]]
_Of = tuple[str, int, int]  # a method's label, d and repeat


def first_metric(records: Records) -> str:
    """Return the metric that tables show where none is asked for, of those that the trials have.

    Accuracy before others, loss last, held-out data before the training set.
    """
    there = {name: parse(name) for own in records.values() for name in Curves(own).reported()}
    told = [(name, *pair) for name, pair in there.items() if find(pair[0])]
    ranked = sorted(
        (kind != "accuracy", kind == "loss", split == "train", name) for name, kind, split in told
    )
    return ranked[0][-1] if ranked else "train:loss"


def rows_of(
    problem: Subject,
    records: Records,
    null: str,
    metric: str,
    confidence: float,
    resolution: float | None = None,
) -> list[ComparisonRow]:
    """Return one row per method and dim, by method, then dim.

    `resolution` is the step of accuracies, where the problem itself is not there to tell it.
    """
    kind, split = parse(metric)
    facts = known(kind)
    step = 0.0
    if kind == "accuracy":
        step = _resolution(problem, split) if resolution is None else resolution
    top = facts.most - facts.least  # of a difference, and −top the least
    better = 1 if facts.higher else -1
    # A trial that failed says nothing of its method; one that diverged does.
    records = {
        label: [r for r in own if r.outcome is not Outcome.FAILED] for label, own in records.items()
    }
    cells = [
        (label, [r for r in own if r.dim == dim])
        for label, own in records.items()
        for dim in sorted({r.dim for r in own})
    ]
    reached = {
        _of(label, r): float(value)
        for label, own in records.items()
        for r, value in zip(own, Curves(own).bests(metric, higher=facts.higher), strict=True)
    }
    exists = any(map(math.isfinite, reached.values()))
    if exists:
        _refuse_silent(records, reached, metric)
    worst = math.nan if not exists else facts.least if facts.higher else facts.most
    best = {of: _or(value, worst) for of, value in reached.items()}
    tests, gains, notes = [], [], []
    for label, own in cells:
        pairs = [(best[_of(label, r)], best[_of(null, r)]) for r in own if _of(null, r) in best]
        if label == null or not exists:
            pairs = []
        # Two that failed are alike, though ∞ − ∞ is not 0.
        differences = [0.0 if ours == theirs else ours - theirs for ours, theirs in pairs]
        tests.append(paired_test(differences, confidence, step))
        gains.append(better * float(bounded(differences).sum()))
        notes.append("" if label == null else _untestable(own, len(pairs)))
    adjusted, notes = adjust(tests, notes, [label == null for label, _ in cells], confidence)
    rows = []
    for (label, own), test, gain, p, note in zip(cells, tests, gains, adjusted, notes, strict=True):
        values = tuple(best[_of(label, r)] for r in own)
        finite = _finite([reached[_of(label, r)] for r in own])
        mean, low, high = mean_interval(values, confidence, step) if exists else (math.nan,) * 3
        train_steps = sum(r.steps for r in own) / len(own)
        if note == SAME_WEIGHTS:
            test = test._replace(low=math.nan, high=math.nan, p=math.nan)
        rows.append(
            ComparisonRow(
                label,
                own[0].dim,
                problem.ambient_dim / own[0].dim if own[0].dim else math.inf,
                len(own),
                sum(r.outcome is Outcome.DIVERGED for r in own),
                mean,
                _clip(low, facts.least, facts.most),
                _clip(high, facts.least, facts.most),
                *_losses(own, confidence),
                test.mean,
                _clip(test.low, -top, top),
                _clip(test.high, -top, top),
                test.p,
                p,
                verdict_of(label == null, gain, p, 1 - confidence),
                own[0].search_steps,
                own[0].search_bits,
                train_steps,
                train_steps + own[0].search_steps,
                values,
                test.pairs,
                note,
                len(own) - len(finite) if exists else 0,
                math.fsum(finite) / len(finite) if finite else math.nan,
            )
        )
    return rows


def _refuse_silent(records: Records, reached: Mapping[_Of, float], metric: str) -> None:
    """A metric that a method's trials never report is no failure of the method."""
    for label, own in records.items():
        if all(math.isnan(reached[_of(label, record)]) for record in own):
            seen = sorted(Curves(own).reported())
            if not seen or all(record.outcome is Outcome.DIVERGED for record in own):
                continue
            raise invalid(
                "metric",
                expected="one that all report",
                got=f"{metric}, which {label} does not",
                remedy=f"It reports {', '.join(seen)}.",
            )


def _losses(records: Sequence[TrialRecord], confidence: float) -> tuple[float, float, float]:
    """Return the mean of the best training losses and its interval; NaN where none has one."""
    found = Curves(records).bests("train:loss", higher=False).tolist()
    if all(math.isnan(loss) for loss in found) and not all(
        r.outcome is Outcome.DIVERGED for r in records
    ):
        return (math.nan,) * 3
    return mean_interval([_or(loss, math.inf) for loss in found], confidence)


def _or(value: float, worst: float) -> float:
    return value if math.isfinite(value) else worst


def _of(label: str, record: TrialRecord) -> _Of:
    return label, record.dim, record.trial.repeat


def adjust(
    tests: Sequence[PairedTest], notes: Sequence[str], nulls: Sequence[bool], confidence: float
) -> tuple[list[float], list[str]]:
    """Return Holm's p-values over the cells that can be told from the null, and why others not."""
    asked = [i for i, note in enumerate(notes) if not (note or nulls[i])]
    told = can_tell([tests[i].pairs for i in asked], confidence)
    family = {i for i, enough in zip(asked, told, strict=True) if enough}
    needed = repeats_needed(max(1, len(asked)), confidence)
    cells = tables.cells_in_words(len(asked))
    reason = f"{{}} paired repeats; {needed} are needed for verdicts on {cells}"
    said = [
        reason.format(tests[i].pairs) if i in asked and i not in family else note
        for i, note in enumerate(notes)
    ]
    return holm([t.p if i in family else math.nan for i, t in enumerate(tests)]), said


def _resolution(problem: Subject, split: str) -> float:
    """Return the step of accuracies on a split: one over its labels; 0 where it has none."""
    if isinstance(problem, FunctionTrainable):
        return 0.0
    batch = problem.batch(split=split)
    if batch is None:
        return 0.0
    labels = structure.leaves(batch[1])[0]
    counted = int((labels >= 0).sum()) if labels.ndim > 1 else len(labels)
    return 1 / max(1, counted)


def _untestable(records: Sequence[TrialRecord], pairs: int) -> str:
    """Say why a cell cannot be tested against the null at any size of family; nothing if it can."""
    if starts_alike(records[0].trial.method):
        return SAME_WEIGHTS
    if pairs < FEWEST_PAIRS:
        return f"repeats in common with the null: {pairs}; {FEWEST_PAIRS} are needed"
    return ""


def _clip(value: float, low: float, high: float) -> float:
    return value if math.isnan(value) else min(max(value, low), high)


def _finite(values: Sequence[float]) -> list[float]:
    return [v for v in values if math.isfinite(v)]


def verdict_of(is_null: bool, gain: float, p: float, level: float) -> str:
    """Return the verdict of a cell from how far it is ahead and its adjusted p-value."""
    if is_null:
        return tables.NULL
    if math.isnan(p):
        return tables.UNTESTED
    if p > level + 1e-12:
        return tables.SAME
    return tables.BETTER if gain > 0 else tables.WORSE
