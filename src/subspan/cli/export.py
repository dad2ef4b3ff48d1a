"""`subspan export`: the trials of a store as a table for other programs."""

from __future__ import annotations

from typing import Annotated

import typer

from subspan.cli.console import complain, say


def command(
    store: Annotated[str, typer.Argument(help="A store of trials: a file, or a database's URL.")],
    file: Annotated[str, typer.Argument(help="NAME.parquet, NAME.csv or NAME.jsonl.")],
) -> None:
    """Write the trials of a store as Parquet, CSV, or lines of JSON, which have the curves too.

    Results noted beside the trials, as `predict --store` does, are left out.
    """
    from subspan.trials.export import check_apart, export
    from subspan.trials.stores import notes
    from subspan.trials.stores.registry import open_store

    with open_store(store, readonly=True) as opened:
        check_apart(file, store)
        count, noted = export(opened.records(), file), notes.count(opened)
    say(f"{count} trials in {file}")
    if noted:
        results = f"{noted} noted result{'s' * (noted != 1)}"
        complain(f"subspan: {results} left out (estimates, predictions, spectra): no trials.")
