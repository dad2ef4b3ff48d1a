"""`Deadline`: how long a piece of work may take before it counts as hung."""

from __future__ import annotations

from collections.abc import Sequence

from subspan.errors import real
from subspan.trials.trainable import Pair

_FLOOR = 60.0  # seconds that any piece may take
_MULTIPLE = 20.0  # of what the slowest took


class Deadline:
    """Learns from what pieces took how long the next may take.

    Args:
        seconds: that each trial may take; None: 60 s and twenty times as long as the slowest so
            far, in proportion to the dims where they are larger. Before any is done, nothing is
            known, and there is no limit.

    Raises:
        InputError: the seconds are not positive.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self.seconds = (
            None if seconds is None else real("trial_timeout", seconds, low=0.0, strict=True)
        )
        self._seen: list[tuple[int, float]] = []

    def took(self, pairs: Sequence[Pair], seconds: float) -> None:
        """Learn what a piece took; only the slowest, and the slowest for its size, are kept."""
        size = _size(pairs)
        if not any(s >= seconds and n <= size for n, s in self._seen):
            kept = [(n, s) for n, s in self._seen if s > seconds or n < size]
            self._seen = [*kept, (size, seconds)]

    def limit(self, pairs: Sequence[Pair]) -> float | None:
        """Return how many seconds a piece may take; None where nothing is known.

        Trials of one piece are trained together, so each of them has the seconds of all.
        """
        if self.seconds is not None:
            return self.seconds * len(pairs)
        if not self._seen:
            return None
        size = _size(pairs)
        return _FLOOR + _MULTIPLE * max(s * max(1.0, size / n) for n, s in self._seen)


def _size(pairs: Sequence[Pair]) -> int:
    """Return what the time of a piece grows with, at most: the coordinates of all its trials."""
    return sum(1 + dim for dim, _ in pairs)
