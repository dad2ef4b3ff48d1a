"""The command line: parse, call, print. No logic lives here; one file per command."""

from subspan.cli.app import main as main

__all__ = ["main"]
