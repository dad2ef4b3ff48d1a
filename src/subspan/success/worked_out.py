"""`WorkedOut`: what a joint design asked for and knew, noted in the store after each round.

The surface is sampled anew whenever a trial is told, a second of a processor on a slow machine. So
a measurement that is given again, or goes on where it was cut off, reads what was asked for; it is
found by all that it depends on: the arguments of the design, what it was told, and the code.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib.resources import files
from typing import Any, NamedTuple

from subspan.canonical import digest
from subspan.success.joint_design import Ask, JointDesign
from subspan.trials.stores.base import RecordStore
from subspan.trials.stores.notes import is_whole, sealed

_PREFIX = "design:"


class Interval(NamedTuple):
    """What is known of d\\* between two rounds."""

    value: int | None
    low: int
    high: int | None


class WorkedOut:
    """Asks a joint design, unless the store says what it answers.

    Args:
        design: asked, and told by others.
        store: None: nothing is noted.
    """

    def __init__(self, design: JointDesign, store: RecordStore | None) -> None:
        self._design, self._store = design, store

    def next(self, width: int) -> list[Ask]:
        """Return the next trials, at most `width`; none where the design is done."""
        design = self._design

        def asks() -> list[Ask]:
            if design.done:
                return []
            return design.ask(min(width, design.max_trials - design.trials))

        return [Ask(*ask) for ask in self._noted(["asks", width], asks)]

    def estimate(self) -> Interval:
        """Return d\\* as far as it is known."""

        def interval() -> Interval:
            found = self._design.estimate()
            return Interval(found.value, found.low, found.high)

        return Interval(*self._noted(["interval"], interval))

    def _noted(self, question: list[Any], answer: Callable[[], Any]) -> Any:
        """Return the answer to a question in the design's present state; tuples may be lists."""
        if self._store is None:
            return answer()
        key = f"{_PREFIX}{digest([question, _state(self._design), _code()])}"
        for claim in self._store.claims(key):
            if "answer" in claim.data and is_whole(claim):
                return claim.data["answer"]
        found = answer()
        self._store.claim(key, _PREFIX, 0.0, sealed(key, {"answer": found}))
        return found


def _state(design: JointDesign) -> list[Any]:
    """Return all that the design's answers depend on, as JSON data."""
    lr = design.lr
    units = [lr.unit(1), lr.unit(design.span.max_dim)]  # a constant, or a power of d
    told = sorted(map(str, design.told))  # as text, since infinities have no JSON
    arguments = [design.confidence, design.ratio, design.max_trials, units, lr.low, lr.high]
    return [told, arguments, *map(str, (design.scale, design.span, lr.ridge))]


@functools.cache
def _code() -> str:
    """Return a digest of the code that answers; another release may answer otherwise."""
    parts = [*files("subspan.success").iterdir(), files("subspan.trials") / "lr_scale.py"]
    texts = {part.name: part.read_text("utf-8") for part in parts if part.name.endswith(".py")}
    return digest(texts)
