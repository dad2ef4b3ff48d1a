"""`subspan export`: the trials of a store as a table for other programs."""

from __future__ import annotations

from typing import Annotated

import typer

from subspan.cli.console import say


def command(
    store: Annotated[str, typer.Argument(help="A store of trials: a file, or a database's URL.")],
    file: Annotated[str, typer.Argument(help="NAME.parquet, NAME.csv or NAME.jsonl.")],
) -> None:
    """Write the trials of a store as Parquet, CSV, or lines of JSON, which have the curves too.

    Noted results (d* at the best learning rate, predictions, spectra) are no trials and stay.
    """
    from subspan.trials.export import check_apart, export
    from subspan.trials.stores import notes
    from subspan.trials.stores.registry import open_store

    with open_store(store, readonly=True) as opened:
        check_apart(file, store)
        count, stay = export(opened.records(), file), notes.count(opened)
    say(f"{count} trials in {file}")
    if stay:
        told = "1 noted result stays" if stay == 1 else f"{stay} noted results stay"
        say(f"{told} in the store: `subspan report` shows them, `subspan merge` carries them along")
