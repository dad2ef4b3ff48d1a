"""What every benchmark here gives: rows of ratios, of ways that took turns in one run.

    def rows(quick: bool) -> Iterator[Row]: ...

in a script makes it part of `bench.py`, by a line in its table.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Args:
        name: what was measured, against what.
        values: of each turn, in the order measured; the median is the result.
        aim: what DESIGN's "Speed and memory" or an issue asks of the median; None: no aim.
        side: on which side of the aim it is to lie.
        unit: of values and aim; "" for a ratio.
        absent: why it was not measured; then there are no values.
        detail: what else is told of it, by name.
        script: that measured it; `bench.py` fills it in.
    """

    name: str
    values: tuple[float, ...] = ()
    aim: float | None = None
    side: Literal["at most", "at least"] = "at most"
    unit: str = ""
    absent: str = ""
    detail: Mapping[str, float] = field(default_factory=dict)
    script: str = ""

    @property
    def median(self) -> float:
        """NaN where it was not measured."""
        return float(np.median(self.values)) if self.values else float("nan")

    @property
    def spread(self) -> tuple[float, float]:
        """The quartiles of the turns."""
        low, high = np.percentile(self.values, [25, 75]) if self.values else (np.nan, np.nan)
        return float(low), float(high)

    @property
    def verdict(self) -> str:
        """`met`, `missed`, `not measured`, or `` where there is no aim."""
        if not self.values:
            return "not measured"
        if self.aim is None:
            return ""
        met = self.median <= self.aim if self.side == "at most" else self.median >= self.aim
        return "met" if met else "missed"

    def to_json(self) -> dict[str, Any]:
        """Everything, with the median, the quartiles and the verdict."""
        low, high = self.spread
        told = {"median": self.median, "low": low, "high": high} if self.values else {}
        return {**asdict(self), **told, "verdict": self.verdict}


def turns(
    ways: Mapping[str, Callable[[], None]],
    rounds: int,
    clock: Callable[[], float] = time.thread_time,
) -> dict[str, list[float]]:
    """Return the seconds of each way, which take turns, so that a busy machine slows all alike.

    A first turn, of which nothing is kept, warms them up. The seconds are of this thread's
    processor unless another clock is given: that on the wall counts other processes' turns too.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            start = clock()
            way()
            if turn:
                seconds[name].append(clock() - start)
    return seconds


def ratios(seconds: Mapping[str, list[float]], base: str) -> dict[str, tuple[float, ...]]:
    """Return each way's seconds over the base's of the same turn."""
    return {
        name: tuple(a / b for a, b in zip(own, seconds[base], strict=True))
        for name, own in seconds.items()
        if name != base
    }


HEAD = "| what | median | quartiles | turns | peak, MiB | aim | |"


def table(rows: Iterable[Row], peaks: Mapping[str, float]) -> str:
    """Return the table as Markdown: median, quartiles, turns, peak, aim, verdict.

    Args:
        rows: of any scripts.
        peaks: by script, the most memory that its process, or one that it started, held: all ways
            of a script run in one process, unless it starts others.
    """
    lines = [HEAD, "|---" * (HEAD.count("|") - 1) + "|"]
    return "\n".join([*lines, *(line(row, peaks.get(row.script)) for row in rows)])


def line(row: Row, peak: float | None = None) -> str:
    """Return one row of `table`; a single turn has no quartiles."""
    unit = f" {row.unit}" if row.unit else ""
    aim = "" if row.aim is None else f"{row.side} {row.aim:g}{unit}"
    if not row.values:
        return f"| {row.name} | | | | | {aim} | not measured: {row.absent} |"
    low, high = row.spread
    spread = f"{low:.3g}–{high:.3g}" if len(row.values) > 1 else ""
    held = "" if peak is None else f"{peak:,.0f}"
    return (
        f"| {row.name} | {row.median:.3g}{unit} | {spread} | {len(row.values)} "
        f"| {held} | {aim} | {row.verdict} |"
    )


def surroundings() -> dict[str, Any]:
    """Return versions, hardware, cores, the machine's load and this process's peak memory."""
    import torch

    from subspan.maps import kernels
    from subspan.trials.provenance import environment

    peak = max(resource.getrusage(who).ru_maxrss for who in (0, resource.RUSAGE_CHILDREN))
    return {
        **environment(torch.device("cpu")),
        "date": time.strftime("%Y-%m-%d"),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "kernels": {
            name: os.environ[name]
            for name in ("OPENBLAS_CORETYPE", "ATEN_CPU_CAPABILITY")
            if name in os.environ
        },
        "compiled_maps": kernels.LIBRARY is not None,
        "load": [round(v, 2) for v in os.getloadavg()],
        "peak_mib": round(peak / 1024),
    }
