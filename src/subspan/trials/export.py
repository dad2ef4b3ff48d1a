"""`export`: records as a table for other programs: Parquet, CSV, or lines of JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from subspan.canonical import canonical_json
from subspan.errors import StoreError, unknown
from subspan.metrics import find, parse
from subspan.trials.trial import TrialRecord, record_to_json


def export(records: Iterable[TrialRecord], path: str | Path) -> int:
    """Write records to a file, by its ending: `.parquet`, `.csv` or `.jsonl`; return how many.

    Parquet and CSV have a row for each trial, with the best and the last value of each metric;
    lines of JSON have all, curves too.

    Raises:
        InputError: the ending is none of these.
        StoreError: the file cannot be written.
    """
    place = Path(path)
    if place.suffix not in FORMATS:
        raise unknown("export's ending", place.suffix, list(FORMATS))
    rows = list(records)
    try:
        FORMATS[place.suffix](rows, place)
    except OSError as error:
        raise StoreError(
            f"export: expected a file that can be written, got {place} ({error}). Name another."
        ) from error
    return len(rows)


def row(record: TrialRecord) -> dict[str, Any]:
    """Return a trial as one row of plain values."""
    trial = record.trial
    cells: dict[str, Any] = {
        "key": record.key,
        "problem": trial.problem.get("name"),
        "method": canonical_json(trial.method),
        "dim": trial.dim,
        "ambient_dim": record.ambient_dim,
        "seed": trial.seed,
        "repeat": trial.repeat,
        "spec": canonical_json(trial.spec),
        "outcome": record.outcome.value,
        "reason": record.reason,
        "steps": record.steps,
        "theta_norm": record.theta_norm,
        "wall_time": record.wall_time,
        "search_steps": record.search_steps,
        "search_bits": record.search_bits,
    }
    for name in record.metrics:
        metric, split = parse(name)
        cells[f"final {name}"] = record.final(metric, split)
        if find(metric):
            cells[f"best {name}"] = record.best(metric, split)
    return cells


def _frame(records: list[TrialRecord]) -> Any:
    import pandas as pd

    return pd.DataFrame([row(record) for record in records])


def _parquet(records: list[TrialRecord], path: Path) -> None:
    try:
        _frame(records).to_parquet(path, index=False)
    except ImportError as error:
        raise StoreError(
            "export: Parquet needs pyarrow. pip install pyarrow, or write a .csv."
        ) from error


def _csv(records: list[TrialRecord], path: Path) -> None:
    _frame(records).to_csv(path, index=False)


def _lines(records: list[TrialRecord], path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        for record in records:
            data = {"key": record.key, **record_to_json(record)}
            file.write(json.dumps(data, ensure_ascii=False, allow_nan=False) + "\n")


FORMATS: dict[str, Callable[[list[TrialRecord], Path], None]] = {
    ".parquet": _parquet,
    ".csv": _csv,
    ".jsonl": _lines,
}
