"""The table of commands, and what all of them share: errors, Ctrl-C, `--version`.

To add a command: write `subspan/cli/NAME.py` with one function `command`, whose signature is the
options and whose docstring is the help, and add a line to `COMMANDS`. Import PyTorch and the rest
of the package inside the function, so that `subspan --help` stays instant.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from subspan.cli.console import Interrupted, command_line, complain
from subspan.errors import SubspanError

COMMANDS = {
    "problems": "subspan.cli.problems",
    "threshold": "subspan.cli.threshold",
    "surface": "subspan.cli.surface",
    "predict": "subspan.cli.predict",
    "compare": "subspan.cli.compare",
    "spectroscopy": "subspan.cli.spectroscopy",
    "trials": "subspan.cli.trials",
    "report": "subspan.cli.report",
    "resume": "subspan.cli.resume",
    "demo": "subspan.cli.demo",
}

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130  # as the shell reports a process ended by Ctrl-C
EXIT_BROKEN_PIPE = 141


def main(argv: Sequence[str] | None = None, *, standalone: bool = True) -> None:
    """Run the command line.

    Args:
        argv: what follows the program's name; None takes sys.argv's.
        standalone: end the process; False returns after a command that went well.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    command_line.set(arguments)
    code = build()(args=arguments, prog_name="subspan", standalone_mode=standalone)
    if not standalone and code:
        raise typer.Exit(code)


def build() -> typer.Typer:
    """Return the application with every command of `COMMANDS`."""
    app = typer.Typer(
        name="subspan",
        help="How many degrees of freedom does training need?",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_top)
    for name, module in COMMANDS.items():
        app.command(name)(guarded(importlib.import_module(module).command))
    return app


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Wrap a command: a foreseen error is one line, Ctrl-C says what was done. No traceback."""

    @functools.wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
            sys.stdout.flush()
        except Interrupted as interrupted:
            complain(str(interrupted))
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except KeyboardInterrupt:
            complain("Interrupted. No trial was under way.")
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except BrokenPipeError:  # the reader, e.g. `head`, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(EXIT_BROKEN_PIPE) from None
        except (SubspanError, OSError) as error:
            if "\n" in str(error):  # with the traceback of a user's own code
                print(f"error: {error}", file=sys.stderr)
            else:
                complain(f"error: {error}")
            raise typer.Exit(EXIT_ERROR) from None

    return wrapper


def _print_version(wanted: bool) -> None:
    if wanted:
        import subspan

        print(f"subspan {subspan.__version__}")
        raise typer.Exit


def _top(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass
