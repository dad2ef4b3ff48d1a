"""`subspan verify`: whether every record of a store is what was stored."""

from __future__ import annotations

from typing import Annotated

import typer

from subspan.cli.console import say


def command(
    store: Annotated[str, typer.Argument(help="A store of trials: a file, or a database's URL.")],
) -> None:
    """Read every record and noted result of a store; say which are not what was stored."""
    from subspan.errors import StoreError
    from subspan.trials.stores import notes
    from subspan.trials.stores.sql import Store

    with Store(store, readonly=True) as opened:
        bad = [*opened.damaged(), *notes.damaged(opened)]
        records, noted = len(opened), notes.count(opened)
    for key, why in bad:
        say(f"{key}: {why}")
    if bad:
        raise StoreError(
            f"store: {len(bad)} of {records + noted} records and notes of {store} are damaged. "
            "Restore it, or run again into another file."
        )
    also = f" and {noted} noted result{'s' * (noted != 1)}" if noted else ""
    say(f"{records} records{also}, all as they were stored")
