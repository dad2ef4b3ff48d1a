"""`subspan resume`: go on with the commands and calls on a store that were cut off."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from subspan.cli.console import command_line, complain, noted, say
from subspan.errors import StoreError

_NOT_ALL = 2


def command(
    context: typer.Context,
    store: Annotated[str, typer.Argument(help="A store of trials: a file, or a database's URL.")],
) -> None:
    """Go on with the commands, and the calls from Python, on a store that were cut off.

    From the folder they were begun in.
    """
    from subspan.trials import asked
    from subspan.trials.stores.place import check_place
    from subspan.trials.stores.registry import open_store

    if "://" not in store:
        check_place(Path(store))
        if not Path(store).exists():
            raise StoreError(
                f"store: expected a file at {store}, got none. Name the one of the trials."
            )
    waiting = [(note["argv"], note["folder"]) for note in noted(store) if not note.get("done")]
    with open_store(store, readonly=True) as opened:  # an older one is migrated by what goes on
        calls = asked.unfinished(opened)
    if not waiting and not calls:
        say("Nothing to go on with: every command and call on this store came to its end.")
    go_on(context, store, waiting, calls)


def go_on(
    context: typer.Context,
    store: str,
    commands: Sequence[tuple[list[str], str]],
    calls: Sequence[Mapping[str, Any]],
) -> None:
    """Give commands and make calls again, each from its folder."""
    program = context.find_root().command
    here, place = os.getcwd(), store if "://" in store else str(Path(store).absolute())
    lost = 0
    for argv, folder in commands:
        complain(f"subspan: going on with {shlex.join(['subspan', *argv])}")
        os.chdir(folder)
        try:
            command_line.set(argv)
            code = program(args=argv, prog_name="subspan", standalone_mode=False)
        finally:
            os.chdir(here)
        if code:
            raise typer.Exit(code)
    for note in calls:
        os.chdir(note["folder"])
        try:
            lost += not _go_on(note, place)
        finally:
            os.chdir(here)
    if lost:
        raise typer.Exit(_NOT_ALL)


def _go_on(note: Mapping[str, Any], store: str) -> bool:
    """Make a call again; say why where it cannot be made, and return False."""
    import subspan
    from subspan.cli.console import watch
    from subspan.cli.target import load_from_file
    from subspan.errors import InputError
    from subspan.trials import asked
    from subspan.trials.stores.registry import open_store

    calls = (subspan.run, subspan.threshold, subspan.compare, subspan.diagnose)
    call: Any = {each.__name__: each for each in calls}[note["call"]]
    named = f"subspan.{note['call']} of {note['about']}"
    try:
        arguments = asked.restored(note, load_from_file)
    except InputError as error:
        complain(f"cannot go on with {named}, begun in {note['folder']}: {error}")
        complain(f"To go on, make the same call again with store={store!r}: its trials are there.")
        return False
    complain(f"subspan: going on with {named}")
    with watch(store) as progress, asked.quiet():
        result = call(**arguments, store=store, progress=progress)
    with open_store(store) as opened:
        asked.finished(opened, note)
    say(f"{len(result)} trials" if isinstance(result, list) else result, lines=True)
    return True
