"""`subspan merge`: add the trials of stores to another."""

from __future__ import annotations

import contextlib
from typing import Annotated

import typer

from subspan.cli.console import say


def command(
    target: Annotated[str, typer.Argument(help="The store that gets the trials.")],
    sources: Annotated[list[str], typer.Argument(help="The stores that have them.")],
) -> None:
    """Add the trials of other stores to a store; the same trial twice is one."""
    from subspan.errors import invalid
    from subspan.trials.stores.merge import merge
    from subspan.trials.stores.place import same_file
    from subspan.trials.stores.registry import open_store

    for source in sources:
        if source == target or same_file(source, target):
            raise invalid("merge", expected="other stores than the target", got=repr(source))
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(open_store(source, readonly=True)) for source in sources]
        into = stack.enter_context(open_store(target))
        for source, store in zip(sources, opened, strict=True):
            added, known, notes = merge(into, store)
            noted = f", {notes} noted result{'s' * (notes != 1)} added" if notes else ""
            say(f"{source}: {added} added, {known} were there{noted}")
