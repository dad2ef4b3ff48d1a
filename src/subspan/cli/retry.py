"""`subspan retry`: run the trials that failed again."""

from __future__ import annotations

from typing import Annotated

import typer

from subspan.cli.console import complain, noted, say


def command(
    context: typer.Context,
    store: Annotated[str, typer.Argument(help="A store of trials: a file, or a database's URL.")],
) -> None:
    """Run the trials of a store that failed again, by what asked for them.

    Commands and calls from Python are made again, from the folder they were begun in; what went
    well is not trained again.
    """
    from subspan.cli.resume import go_on
    from subspan.errors import invalid
    from subspan.trials import asked
    from subspan.trials.stores.registry import open_store

    before = _failed(store)
    if not before:
        say("No trial of this store failed.")
        return
    commands = [(note["argv"], note["folder"]) for note in noted(store)]
    with open_store(store, readonly=True) as opened:
        calls = asked.notes(opened)
    if not commands and not calls:
        raise invalid(
            "store",
            expected="trials of which is known what asked for them",
            got=f"{len(before)} that failed, of which it is not",
            remedy="The same call runs them again.",
        )
    go_on(context, store, commands, calls)
    left = _failed(store)
    complain(f"subspan: {len(before - left)} of {len(before)} that had failed went well")


def _failed(store: str) -> set[str]:
    from subspan.training.outcome import Outcome
    from subspan.trials.stores.registry import open_store

    with open_store(store, readonly=True) as opened:
        return {record.key for record in opened.page(outcome=Outcome.FAILED.value)}
