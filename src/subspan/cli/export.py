"""`subspan export`: the trials of a store as a table for other programs."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    store: Annotated[str, typer.Argument(help="A store of trials: a file, or a database's URL.")],
    file: Annotated[str, typer.Argument(help="NAME.parquet, NAME.csv or NAME.jsonl.")],
) -> None:
    """Write the trials of a store as Parquet, CSV, or lines of JSON, which have the curves too."""
    from subspan.trials.export import export
    from subspan.trials.stores.registry import open_store

    with open_store(store, readonly=True) as opened:
        count = export(opened.records(), file)
    print(f"{count} trials in {file}")
