"""`Estimate`: a number with its interval, how it was come by, and whether to trust it."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from subspan.errors import check_confidence, invalid


def counted(value: int | None, low: int | None, high: int | None) -> str:
    """Write a count with its interval, `1,024 [980, ∞]`: `?` where none is known."""
    middle = "?" if value is None else f"{value:,}"
    return middle if low is None else f"{middle} [{low:,}, {'∞' if high is None else f'{high:,}'}]"


@dataclass(frozen=True)
class Estimate:
    """A value with an interval, its sample count and its status.

    Args:
        value: the estimate; None where there is none (a censored quantity).
        low: lower end of the interval; None where unbounded.
        high: upper end of the interval; None where unbounded.
        confidence: probability that the interval is made to hold the truth, in (0, 1).
        samples: independent draws that it rests on.
        status: `"ok"`, or what is wrong, in words that the maker of the estimate documents.

    Raises:
        InputError: the ends are out of order or not finite, or the confidence is not in (0, 1).
    """

    value: float | None
    low: float | None
    high: float | None
    confidence: float
    samples: int
    status: str = "ok"

    def __post_init__(self) -> None:
        known = [v for v in (self.low, self.value, self.high) if v is not None]
        if not all(math.isfinite(v) for v in known) or known != sorted(known):
            raise invalid(
                "estimate",
                expected="finite numbers with low <= value <= high, or None",
                got=f"{self.low} <= {self.value} <= {self.high}",
            )
        check_confidence(self.confidence)

    @property
    def ok(self) -> bool:
        """Whether the status is `"ok"`."""
        return self.status == "ok"

    @property
    def ratio(self) -> float | None:
        """`high / low`, the interval's relative width; None where an end is unbounded or 0."""
        return None if not self.low or self.high is None else self.high / self.low

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON data; unbounded ends are null."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        def show(v: float | None, absent: str) -> str:
            if v is None:
                return absent
            return f"{v:,}" if isinstance(v, int) else f"{v:.4g}"  # a count in all its digits

        text = f"{show(self.value, '?')} [{show(self.low, '-inf')}, {show(self.high, 'inf')}]"
        return text if self.ok else f"{text} ({self.status})"
