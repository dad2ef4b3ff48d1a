"""`subspan trials`: list what a store holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from subspan.cli import options
from subspan.cli.console import print_json, print_table

if TYPE_CHECKING:
    from subspan.training.outcome import CurvePoint
    from subspan.trials.trial import TrialRecord


def command(
    store: Annotated[str, typer.Argument(help="A store of trials: a file, or a PostgreSQL URL.")],
    json: options.Json = False,
    curves: Annotated[
        bool, typer.Option("--curves", help="With --json: every evaluation of every trial.")
    ] = False,
) -> None:
    """List the trials of a store."""
    from subspan.trials.stores.registry import open_store

    with open_store(store, readonly=True) as opened:
        records = list(opened.records())
    if json:
        print_json([as_json(record, curves=curves) for record in records])
    else:
        print_table(COLUMNS, map(row, records))


COLUMNS = (
    *("key", "problem", "method", "d", "seed", "repeat", "outcome", "steps"),
    *("best train loss", "best train acc.", "best test acc.", "seconds"),
)


def row(record: TrialRecord) -> tuple[object, ...]:
    """Return a trial as a row of the table."""
    trial = record.trial
    best = (record.best_train_loss, record.best_train_accuracy, record.best_test_accuracy)
    return (
        *(record.key[:12], trial.problem["name"], trial.method["name"], trial.dim, trial.seed),
        *(trial.repeat, str(record.outcome), record.steps, *best, record.wall_time),
    )


def best_of(record: TrialRecord, name: str) -> float | None:
    """Return the best value of a metric, or None where nobody said which way it goes."""
    from subspan.metrics import find, parse

    metric, split = parse(name)
    return record.best(metric, split) if find(metric) else None


def as_point(point: CurvePoint) -> dict[str, Any]:
    """Return an evaluation as plain JSON data, by metric name and by its four usual names."""
    usual = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
    named = {name: getattr(point, name) for name in usual}
    return {"step": point.step, **named, "metrics": dict(point.metrics)}


def as_json(record: TrialRecord, *, curves: bool) -> dict[str, Any]:
    """Return a trial as plain JSON data; its key is the hash of the identity in it."""
    results = (
        *("best_train_loss", "best_train_accuracy", "best_test_loss", "best_test_accuracy"),
        *("final_train_loss", "final_train_accuracy", "final_test_loss", "final_test_accuracy"),
        *("theta_norm", "wall_time", "search_steps", "search_bits", "provenance"),
    )
    return {
        "key": record.key,
        **record.trial.to_json(),
        "ambient_dim": record.ambient_dim,
        "outcome": str(record.outcome),
        "steps": record.steps,
        **{name: getattr(record, name) for name in results},
        "best": {name: best_of(record, name) for name in record.metrics},
        "reason": record.reason,
        **({"curve": [as_point(point) for point in record.curve]} if curves else {}),
    }
