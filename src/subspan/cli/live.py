"""`Live`: what a terminal shows while trials run: rounds, d* narrowing, the cost, the time left."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live as Screen
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from subspan.printable import printable
from subspan.trials.progress import Count, Ended, Known, Round

_ROUNDS = 6  # shown, the newest last
_WIDTH = 40  # of the picture of an interval, in characters
_BLOCKS = "─━●"  # outside an interval, inside, the estimate
_PLAIN = ".=o"  # the same where the terminal's encoding lacks them


class Live:
    """A view that is drawn anew in place. A context manager; call it to tell what is done.

    Args:
        console: where it is drawn.
        what: what is counted.
        clock: seconds, as `time.monotonic`.
    """

    def __init__(
        self, console: Console, what: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console, self._what, self._clock = console, what, clock
        self._began = clock()
        self._count = Count()
        self._trained = 0  # here, so not found in the store
        self._message = "starting"
        self._rounds: list[Known] = []
        self._running: list[tuple[int, float | None]] = []
        self._screen = Screen(
            get_renderable=self.picture,
            console=console,
            refresh_per_second=4,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        try:
            self._screen.start()
        except BaseException:  # a signal: the cursor may be hidden by now
            self._screen.stop()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._screen.stop()

    def __call__(self, done: int, total: int | None, message: str) -> None:
        """Hear of `done` trials of a round of `total`, and what happened."""
        self._count(done, total)
        if isinstance(message, Round):
            self._hear_of_round(message.known)
            return
        if isinstance(message, Ended):
            self._trained += 1
            ended = next((trial for trial in self._running if trial[0] == message.dim), None)
            if ended is not None:
                self._running.remove(ended)
        self._message = str(message)

    def _hear_of_round(self, known: Known) -> None:
        if known.number == 1:  # another measurement begins
            self._rounds.clear()
        self._rounds.append(known)
        self._running = list(known.asked)

    def picture(self) -> RenderableType:
        """Return what the terminal shows now."""
        lines: list[RenderableType] = [self._summary()]
        if self._rounds:
            lines.append(self._narrowing())
            lines.append(_line("running  ", self._under_way()))
        elif self._count.total is not None:
            lines.append(ProgressBar(total=self._count.total, completed=self._count.done, width=60))
        lines.append(_line("last     ", self._message))
        return Group(*lines)

    def _under_way(self) -> str:
        """Name the trials that run or wait; some may have been found in the store, unnamed."""
        left = self._count.under_way or 0
        named = ", ".join(map(_trial, self._running[:8]))
        more = len(self._running) - 8
        text = f"{named}, {more} more" if more > 0 else named
        if not left:
            return "–"
        return text if left == len(self._running) else f"{left} of {text}"

    def _summary(self) -> Text:
        said = [f"{self._count.done:,}{self._of()} {self._what}"]
        if self._rounds:
            known = self._rounds[-1]
            said.insert(0, f"round {known.number}")
            if known.trainings is not None:
                said.append(f"{known.trainings:.1f} trainings spent")
        left = self.seconds_left()
        if left is not None:
            said.append(f"about {_clock(left)} left")
        gone = _clock(self._clock() - self._began)
        said.append(f"{gone} gone")  # last: a narrow terminal cuts it
        return _line("", ", ".join(said))

    def _of(self) -> str:
        if self._rounds:
            return f" of at most {self._count.done - self._told() + self._rounds[-1].most:,}"
        return "" if self._count.total is None else f" of {self._count.total:,}"

    def _told(self) -> int:
        """Return how many trials of this measurement are done."""
        known = self._rounds[-1]
        return known.trials + len(known.asked) - (self._count.under_way or 0)

    def seconds_left(self) -> float | None:
        """Return about how long it will take, from the pace so far; None before there is one.

        Of a measurement that ends when an interval is narrow, the logarithm of high/low is taken
        to fall as one over the root of the trials; it is a guess, and no more than the most trials.
        """
        if not self._trained:
            return None
        pace = (self._clock() - self._began) / self._trained
        if not self._rounds:
            total = self._count.total
            return None if total is None else pace * (total - self._count.done)
        return pace * max(
            trials_needed(self._rounds[-1]) - self._told(), self._count.under_way or 0
        )

    def _narrowing(self) -> Table:
        shown = self._rounds[-_ROUNDS:]
        signs = _PLAIN if self._console.options.ascii_only else _BLOCKS
        table = Table.grid(padding=(0, 2))
        for justify in ("left", "right", "left", "left"):
            table.add_column(justify=justify, no_wrap=True)
        for known in shown:
            star = "?" if known.value is None else f"{known.value:,}"
            high = "above" if known.high is None else f"{known.high:,}"
            table.add_row(
                Text(f"before round {known.number}"),
                Text(f"d* {star}"),
                Text(f"[{known.low:,}, {high}]"),
                Text(interval_line(known, signs)),
            )
        return table


def trials_needed(known: Known) -> int:
    """Return about how many trials a measurement takes in all, at most those it may take."""
    if known.high is None or not known.trials:
        return known.most
    wide, target = math.log(max(known.high / max(known.low, 1), 1.0)), math.log(known.ratio)
    return min(known.most, math.ceil(known.trials * max(1.0, wide / target) ** 2))


def interval_line(known: Known, signs: str = _BLOCKS, width: int = _WIDTH) -> str:
    """Return an interval on a logarithmic axis over the dims that are tried.

    Args:
        known: what is known.
        signs: one character for outside, for inside and for the estimate.
        width: characters.
    """
    first, last = (math.log(max(end, 1)) for end in known.span)

    def place(dim: float) -> int:
        share = (math.log(max(dim, 1)) - first) / max(last - first, 1e-12)
        return round(min(max(share, 0.0), 1.0) * (width - 1))

    low, high = place(known.low), width - 1 if known.high is None else place(known.high)
    line = [signs[1] if low <= at <= high else signs[0] for at in range(width)]
    if known.value is not None:
        line[place(known.value)] = signs[2]
    return "".join(line)


def _line(name: str, text: str) -> Text:
    return Text(f"{name}{printable(text)}", no_wrap=True, overflow="ellipsis")


def _trial(trial: tuple[int, float | None]) -> str:
    dim, lr = trial
    return f"d={dim:,}" if lr is None else f"d={dim:,} at lr {lr:.2g}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
