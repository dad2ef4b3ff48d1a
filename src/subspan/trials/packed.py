"""`PackedCurve`: a curve as columns of bytes that lose no bit, read only where somebody asks.

A column of numbers that 32 bits hold takes 4 bytes a point, one of fractions of some rows (which
accuracies are) 2, any other 8. How the columns lie is a `Layout`, plain JSON data that the records
of a sweep have in common.
"""

from __future__ import annotations

import itertools
import math
import sys
from array import array
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from subspan.metrics import LONGEST
from subspan.training.outcome import CurvePoint

_MOST = 2**63
_RATIO = 2**16 - 1  # the largest denominator: a count of 16 bits
_DENOMINATORS = 8  # that are tried before fractions are given up
_CODES = {"f": ("f", 4), "d": ("d", 8)}  # of binary32 and binary64, little-endian
_COUNTS = "H", 2
_SWAP = sys.byteorder == "big"


class Column(NamedTuple):
    """Where a metric's values lie in each record's bytes, and how: "f", "d", or a denominator."""

    start: int
    kind: str | int


class Layout:
    """What curves of the same steps and metrics have in common.

    Args:
        data: `{"steps": [[stride, times], …], "columns": {name: kind}}`; steps count from 0.

    Raises:
        ValueError: it is nothing that `pack` wrote.
    """

    __slots__ = ("columns", "points", "size", "strides")

    def __init__(self, data: Any) -> None:
        self.strides = [(_whole(stride), _whole(times)) for stride, times in data["steps"]]
        ends = itertools.accumulate(stride * times for stride, times in self.strides)
        if any(times < 1 for _, times in self.strides) or not all(0 <= e < _MOST for e in ends):
            raise ValueError("step: expected counts")
        self.points = sum(times for _, times in self.strides)
        self.columns: dict[str, Column] = {}
        self.size = 0
        for name, kind in data["columns"].items():
            if isinstance(kind, str) and kind not in _CODES:
                raise ValueError(f"{name[:LONGEST]}: expected a kind of numbers")
            if not isinstance(kind, str) and not 1 <= _whole(kind) <= _RATIO:
                raise ValueError(f"{name[:LONGEST]}: expected a number of rows")
            self.columns[name] = Column(self.size, kind)
            self.size += self.points * _coded(kind)[1]
        self.size = self.size or self.points  # as many bytes: a number of points is paid for

    @property
    def steps(self) -> list[int]:
        """The steps at which the curve was evaluated."""
        each = (itertools.repeat(stride, times) for stride, times in self.strides)
        return list(itertools.accumulate(itertools.chain.from_iterable(each)))


def _coded(kind: str | int) -> tuple[str, int]:
    """Return the code of a kind of numbers, as of `array`, and their bytes."""
    return _CODES[kind] if isinstance(kind, str) else _COUNTS


class PackedCurve:
    """A curve that stays packed.

    Args:
        layout: how the columns lie.
        data: their bytes.
        first: where in `data` they begin.

    Raises:
        ValueError: there are not as many bytes as the layout needs.
    """

    __slots__ = ("_data", "_first", "layout")

    def __init__(self, layout: Layout, data: bytes, first: int = 0) -> None:
        if len(data) - first != layout.size:
            raise ValueError(f"curve: expected {layout.size} bytes, got {len(data) - first}")
        self.layout, self._data, self._first = layout, data, first

    def values(self, name: str) -> Sequence[float]:
        """Return a metric at each point, NaN where there is none."""
        found = self.layout.columns.get(name)
        if found is None:
            return [math.nan] * self.layout.points
        code, width = _coded(found.kind)
        start = self._first + found.start
        numbers = array(code)
        numbers.frombytes(self._data[start : start + width * self.layout.points])
        if _SWAP:
            numbers.byteswap()
        return [count / found.kind for count in numbers] if isinstance(found.kind, int) else numbers

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics, in order of first sight."""
        first = {}
        for name in self.layout.columns:
            known = (i for i, value in enumerate(self.values(name)) if math.isfinite(value))
            at = next(known, None)
            if at is not None:
                first[name] = at
        return tuple(sorted(first, key=lambda name: (first[name], name)))

    def points(self) -> tuple[CurvePoint, ...]:
        """Return the curve."""
        columns = [self.values(name) for name in self.layout.columns]
        rows = zip(*columns, strict=True) if columns else [()] * self.layout.points
        names = list(self.layout.columns)
        return tuple(
            CurvePoint(step, dict(zip(names, row, strict=True)))
            for step, row in zip(self.layout.steps, rows, strict=True)
        )


def table(layout: Layout, curves: Sequence[bytes], first: int, name: str) -> np.ndarray:
    """Return a metric of packed curves, (curves, points), NaN where there is none.

    Args:
        layout: of all of them.
        curves: their bytes.
        first: where they begin in these.
        name: of the metric.
    """
    shape = len(curves), layout.points
    column = layout.columns.get(name)
    if column is None:
        return np.full(shape, math.nan)
    code, width = _coded(column.kind)
    start, end = first + column.start, first + column.start + width * layout.points
    data = b"".join([curve[start:end] for curve in curves])
    numbers = np.frombuffer(data, "<u2" if code == "H" else f"<f{width}").astype(float)
    numbers = numbers.reshape(shape)
    return numbers / column.kind if isinstance(column.kind, int) else numbers


def pack(curve: Sequence[CurvePoint]) -> tuple[dict[str, Any], bytes]:
    """Return the layout of a curve, as plain JSON data, and its bytes."""
    steps = [0, *(point.step for point in curve)]
    strides = itertools.groupby(b - a for a, b in itertools.pairwise(steps))
    runs = [[stride, len(list(same))] for stride, same in strides]
    names = sorted({name for point in curve for name in point.metrics})
    columns, parts = {}, []
    for name in names:
        values = np.array([point.metrics.get(name, math.nan) for point in curve])
        columns[name], data = _column(values)
        parts.append(data)
    return {"steps": runs, "columns": columns}, b"".join(parts) or bytes(len(curve))


def _column(values: np.ndarray) -> tuple[str | int, bytes]:
    """Return the shortest kind that loses no bit, and the bytes."""
    rows = _denominator(values)
    if rows is not None:
        return rows, np.rint(values * rows).astype("<u2").tobytes()
    with np.errstate(over="ignore", under="ignore"):
        half = values.astype("<f4")
    if half.astype(float).tobytes() == values.tobytes():
        return "f", half.tobytes()
    return "d", values.astype("<f8").tobytes()


def _denominator(values: np.ndarray) -> int | None:
    """Return of how many rows all the values are fractions, or None."""
    if not (values.size and values.min() >= 0 and values.max() <= 1):  # nor with a NaN
        return None
    rows = 1
    for _ in range(_DENOMINATORS):
        again = np.rint(values * rows).astype("<u2") / rows
        wrong = np.flatnonzero(again.view(np.int64) != values.view(np.int64))
        if not len(wrong):
            return rows
        more = Fraction(float(values[wrong[0]])).limit_denominator(_RATIO).denominator
        rows, before = math.lcm(rows, more), rows
        if rows == before or rows > _RATIO:
            return None
    return None


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= _MOST:
        raise ValueError("curve: expected integers")
    return value
