"""How far above the level a trial got: a graded observation in place of a hit or a miss."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from subspan import metrics
from subspan.errors import invalid
from subspan.goals import Goal

FAR = 2.5  # beyond ±FAR on the scale of z, how far is not looked at
_EPS = 1e-4  # accuracies are kept so far from 0 and 1

Censoring = Literal["none", "at least", "at most"]


Kind = Literal["logit", "log", "gap", "linear"]


@dataclass(frozen=True)
class Scale:
    """The scale on which a metric's distance from the level is measured.

    Args:
        level: the goal's level.
        higher_is_better: whether the goal is `metric >= level`.
        kind: `"logit"` of a metric between `least` and `most`, `"log"` of one's distance above
            `least`, `"gap"`: −log of one's distance below `most`, or `"linear"`.
        least: the least value that the metric can take.
        most: the most.

    Raises:
        InputError: the level does not lie on the scale.
    """

    level: float
    higher_is_better: bool
    kind: Kind
    least: float = 0.0
    most: float = 1.0

    def __post_init__(self) -> None:
        above, below = self.level >= self.least, self.level <= self.most
        fits = {
            "logit": above and below,
            "log": self.level > self.least,
            "gap": self.level < self.most,
            "linear": True,
        }
        if not fits.get(self.kind, False):
            raise invalid("level", expected=f"one on the {self.kind} scale", got=repr(self.level))

    @classmethod
    def of(cls, goal: Goal) -> Scale:
        """Return the scale that a goal's metric has by its range.

        Raises:
            InputError: its range gives none, or the level lies at an end of it.
        """
        known = metrics.find(goal.metric)
        least, most = (known.least, known.most) if known else (-math.inf, math.inf)
        inside, up = least < goal.level < most, bool(goal.higher)
        if inside and math.isfinite(most - least):
            share = (goal.level - least) / (most - least)
            if _EPS < share < 1 - _EPS:
                return cls(goal.level, up, "logit", least, most)
        elif inside and math.isfinite(least):
            return cls(goal.level, up, "log", least)
        elif inside and math.isfinite(most):
            return cls(goal.level, up, "gap", most=most)
        elif inside and goal.level > 0 and not up:
            return cls(goal.level, False, "log")  # a loss: what it can fall to, 0 in most cases
        raise invalid(
            "goal",
            expected="a level inside the range of its metric, so that how good training got can "
            "be measured from it",
            got=repr(str(goal)),
            remedy=""
            if known
            else f'Say the range: subspan.metrics.register({goal.metric!r}, "higher", least=0, '
            "most=100).",
        )

    def distance(self, value: float) -> float:
        """Return z: how far `value` lies above the level (better is positive); NaN for NaN."""
        gap = self._transform(value) - self._transform(self.level)
        return gap if self.higher_is_better else -gap

    def per_unit(self, distance: np.ndarray) -> np.ndarray:
        """Return how far z moves per unit of the metric, where it lies `distance` above."""
        away = distance if self.higher_is_better else -distance
        if self.kind == "linear":
            return np.ones_like(distance)
        if self.kind == "log":
            return np.exp(-away) / (self.level - self.least)
        if self.kind == "gap":
            return np.exp(away) / (self.most - self.level)
        share = 1 / (1 + np.exp(-self._transform(self.level) - away))
        return 1 / ((self.most - self.least) * share * (1 - share))

    def value_at(self, distance: float) -> float:
        """Return the metric's value that lies `distance` above the level."""
        place = self._transform(self.level) + (distance if self.higher_is_better else -distance)
        if self.kind == "linear":
            return place
        if self.kind == "log":
            return self.least + math.exp(place)
        if self.kind == "gap":
            return self.most - math.exp(-place)
        return self.least + (self.most - self.least) / (1 + math.exp(-place))

    def _transform(self, value: float) -> float:
        if self.kind == "linear" or math.isnan(value):
            return value
        if self.kind in ("log", "gap"):
            above = value - self.least if self.kind == "log" else self.most - value
            place = math.log(max(above, 1e-30)) if above < math.inf else math.inf
            return place if self.kind == "log" else -place
        share = (value - self.least) / (self.most - self.least)
        clipped = min(max(share, _EPS), 1 - _EPS)
        return math.log(clipped) - math.log1p(-clipped)


class Observation(NamedTuple):
    """One trial: where, how far above the level it got, and whether that is only a bound.

    `error` is the standard error of the metric, where it is the mean of several evaluations.
    """

    log_dim: float
    log_lr: float
    z: float
    censoring: Censoring = "none"
    error: float = 0.0

    @property
    def met(self) -> bool:
        """Whether the trial met the goal."""
        return self.z >= 0 and self.censoring != "at most"
