"""`announce`: tell who watches that a round of trials begins, and what is known by then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from subspan.success.posterior import Range
from subspan.trials.progress import Known
from subspan.trials.runner import TrialRunner


class _Interval(Protocol):
    @property
    def value(self) -> float | None: ...
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...


class _Design(Protocol):
    span: Range
    ratio: float
    max_trials: int

    @property
    def trials(self) -> int: ...
    def estimate(self) -> _Interval: ...


def announce(
    trials: object,
    design: _Design,
    number: int,
    spent: Callable[[], float | None],
    asked: Sequence[tuple[int, float | None]],
    estimate: Callable[[], _Interval] | None = None,
) -> None:
    """Tell who listens to `trials`, if it is a runner, that round `number` begins.

    Args:
        trials: what runs them.
        design: which was told the rounds before.
        number: from 1.
        spent: returns what these cost, in full trainings.
        asked: the dim and learning rate of each trial of the round.
        estimate: returns what is known of d*; the design's own if None.
    """
    if isinstance(trials, TrialRunner):
        known = estimate or design.estimate
        trials.announce(lambda: _known(design, known, number, spent(), asked))


def _known(
    design: _Design,
    estimate: Callable[[], _Interval],
    number: int,
    trainings: float | None,
    asked: Sequence[tuple[int, float | None]],
) -> Known:
    span = design.span
    value: int | None = None
    high: int | None = None
    low = span.min_dim
    if design.trials:
        found = estimate()
        value, high = (None if end is None else int(end) for end in (found.value, found.high))
        low = int(found.low or span.min_dim)
    return Known(
        number=number,
        value=value,
        low=low,
        high=high,
        span=(span.min_dim, span.max_dim),
        ratio=design.ratio,
        trials=design.trials,
        most=design.max_trials,
        trainings=trainings,
        asked=tuple(asked),
    )
