"""`subspan verify`: whether every record of a store is what was stored."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    store: Annotated[str, typer.Argument(help="A store of trials: a file, or a database's URL.")],
) -> None:
    """Read every record and noted result of a store; say which are not what was stored."""
    from subspan.errors import StoreError
    from subspan.trials.stores import notes
    from subspan.trials.stores.sql import Store

    with Store(store, readonly=True) as opened:
        bad = [*opened.damaged(), *notes.damaged(opened)]
        count = len(opened)
    for key, why in bad:
        print(f"{key}: {why}")
    if bad:
        raise StoreError(f"store: {len(bad)} of {count} records and notes of {store} are damaged.")
    print(f"{count} records, all as they were stored")
