"""`subspan resume`: go on with the commands on a store that were cut off."""

from __future__ import annotations

import os
import shlex
from typing import Annotated

import typer

from subspan.cli.console import complain


def command(
    store: Annotated[str, typer.Argument(help="A store of trials: a file, or a database's URL.")],
) -> None:
    """Go on with the commands on a store that were cut off, from the folder they were given in."""
    from subspan.cli.console import noted

    waiting = [(note["argv"], note["folder"]) for note in noted(store) if not note["done"]]
    if not waiting:
        print("Nothing to go on with: every command on this store came to its end.")
    go_on(waiting)


def go_on(commands: list[tuple[list[str], str]]) -> None:
    """Give commands again, each from its folder."""
    from subspan.cli.app import main

    for argv, folder in commands:
        complain(f"subspan: going on with {shlex.join(['subspan', *argv])}")
        here = os.getcwd()
        os.chdir(folder)
        try:
            main(argv, standalone=False)
        finally:
            os.chdir(here)
