"""How far above the level a trial got: a graded observation in place of a hit or a miss."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from subspan.errors import invalid

FAR = 2.5  # beyond ±FAR on the scale of z, how far is not looked at
_EPS = 1e-4  # accuracies are kept so far from 0 and 1

Censoring = Literal["none", "at least", "at most"]


@dataclass(frozen=True)
class Scale:
    """The scale on which a metric's distance from the level is measured.

    Args:
        level: the goal's level.
        higher_is_better: whether the goal is `metric >= level`.
        kind: `"logit"` (metrics in [0, 1]), `"log"` (positive ones) or `"linear"`.

    Raises:
        InputError: the level does not lie on the scale.
    """

    level: float
    higher_is_better: bool
    kind: Literal["logit", "log", "linear"]

    def __post_init__(self) -> None:
        fits = {"logit": 0 <= self.level <= 1, "log": self.level > 0, "linear": True}
        if not fits.get(self.kind, False):
            raise invalid("level", expected=f"one on the {self.kind} scale", got=repr(self.level))

    def distance(self, value: float) -> float:
        """Return z: how far `value` lies above the level (better is positive); NaN for NaN."""
        gap = self._transform(value) - self._transform(self.level)
        return gap if self.higher_is_better else -gap

    def value_at(self, distance: float) -> float:
        """Return the metric's value that lies `distance` above the level."""
        place = self._transform(self.level) + (distance if self.higher_is_better else -distance)
        if self.kind == "linear":
            return place
        return math.exp(place) if self.kind == "log" else 1 / (1 + math.exp(-place))

    def _transform(self, value: float) -> float:
        if self.kind == "linear" or math.isnan(value):
            return value
        if self.kind == "log":
            return math.log(max(value, 1e-30)) if value < math.inf else math.inf
        clipped = min(max(value, _EPS), 1 - _EPS)
        return math.log(clipped) - math.log1p(-clipped)


class Observation(NamedTuple):
    """One trial: where, how far above the level it got, and whether that is only a bound."""

    log_dim: float
    log_lr: float
    z: float
    censoring: Censoring = "none"
