"""Whether what was read as a record can be one: its types and ranges, before anything uses it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from subspan.metrics import LONGEST

_MOST = 2**63  # what a database's integer holds


def check_record(record: Any) -> None:
    """Refuse a record that this library cannot have written.

    Args:
        record: a `TrialRecord`, whose fields may hold anything.

    Raises:
        ValueError: it names the field, what it must be, and what it is.
    """
    trial = record.trial
    counts = {
        "dim": trial.dim,
        "repeat": trial.repeat,
        "ambient_dim": record.ambient_dim,
        "steps": record.steps,
        "search_steps": record.search_steps,
        "search_bits": record.search_bits,
    }
    for name, value in counts.items():
        _need(_whole(value) and 0 <= value < _MOST, name, "a count", value)
    _need(_whole(trial.seed) and -_MOST <= trial.seed < _MOST, "seed", "an integer", trial.seed)
    _need(trial.dim <= record.ambient_dim, "dim", f"at most {record.ambient_dim}", trial.dim)
    for name in ("problem", "method", "spec"):
        _need(isinstance(getattr(trial, name), dict), name, "an object", getattr(trial, name))
    for name in ("problem", "method"):
        called = getattr(trial, name).get("name", "")
        _need(isinstance(called, str), f"{name}'s name", "text", called)
    _need(isinstance(record.provenance, dict), "provenance", "an object", record.provenance)
    _need(isinstance(record.reason, str), "reason", "text", record.reason)
    for name in ("theta_norm", "wall_time"):
        _need(_number(getattr(record, name)), name, "a number", getattr(record, name))


def check_curve(curve: Mapping[str, Any]) -> None:
    """Refuse a curve, by metric name, of anything but steps and numbers or nulls.

    Raises:
        ValueError: as said.
    """
    for name, values in curve.items():
        _need(isinstance(values, list), name[:LONGEST], "a list", values)
        kinds = set(map(type, values))  # in one pass of C: a store holds millions of them
        allowed = {int} if name == "step" else {int, float, type(None)}
        _need(kinds <= allowed, name[:LONGEST], "numbers", values)
    steps = curve["step"]
    _need(not steps or (min(steps) >= 0 and max(steps) < _MOST), "step", "counts", steps)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: object) -> bool:
    return isinstance(value, float) or (_whole(value) and abs(value) < _MOST)  # type: ignore[arg-type]


def _need(right: bool, name: str, expected: str, got: object) -> None:
    if not right:
        raise ValueError(f"{name}: expected {expected}, got {type(got).__name__}")
