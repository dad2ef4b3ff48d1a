"""`Progress`: how a caller hears what is done. `shown`: a bar for who asks with `progress=True`."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

from subspan.errors import invalid
from subspan.printable import printable

Progress = Callable[[int, int | None, str], None]
"""Called with (trials done, trials planned or None, a message)."""

SECONDS_BETWEEN_LINES = 30.0


class Notice(str):
    """A message that is worth a line of its own, wherever progress is shown."""

    __slots__ = ()


class Ended(str):
    """A message that a trial at `dim` came to its end."""

    dim: int

    def __new__(cls, text: str, dim: int) -> Self:
        """Make a message."""
        new = super().__new__(cls, text)
        new.dim = dim
        return new

    def __reduce__(self) -> tuple[type[Self], tuple[str, int]]:
        return type(self), (str(self), self.dim)


@dataclass(frozen=True)
class Known:
    """What is known of d* when a round begins.

    Args:
        number: of the round, from 1.
        value: the estimate; None above the range, or before the first trial.
        low: lower end of its interval.
        high: upper end; None where unbounded.
        span: smallest and largest dim that are tried.
        ratio: of high and low, at which it is known.
        trials: told so far.
        most: trials after which it ends.
        trainings: what they cost, in full trainings; None where that has no sense.
        asked: the dim and learning rate of each trial of the round; None for a spec's own.
    """

    number: int
    value: int | None
    low: int
    high: int | None
    span: tuple[int, int]
    ratio: float
    trials: int
    most: int
    trainings: float | None
    asked: tuple[tuple[int, float | None], ...]


class Round(str):
    """A message that a round begins, with what is `known`."""

    known: Known

    def __new__(cls, known: Known) -> Self:
        """Make a message."""
        dims = ", ".join(f"{dim:,}" for dim, _ in known.asked)
        new = super().__new__(cls, f"round {known.number}: d={dims}")
        new.known = known
        return new

    def __reduce__(self) -> tuple[type[Self], tuple[Known]]:
        return type(self), (self.known,)


@contextlib.contextmanager
def shown(progress: Progress | bool | None) -> Iterator[Progress]:
    """Give what is called as trials are done.

    Args:
        progress: a callable; True for a bar, by rich: in a notebook one of the notebook's, on a
            terminal one on standard error, elsewhere plain `Lines`; None or False for silence.

    Raises:
        InputError: it is none of these.
    """
    if callable(progress):
        yield progress
    elif progress is None or progress is False:
        yield lambda done, total, message: None
    elif progress is True:
        with _bar() as update:
            yield update
    else:
        raise invalid(
            "progress",
            expected="a function of (done, planned, message), or True for a bar",
            got=repr(progress),
        )


@contextlib.contextmanager
def _bar() -> Iterator[Progress]:
    from rich import progress as bars
    from rich.console import Console

    console = Console(stderr=True)
    display = bars.Progress(
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TimeElapsedColumn(),
        console=console,
        redirect_stdout=False,
        redirect_stderr=False,
        disable=not (console.is_terminal or console.is_jupyter),
    )
    count, lines = Count(), Lines()

    def update(done: int, total: int | None, message: str) -> None:
        count(done, total)
        if isinstance(message, Notice):
            display.console.print(printable(message), markup=False, highlight=False)
            return
        if display.disable:
            lines(count, message)
        display.update(
            task, completed=count.done, total=count.total, description=printable(message)
        )

    with display:
        task = display.add_task("starting", total=None)
        yield update
        display.refresh()  # a notebook's is not drawn again when it ends


class Lines:
    """What a log file gets of progress: a line on standard error each half minute, not oftener.

    Args:
        what: is counted.
    """

    def __init__(self, what: str = "trials") -> None:
        self._what, self._said = what, time.monotonic()

    def __call__(self, count: Count, message: str) -> None:
        """Hear a message, of which `count` has heard."""
        now = time.monotonic()
        if isinstance(message, Round) or now - self._said <= SECONDS_BETWEEN_LINES:
            return
        self._said = now
        of = "" if count.total is None else f"/{count.total}"
        text = f"{count.done}{of} {self._what}, {message}"
        print(printable(" ".join(text.split())), file=sys.stderr, flush=True)


class Count:
    """Adds up rounds, each of which the library counts anew."""

    def __init__(self) -> None:
        self._earlier, self._latest = 0, 0  # trials of finished rounds, and of the one that runs
        self._planned: int | None = None

    def __call__(self, done: int, total: int | None) -> None:
        """Hear of `done` trials of a round of `total`."""
        if done < self._latest or self._latest == self._planned:
            self._earlier += self._latest
        self._latest, self._planned = done, total

    @property
    def done(self) -> int:
        """Trials done, of all rounds."""
        return self._earlier + self._latest

    @property
    def total(self) -> int | None:
        """Trials done and planned; None where that is not known."""
        return None if self._planned is None else self._earlier + self._planned

    @property
    def under_way(self) -> int | None:
        """Trials of the round that are not done."""
        return None if self._planned is None else self._planned - self._latest
