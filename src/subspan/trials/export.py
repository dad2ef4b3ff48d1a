"""`export`: records as a table for other programs: Parquet, CSV, or lines of JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from subspan.canonical import canonical_json
from subspan.errors import StoreError, invalid
from subspan.metrics import find, parse
from subspan.printable import shown
from subspan.trials.stores.place import same_file
from subspan.trials.trial import TrialRecord, record_to_json

COLUMNS = (  # before those of the metrics
    *("key", "problem", "method", "dim", "ambient_dim", "seed", "repeat", "spec"),
    *("outcome", "reason", "steps", "theta_norm", "wall_time", "search_steps", "search_bits"),
)


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
        raise invalid(
            "export's ending",
            expected=f"one of {', '.join(FORMATS)}",
            got=shown(str(path)),
            remedy="trials.csv is one.",
        )
    rows = list(records)
    try:
        FORMATS[place.suffix](rows, place)
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(
            f"export: expected a file that can be written, got {place} ({error}). Name another."
        ) from error
    return len(rows)


def check_apart(path: str | Path, store: str | Path) -> None:
    """Refuse to write over the store that is read.

    Raises:
        StoreError: they are one file.
    """
    if same_file(path, store):
        raise StoreError(f"export: expected another file than the store, got {path}.")


def row(record: TrialRecord) -> dict[str, Any]:
    """Return a trial as one row of plain values."""
    trial = record.trial
    values = (
        *(record.key, trial.problem.get("name"), canonical_json(trial.method), trial.dim),
        *(record.ambient_dim, trial.seed, trial.repeat, canonical_json(trial.spec)),
        *(record.outcome.value, record.reason, record.steps, record.theta_norm),
        *(record.wall_time, record.search_steps, record.search_bits),
    )
    cells: dict[str, Any] = dict(zip(COLUMNS, values, strict=True))
    for name in record.metrics:
        metric, split = parse(name)
        cells[f"final {name}"] = record.final(metric, split)
        if find(metric):
            cells[f"best {name}"] = record.best(metric, split)
    return cells


def _frame(records: list[TrialRecord]) -> Any:
    import pandas as pd

    rows = [row(record) for record in records]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=list(COLUMNS))


def _parquet(records: list[TrialRecord], path: Path) -> None:
    try:
        _frame(records).to_parquet(path, index=False)
    except ImportError as error:
        raise StoreError(
            "export: Parquet needs pyarrow. pip install pyarrow, or write a .csv."
        ) from error
    except (OverflowError, TypeError, ValueError) as error:  # numbers that it has no room for
        raise StoreError(
            f"export: expected trials that fit into columns of Parquet, got others ({error}). "
            "Write a .csv or .jsonl."
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
