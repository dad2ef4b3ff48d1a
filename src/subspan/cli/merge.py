"""`subspan merge`: add the trials of stores to another."""

from __future__ import annotations

from typing import Annotated

import typer

from subspan.cli.console import say


def command(
    target: Annotated[str, typer.Argument(help="The store that gets the trials.")],
    sources: Annotated[list[str], typer.Argument(help="The stores that have them.")],
) -> None:
    """Add the trials of other stores to a store; the same trial twice is one."""
    from subspan.trials.stores.merge import merge
    from subspan.trials.stores.registry import open_store

    with open_store(target) as into:
        for source in sources:
            with open_store(source, readonly=True) as opened:
                added, known, notes = merge(into, opened)
            noted = f", {notes} noted result{'s' * (notes != 1)} added" if notes else ""
            say(f"{source}: {added} added, {known} were there{noted}")
