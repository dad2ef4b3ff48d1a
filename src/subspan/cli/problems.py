"""`subspan problems`: list the problems that can be named."""

from __future__ import annotations

from subspan.cli import options
from subspan.cli.console import print_json, print_table


def command(json: options.Json = False) -> None:
    """List the problems, with their ambient dimension D and their own training settings."""
    from subspan.problems.catalogue import catalogue

    entries = catalogue()
    if json:
        print_json([entry._asdict() for entry in entries])
    else:
        print_table(("problem", "D", "data", "training"), entries)
