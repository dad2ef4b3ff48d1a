"""The trials that a page shows one by one: its table and its learning curves, thinned."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from subspan.report.stored import StoredExperiment
from subspan.trials.trial import TrialRecord

ROWS = 10_000  # trials in the table
CURVES = 400
POINTS = 60  # of a learning curve


def trials_of(stored: Sequence[StoredExperiment]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the table, by column, and the learning curves, of trials spread over all dims."""
    total = sum(len(one.records) for one in stored)
    shown = [(i, r) for i, one in enumerate(stored) for r in one.records]
    if total > ROWS:
        cells: dict[tuple[int, int], list[TrialRecord]] = {}
        for i, r in shown:
            cells.setdefault((i, r.dim), []).append(r)
        share = ROWS / total
        shown = [
            (i, r)
            for (i, _), own in cells.items()
            for r in some(own, max(1, math.floor(share * len(own))))
        ][:ROWS]
    with_curve = {id(r) for _, r in some([(i, r) for i, r in shown if len(r.curve) > 1], CURVES)}
    names = list(dict.fromkeys(name for _, r in shown for name in r.metrics))[:6]
    curves: list[dict[str, Any]] = []
    columns: dict[str, list[Any]] = {
        k: [] for k in ("e", "d", "seed", "repeat", "outcome", "steps", "key", "curve")
    }
    best: dict[str, list[float | None]] = {name: [] for name in names}
    for i, r in shown:
        columns["e"].append(i)
        columns["d"].append(r.dim)
        columns["seed"].append(r.trial.seed)
        columns["repeat"].append(r.trial.repeat)
        columns["outcome"].append(r.outcome.value)
        columns["steps"].append(r.steps)
        columns["key"].append(r.key[:12])
        columns["curve"].append(len(curves) if id(r) in with_curve else -1)
        for name in names:
            best[name].append(short([r.best_or_last(name)])[0])
        if id(r) in with_curve:
            curves.append(_curve(i, r, names))
    named = [
        {
            "problem": one.problem,
            "method": one.method,
            "training": one.training,
            "id": one.id,
        }
        for one in stored
    ]
    table = {"experiments": named, "best": best, "shown": len(shown), "all": total, **columns}
    return table, curves


def _curve(i: int, record: TrialRecord, names: Sequence[str]) -> dict[str, Any]:
    points = some(record.curve, POINTS)
    return {
        "e": i,
        "d": record.dim,
        "repeat": record.trial.repeat,
        "seed": record.trial.seed,
        "key": record.key[:12],
        "step": [p.step for p in points],
        "values": {
            name: short([p.metrics.get(name, math.nan) for p in points])
            for name in names
            if name in record.metrics
        },
    }


def some(values: Sequence[Any], most: int) -> list[Any]:
    """Return at most so many, evenly spaced, the first and the last among them."""
    if len(values) <= most:
        return list(values)
    return [values[int(i)] for i in np.linspace(0, len(values) - 1, most).round()]


def short(values: Iterable[Any]) -> list[float | None]:
    """Return numbers to four digits; what is not finite as null."""
    return [float(f"{v:.4g}") if math.isfinite(v) else None for v in map(float, values)]
