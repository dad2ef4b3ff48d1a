"""`deviations`: where an experiment's numbers leave the bands that are expected of them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from subspan.errors import StoreError
from subspan.estimate import Estimate
from subspan.reproduction.lab import Cost

_DIGITS = 4


class Deviation(NamedTuple):
    """A number that is not what is expected.

    Args:
        name: of the number.
        why: what is expected and what there is.
    """

    name: str
    why: str


def deviations(
    found: Mapping[str, Estimate], expected: Mapping[str, Mapping[str, Any]]
) -> list[Deviation]:
    """Return where numbers leave their bands, are missing, or are new.

    Args:
        found: numbers by name.
        expected: for each name a `band` (low, high) that its value must lie in, and the `status`;
            null, where the number has no value.

    Raises:
        StoreError: an expected number has no band.
    """
    wrong = [Deviation(name, "expected, and not found") for name in expected if name not in found]
    for name, estimate in found.items():
        if name not in expected:
            wrong.append(Deviation(name, "found, and not expected"))
            continue
        band, status = _band(name, expected[name])
        if status != estimate.status:
            wrong.append(Deviation(name, f"expected {status!r}, got {estimate.status!r}"))
        elif band is None and estimate.value is not None:
            wrong.append(Deviation(name, f"expected no value, got {estimate.value:g}"))
        elif band is not None and not _inside(estimate.value, band):
            value = "none" if estimate.value is None else f"{estimate.value:.{_DIGITS}g}"
            wrong.append(Deviation(name, f"expected {band[0]:g} to {band[1]:g}, got {value}"))
    return wrong


def to_json(numbers: Mapping[str, Estimate], cost: Cost) -> dict[str, Any]:
    """Return numbers as `expected.json` holds them; a number's band is its own interval.

    A run anew, with other kernels, draws other trials near d*: its value must lie in the interval.
    """
    return {
        "minutes": round(cost.seconds / 60, 1),
        "peak_memory_gib": round(cost.peak / 2**30, 2),
        "numbers": {
            name: {
                **{key: _rounded(getattr(e, key)) for key in ("value", "low", "high")},
                "confidence": e.confidence,
                "samples": e.samples,
                "status": e.status,
                "band": _own_band(e),
            }
            for name, e in numbers.items()
        },
    }


def write(path: Path, data: Mapping[str, Any]) -> None:
    """Write `expected.json`, a number a line."""

    def text(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False)

    lines = [f"  {text(name)}: {text(number)}" for name, number in data["numbers"].items()]
    head = [f" {text(k)}: {text(v)},\n" for k, v in data.items() if k != "numbers"]
    body = ",\n".join(lines)
    path.write_text("{\n" + "".join(head) + f' "numbers": {{\n{body}\n }}\n}}\n', encoding="utf-8")


def _own_band(estimate: Estimate) -> list[float] | None:
    if estimate.value is None:
        return None
    low = estimate.value if estimate.low is None else estimate.low
    high = estimate.value if estimate.high is None else estimate.high
    return [_down(low), _up(high)]


def _band(name: str, expected: Mapping[str, Any]) -> tuple[tuple[float, float] | None, str]:
    try:
        band, status = expected["band"], str(expected["status"])
        if band is None:
            return None, status
        low, high = float(band[0]), float(band[1])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise StoreError(f"expected.json: {name!r} has no band of two numbers.") from error
    if not low <= high:
        raise StoreError(f"expected.json: the band of {name!r} is empty: {low:g} to {high:g}.")
    return (low, high), status


def _inside(value: float | None, band: tuple[float, float]) -> bool:
    return value is not None and band[0] <= value <= band[1]


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{_DIGITS}g}")


def _down(value: float) -> float:
    scale = 10.0 ** (_DIGITS - 1 - math.floor(math.log10(abs(value)))) if value else 1.0
    return math.floor(value * scale) / scale


def _up(value: float) -> float:
    return -_down(-value)
