"""`Prediction`: what curvature says of d*, per level; as objects, and as a store notes it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from subspan.goals import Goal, LossBelow, parse_goal
from subspan.theory.mean import MeanEstimate
from subspan.theory.statistical_dimension import Transition
from subspan.trials.stores.notes import Kind


@dataclass(frozen=True)
class LevelPrediction:
    """The prediction at one level ε.

    Args:
        level: ε.
        estimate: d* (the transition's centre), with the error band of probes and Lanczos steps.
            The error of the quadratic picture itself is not in it. Its status is `"not resolved"`
            where the Lanczos steps leave more than a tenth of it open. None where the run never
            came below ε, and where the well puts w₀ inside S(ε), where it is not.
        center_loss: loss at the centre of the well.
        distance: ‖w₀ − w*‖.
        well_drop: ½ (w₀−w*)ᵀ H₊ (w₀−w*), negative curvature counted as flat: the loss the well
            ascribes to w₀ above its centre.
        true_drop: the loss that w₀ really has above the centre.
        slope: ⟨∇L(w*), w₀ − w*⟩, the loss at first order between centre and w₀, which the well
            leaves out: 0 at a minimum.
        negative_mass: share of negative curvature that was dropped.
        notes: reasons to doubt the quadratic picture here; empty if none.
        spectrum: of the well's matrix, falling: an eigenvalue, and how many there are of it, from
            Lanczos quadrature, the mean over the probes. They add up to D. Empty without a well.
    """

    level: float
    estimate: MeanEstimate | None
    center_loss: float
    distance: float
    well_drop: float
    true_drop: float
    slope: float
    negative_mass: float
    notes: tuple[str, ...]
    spectrum: tuple[tuple[float, float], ...] = ()

    @property
    def measure(self) -> tuple[np.ndarray, np.ndarray]:
        """The spectrum as arrays (n,) and (n,): eigenvalues, and how many there are of each."""
        pairs = np.array(self.spectrum, dtype=np.float64).reshape(-1, 2)
        return pairs[:, 0], pairs[:, 1]


@dataclass(frozen=True)
class Prediction:
    """Predicted thresholds of a problem, the goal's own first among equals.

    Args:
        goal: the level that was predicted: the goal asked about, or for a goal other than a
            training loss the loss at which the full-space run first met it.
        asked: the goal asked about.
        levels: one prediction per ε, by falling ε, the goal's among them.
        ambient_dim: D.
        initial_loss: training loss at w₀.
        curvature: which matrix.
        formula: which formula.
        center: share of ε at which each well was centred.
    """

    goal: LossBelow
    asked: Goal
    levels: tuple[LevelPrediction, ...]
    ambient_dim: int
    initial_loss: float
    curvature: str
    formula: str
    center: float

    @property
    def at_goal(self) -> LevelPrediction:
        """The prediction at the goal's own level."""
        return next(p for p in self.levels if p.level == self.goal.level)

    @property
    def value(self) -> float | None:
        """Centre of the transition (P_s = ½) at the goal; None where `status` says why."""
        return None if self.at_goal.estimate is None else self.at_goal.estimate.value

    def at_delta(self, delta: float = 0.1) -> float | None:
        """Return the d of success probability 1 − δ, which is what `threshold` measures.

        The centre plus the largest spread that a convex cone of this centre can have
        (`Transition.from_stat_dim`): above the well's own. None where `value` is.
        """
        found = self.transition
        return None if found is None else found.threshold(self.ambient_dim, delta)

    @property
    def transition(self) -> Transition | None:
        """The predicted success curve, with the spread of `at_delta`; None where `value` is."""
        if self.value is None:
            return None
        return Transition.from_stat_dim(self.ambient_dim - self.value, self.ambient_dim)

    @property
    def low(self) -> float | None:
        """Lower end of the band of probes and Lanczos steps."""
        return None if self.at_goal.estimate is None else self.at_goal.estimate.low

    @property
    def high(self) -> float | None:
        """Upper end of that band."""
        return None if self.at_goal.estimate is None else self.at_goal.estimate.high

    @property
    def status(self) -> str:
        """`"ok"`, or what is wrong, with the reasons in `at_goal.notes`.

        `"not reached"`: the run never came below ε. `"no well"`: the one fitted puts w₀ inside
        S(ε). `"doubtful"`: there is a value, and reason to doubt it.
        """
        if self.at_goal.estimate is None:
            return "not reached" if self.at_goal.center_loss >= self.goal.level else "no well"
        if self.goal.level >= self.initial_loss:
            return "ok"  # w₀ is inside S(ε): d* = 0 for certain
        return "doubtful" if self.at_goal.notes else "ok"

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain JSON data, which `of_json` reads."""
        return {
            **dataclasses.asdict(self),
            "goal": str(self.goal),
            "asked": str(self.asked),
            "levels": [dataclasses.asdict(level) for level in self.levels],
        }

    @classmethod
    def of_json(cls, data: Mapping[str, Any]) -> Prediction:
        """Return the prediction that `to_json` wrote.

        Raises:
            InputError, KeyError, TypeError, ValueError: it is none.
        """
        goal = parse_goal(data["goal"])
        if not isinstance(goal, LossBelow):
            raise TypeError("the level predicted is no loss")
        found = cls(
            goal,
            parse_goal(data["asked"]),
            tuple(_level(level) for level in data["levels"]),
            int(data["ambient_dim"]),
            float(data["initial_loss"]),
            str(data["curvature"]),
            str(data["formula"]),
            float(data["center"]),
        )
        if found.goal.level not in [level.level for level in found.levels]:
            raise ValueError("the goal's own level is missing")
        return found


def _level(data: Mapping[str, Any]) -> LevelPrediction:
    numbers = ("level", "center_loss", "distance", "well_drop", "true_drop", "slope")
    estimate = data["estimate"]
    return LevelPrediction(
        **{name: float(data[name]) for name in (*numbers, "negative_mass")},
        estimate=None if estimate is None else MeanEstimate(**estimate),
        notes=tuple(map(str, data["notes"])),
        spectrum=tuple((float(value), float(count)) for value, count in data["spectrum"]),
    )


PREDICTION = Kind("prediction", Prediction.of_json)
