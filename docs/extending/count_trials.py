"""`subspan count-trials STORE`: a command of its own. It parses, calls and prints."""

from subspan import Store
from subspan.cli.console import say


def command(store: str) -> None:
    """Count the trials of a store."""
    with Store(store, readonly=True) as opened:
        say(f"{len(opened):,} trials")
