"""`subspan trials`: list what a store holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from subspan.cli import options
from subspan.cli.console import print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from subspan.training.outcome import CurvePoint
    from subspan.trials.trial import TrialRecord

_OTHERS = 3  # columns of metrics beside the usual ones


def command(
    store: Annotated[str, typer.Argument(help="A store of trials: a file, or a PostgreSQL URL.")],
    json: options.Json = False,
    curves: Annotated[
        bool, typer.Option("--curves", help="With --json: every evaluation of every trial.")
    ] = False,
    failed: Annotated[
        bool, typer.Option("--failed", help="Those alone that failed, with the reason.")
    ] = False,
    problem: Annotated[str | None, typer.Option(help="Those of a problem's name alone.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many.")] = None,
    offset: Annotated[int, typer.Option(min=0, help="Leave out so many first.")] = 0,
) -> None:
    """List the trials of a store."""
    from subspan.metrics import find, parse
    from subspan.training.outcome import Outcome
    from subspan.trials.stores.registry import open_store

    wanted = Outcome.FAILED.value if failed else None
    with open_store(store, readonly=True) as opened:
        found = opened.page(problem, outcome=wanted, limit=limit, offset=offset)
        records = list(found)
    if json:
        print_json([as_json(record, curves=curves) for record in records])
    elif failed:
        columns = (*COLUMNS[:7], "seconds", "reason")
        print_table(columns, [(*row(r)[:7], r.wall_time, r.reason) for r in records])
    else:
        others = other_metrics(records)
        heads = [f"{'best' if find(parse(name)[0]) else 'last'} {name}" for name in others]
        table = [
            (*row(r)[:-1], *(r.best_or_last(name) for name in others), row(r)[-1]) for r in records
        ]
        print_table((*COLUMNS[:-1], *heads, COLUMNS[-1]), table)


COLUMNS = (
    *("key", "problem", "method", "d", "lr", "seed", "repeat", "outcome", "steps"),
    *("best train loss", "best train acc.", "best test acc.", "seconds"),
)


def row(record: TrialRecord) -> tuple[object, ...]:
    """Return a trial as a row of the table."""
    trial = record.trial
    names = trial.problem.get("name", "?"), trial.method.get("name", "?")
    best = (record.best_train_loss, record.best_train_accuracy, record.best_test_accuracy)
    return (
        *(record.key[:12], *names, trial.dim, learning_rate(record)),
        *(trial.seed, trial.repeat, str(record.outcome), record.steps, *best, record.wall_time),
    )


def learning_rate(record: TrialRecord) -> str | None:
    """Return a trial's learning rate, marked where others' was chosen by it; None: it has none."""
    from subspan.optimizers import OPTIMIZERS

    spec = record.trial.spec
    lr, facts = spec.get("lr"), OPTIMIZERS.get(spec.get("optimizer", ""))
    if lr is None or (facts is not None and not facts.has_lr):  # of one unknown here: as it is kept
        return None
    return f"{lr:.3g} (pilot)" if record.is_pilot else f"{lr:.3g}"


def other_metrics(records: Sequence[TrialRecord]) -> list[str]:
    """Return the first metrics of trials that the usual columns do not show."""
    usual = {f"{split}:{metric}" for split in ("train", "test") for metric in ("loss", "accuracy")}
    return list(dict.fromkeys(n for r in records for n in r.metrics if n not in usual))[:_OTHERS]


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
        "pilot": record.is_pilot,
        "outcome": str(record.outcome),
        "steps": record.steps,
        **{name: getattr(record, name) for name in results},
        "best": {name: best_of(record, name) for name in record.metrics},
        "reason": record.reason,
        **({"curve": [as_point(point) for point in record.curve]} if curves else {}),
    }
