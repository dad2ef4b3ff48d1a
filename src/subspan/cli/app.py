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

from subspan import tracebacks
from subspan.cli import signals, std_streams
from subspan.cli.console import Interrupted, command_line, complain, print_json_error
from subspan.cli.help import Command
from subspan.cli.target import EXIT_TRACEBACK, FileFailed, shown
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
    "retry": "subspan.cli.retry",
    "export": "subspan.cli.export",
    "merge": "subspan.cli.merge",
    "verify": "subspan.cli.verify",
    "compact": "subspan.cli.compact",
    "experiment": "subspan.cli.experiment",
    "demo": "subspan.cli.demo",
}

EXIT_ERROR = 2
EXIT_BROKEN_PIPE = 141


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line, and end the process.

    Args:
        argv: what follows the program's name; None takes sys.argv's, and leaves signals to the
            system: the process is at its end.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    command_line.set(arguments)
    with std_streams.checked(), signals.caught(last=argv is None):
        sys.exit(_answered(arguments))


def _answered(arguments: list[str]) -> int:
    """Run a command and return its exit code; a line that cannot be parsed is one line of error."""
    document = print_json_error if "--json" in arguments else _nothing
    try:
        return build()(args=arguments, prog_name="subspan", standalone_mode=False) or 0
    except KeyboardInterrupt:  # before there was a command
        return _interrupted(document)
    except Exception as error:
        told = getattr(error, "format_message", None)
        if told is None:  # a fault of ours or of a user's code, which has its document by now
            raise
        if told():
            document("UsageError", told())
            context = getattr(error, "ctx", None)
            path = "subspan" if context is None else context.command_path
            complain(f"error: {told().rstrip('.')}. Try '{path} --help'.")
        return EXIT_ERROR


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
        app.command(name, cls=Command)(guarded(importlib.import_module(module).command))
    return app


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Wrap a command: a foreseen error is one line, Ctrl-C says what was done. No traceback."""

    @functools.wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        document = print_json_error if kwargs.get("json") else _nothing
        try:
            with signals.foremost(Interrupted):
                command(*args, **kwargs)
                sys.stdout.flush()
            signals.check()
        except Interrupted as interrupted:
            document("Interrupted", str(interrupted))
            complain(str(interrupted))
            raise typer.Exit(signals.exit_code()) from None
        except KeyboardInterrupt:
            raise typer.Exit(_interrupted(document)) from None
        except BrokenPipeError:  # the reader, e.g. `head`, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(EXIT_BROKEN_PIPE) from None
        except (SubspanError, OSError) as error:
            document(type(error).__name__, str(error))
            if getattr(error, "several_lines", False):
                print(f"error: {error}", file=sys.stderr)
            else:
                complain(f"error: {error}")
            raise typer.Exit(EXIT_ERROR) from None
        except FileFailed as failed:
            document(*failed.args)
            raise typer.Exit(EXIT_TRACEBACK) from None
        except Exception as error:  # Python prints where it came from
            document(type(error).__name__, str(error))
            if tracebacks.of_user(error.__traceback__) is None:
                raise
            shown(error)  # it came out of what a user's file holds
            raise typer.Exit(EXIT_TRACEBACK) from None

    return wrapper


def _interrupted(document: Callable[[str, str], None]) -> int:
    """Say that a signal ended a command that trained nothing; return its exit code."""
    said = f"{signals.word()}. No trial was under way."
    document("Interrupted", said)
    complain(said)
    return signals.exit_code()


def _nothing(kind: str, message: str) -> None:
    pass


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
