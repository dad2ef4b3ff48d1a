"""What the commands print: JSON or tables on standard output, everything else on standard error."""

from __future__ import annotations

import codecs
import contextlib
import json
import math
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from pathlib import PurePath
from typing import Any

from subspan.cli import signals
from subspan.errors import StoreError
from subspan.printable import printable

Progress = Callable[[int, "int | None", str], None]

command_line: ContextVar[list[str]] = ContextVar("command_line")


class Interrupted(Exception):
    """Ctrl-C while trials ran. Its text says what was done and how to go on."""


def complain(text: str) -> None:
    """Print one line on standard error."""
    print(printable(" ".join(text.split())), file=sys.stderr)


def say(text: object, *, lines: bool = False) -> None:
    """Print one line on standard output; with `lines`, as many as the text has."""
    print(printable(text, lines=lines))


def print_json(value: Any) -> None:
    """Print one JSON document on standard output. What is not finite becomes null.

    Characters that a terminal would obey, or its encoding lacks, are written as JSON escapes them.
    """
    text = json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False)
    known = codecs.lookup(sys.stdout.encoding or "utf-8").name == "utf-8"
    if not known or not text.replace("\n", "").isprintable():
        risky = (c for c in set(text) if c != "\n" and not (c.isprintable() and known))
        text = text.translate({ord(c): json.dumps(c)[1:-1] for c in risky if ord(c) > 0x7E})
    print(text)


def print_json_error(kind: str, message: str) -> None:
    """Print, where a JSON document was promised, one that says what went wrong."""
    print_json({"error": {"kind": kind, "message": message}})


def _finite(value: Any) -> Any:
    if isinstance(value, bool | str) or value is None:
        return value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, Iterable):
        return [_finite(v) for v in value]
    if isinstance(value, int):
        return int(value)
    number = float(value)
    return number if math.isfinite(number) else None


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table on standard output: numbers to the right, no line cut or wrapped."""
    body = [tuple(row) for row in rows]
    texts = [tuple(columns), *(tuple(cell(value) for value in row) for row in body)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    right = [all(not isinstance(v, str) for v in column) for column in zip(*body, strict=True)]
    right = right or [False] * len(widths)
    for line in texts:
        parts = zip(line, widths, right, strict=True)
        print("  ".join(t.rjust(w) if r else t.ljust(w) for t, w, r in parts).rstrip())


def print_pairs(*pairs: tuple[str, object]) -> None:
    """Print names and values in two columns; a pair whose value is None is left out."""
    for name, value in pairs:
        if value is not None:
            say(f"  {name:<12} {value}")


def cell(value: object) -> str:
    """Format a number or text for reading. None and NaN are a dash."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else printable(value)


@contextlib.contextmanager
def watch(store: object | None, *, what: str = "trials") -> Iterator[Progress]:
    """Show progress on standard error, and turn Ctrl-C into `Interrupted`.

    On a terminal it is a view of rounds, estimate and cost; in a log file, a line each half minute.

    Args:
        store: where records go; None if they are kept in memory alone.
        what: what is counted.

    Yields:
        A callable for the library's `progress`: `progress(done, total, message)`, where total may
        be None (not known).
    """
    from rich.console import Console

    from subspan.cli.live import Live
    from subspan.trials import interruption
    from subspan.trials.progress import Count, Lines, Notice

    console = Console(stderr=True)
    view = Live(console, what) if console.is_terminal else None
    count, lines = Count(), Lines(what)

    def update(now: int, total: int | None, message: str) -> None:
        count(now, total)
        signals.check()
        if isinstance(message, Notice):
            console.print(
                f"subspan: {printable(message)}", markup=False, highlight=False, soft_wrap=True
            )
        elif view is not None:
            view(now, total, message)
        else:
            lines(count, message)

    try:
        asked = interruption.asking(signals.check)
        with signals.foremost(), noting(store), asked, view or contextlib.nullcontext():
            yield update
    except KeyboardInterrupt:
        raise Interrupted(_interruption(count.done, store, what)) from None
    finally:
        if view is not None:
            console.show_cursor()  # whatever a signal cut short


@contextlib.contextmanager
def noting(store: object | None) -> Iterator[None]:
    """Note in a store which command is at work on it, and that it came to its end."""
    argv = command_line.get([])
    if store is None or not argv or argv[0] == "resume":  # what it goes on with is noted already
        yield
        return
    from subspan.canonical import digest
    from subspan.trials import asked
    from subspan.trials.stores.registry import open_store

    note = {"argv": argv, "folder": os.getcwd()}
    key = f"{asked.COMMAND}{digest(note)}"
    with open_store(store) as opened:  # type: ignore[arg-type]
        opened.claim(key, asked.COMMAND, 0.0, {**note, "done": False})
    with asked.quiet():
        yield
    with open_store(store) as opened:  # type: ignore[arg-type]
        opened.claim(key, asked.COMMAND, 0.0, {**note, "done": True})


def noted(store: str) -> list[dict[str, Any]]:
    """Return of each command on a store its `argv`, its `folder`, and whether it was `done`."""
    from subspan.trials import asked
    from subspan.trials.stores.registry import open_store

    with open_store(store, readonly=True) as opened:
        notes = [claim.data for claim in opened.claims(asked.COMMAND)]
    for note in notes:
        argv, folder = note.get("argv"), note.get("folder")
        texts = [*argv, folder] if isinstance(argv, list) else [None]
        if not all(isinstance(text, str) and "\0" not in text for text in texts):
            raise StoreError(
                f"store: expected the notes of commands in {store}, got one that is damaged. Give "
                "the command again yourself."
            )
    return notes


def _interruption(done: int, store: object | None, what: str) -> str:
    if store is None:
        return (
            f"{signals.word()} after {done} {what}, which were kept in memory alone. "
            "With --store FILE the same command can be continued."
        )
    again = shlex.join(["subspan", *command_line.get(sys.argv[1:])])
    return f"{signals.word()} after {done} {what}, which are safe in {store}. To go on: {again}"
