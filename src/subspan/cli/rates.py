"""What `surface` and `compare` print of learning rates that were chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from subspan.cli.console import print_table

if TYPE_CHECKING:
    from subspan.trials.pilots import ChosenLr


def print_learning_rates(chosen: Mapping[str, Sequence[ChosenLr]]) -> None:
    """Print a row per method and dim; nothing where none was chosen.

    Args:
        chosen: by method.
    """
    rows = [
        (
            *(method, one.dim, one.lr, one.choice.low, one.choice.high, one.choice.at_edge),
            *(one.choice.pilots, one.choice.trainings),
        )
        for method, own in chosen.items()
        for one in own
    ]
    if not rows:
        return
    heads = ("method", "d", "best lr", "as good from", "to", "at the end", "pilots", "trainings")
    print_table(heads, rows)
