"""`subspan compact`: give back the room that a store does not need."""

from __future__ import annotations

from typing import Annotated

import typer

from subspan.cli.console import say


def command(
    store: Annotated[str, typer.Argument(help="A store of trials: a file, or a database's URL.")],
) -> None:
    """Give back the room that a store does not need."""
    from subspan.trials.stores.sql import Store

    with Store(store) as opened:
        opened.compact()
        say(f"{len(opened)} trials in {store}")
