"""`subspan resume`: go on with the commands on a store that were cut off."""

from __future__ import annotations

import os
import shlex
from typing import Annotated

import typer

from subspan.cli.console import command_line, complain, unfinished


def command(
    context: typer.Context,
    store: Annotated[str, typer.Argument(help="A store of trials: a file, or a database's URL.")],
) -> None:
    """Go on with the commands on a store that were cut off, from the folder they were given in."""
    program = context.find_root().command
    waiting = unfinished(store)
    if not waiting:
        print("Nothing to go on with: every command on this store came to its end.")
    for argv, folder in waiting:
        complain(f"subspan: going on with {shlex.join(['subspan', *argv])}")
        here = os.getcwd()
        os.chdir(folder)
        try:
            command_line.set(argv)
            code = program(args=argv, prog_name="subspan", standalone_mode=False)
        finally:
            os.chdir(here)
        if code:
            raise typer.Exit(code)
