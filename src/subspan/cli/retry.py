"""`subspan retry`: run the trials that failed again."""

from __future__ import annotations

from typing import Annotated

import typer

from subspan.cli.console import complain


def command(
    store: Annotated[str, typer.Argument(help="A store of trials: a file, or a database's URL.")],
) -> None:
    """Run the trials of a store that failed again, by the commands that asked for them."""
    from subspan.cli.console import noted
    from subspan.cli.resume import go_on
    from subspan.errors import invalid
    from subspan.training.outcome import Outcome
    from subspan.trials.stores.sql import Store

    def failed() -> set[str]:
        with Store(store, readonly=True) as opened:
            return {r.key for r in opened.records() if r.outcome is Outcome.FAILED}

    before = failed()
    if not before:
        print("No trial of this store failed.")
        return
    asked = [(note["argv"], note["folder"]) for note in noted(store)]
    if not asked:
        raise invalid(
            "store",
            expected="trials that a command of subspan asked for",
            got=f"{len(before)} that failed, asked for from Python",
            remedy="The same call there runs them again.",
        )
    go_on(asked)
    left = failed()
    complain(f"subspan: {len(before - left)} of {len(before)} that had failed went well")
