"""Comparisons that a store holds: methods trained alike, against the random subspace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from subspan.canonical import canonical_json
from subspan.comparison.rows import first_metric, rows_of
from subspan.comparison.table import ComparisonTable
from subspan.metrics import known, parse
from subspan.report.stored import StoredExperiment
from subspan.trials.columns import Curves
from subspan.trials.trial import TrialRecord


@dataclass(frozen=True)
class Recorded:
    """What a comparison needs to know of a problem that is known from its trials alone."""

    name: str
    ambient_dim: int


@dataclass(frozen=True)
class StoredComparison:
    """A table, and the seed and training spec that its trials share."""

    table: ComparisonTable
    seed: int
    training: str


def comparisons(
    stored: Sequence[StoredExperiment], *, confidence: float = 0.95
) -> list[StoredComparison]:
    """Return a table for each problem, training spec and seed with a null and another method.

    Only trials that were not to stop at a goal count: how good the others would have got is not
    known. Dims at which the null has no trials are left out.

    Args:
        stored: experiments of a store.
        confidence: of intervals and verdicts.
    """
    groups: dict[str, list[StoredExperiment]] = {}
    for one in stored:
        e = one.experiment
        groups.setdefault(canonical_json([e.problem, e.spec]), []).append(one)
    found = []
    for group in groups.values():
        nulls = [s for s in group if s.experiment.method.get("name") == "random"]
        if not nulls or len(group) < 2:
            continue
        for seed in sorted({seed for s in group for seed in s.experiment.seeds}):
            table = _table(group, nulls[0], seed, confidence)
            if table is not None:
                found.append(StoredComparison(table, seed, group[0].training))
    return found


def _table(
    group: Sequence[StoredExperiment], null: StoredExperiment, seed: int, confidence: float
) -> ComparisonTable | None:
    records: dict[str, list[TrialRecord]] = {}
    for one in group:
        own = [r for r in one.records if r.dim and _counts(r, seed)]
        if own:
            label = one.method if one.method not in records else f"{one.method} [{one.id}]"
            records[label] = own
    there = {r.dim for r in records.get(null.method, [])}
    records = {m: [r for r in own if r.dim in there] for m, own in records.items()}
    records = {m: own for m, own in records.items() if own}
    if null.method not in records or len(records) < 2:
        return None
    shared = null.experiment
    name = null.problem
    metric = first_metric(records)
    rows = rows_of(
        cast(Any, Recorded(name, shared.ambient_dim)),
        records,
        null.method,
        metric,
        confidence,
        resolution(records, metric),
    )
    return ComparisonTable(
        name,
        shared.ambient_dim,
        null.method,
        metric,
        False,
        confidence,
        tuple(rows),
        records=records,
    )


def _counts(record: TrialRecord, seed: int) -> bool:
    return record.trial.seed == seed and record.trial.spec.get("stop_at") is None


def resolution(records: dict[str, list[TrialRecord]], metric: str) -> float:
    """Return the smallest step between two values: of an accuracy, one row or a few; 0 if none."""
    higher = known(parse(metric)[0]).higher
    values = np.unique(
        np.concatenate([Curves(own).bests(metric, higher=higher) for own in records.values()])
    )
    gaps = np.diff(values[np.isfinite(values)])
    return float(gaps[gaps > 1e-9].min(initial=1.0)) if len(gaps) else 0.0
