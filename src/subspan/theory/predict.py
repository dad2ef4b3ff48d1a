"""`predict_threshold`: d* from the curvature met on one full-space training run, matrix-free.

For each ε, a quadratic well is fitted where the run's loss is a quarter of ε: its centre w* is the
point w_t on the path, its matrix the Gauss–Newton matrix there, its level ε − L(w_t), and the exact
formula of `wells.quadratic_threshold` gives d*. A well fitted at the end of training instead
misleads for cross-entropy, whose curvature vanishes with the loss. `docs/theory.md` compares the
variants (Hessian, the paper's formula, other centres) with measured thresholds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch

from subspan.errors import invalid, real, unknown, whole
from subspan.goals import Goal, LossBelow, parse_goal
from subspan.problems.base import AbstractProblem
from subspan.streams import derive
from subspan.theory.arrays import ArrayLike, positives
from subspan.theory.curvature import (
    HasOutputs,
    gauss_newton,
    hessian,
    losses_and_gradients,
    subset_rows,
    weights_of,
)
from subspan.theory.matrix_free import MatrixFreeWell
from subspan.theory.mean import MeanEstimate
from subspan.theory.path import PathPoint, level_at_goal, mean_loss, training_path
from subspan.theory.statistical_dimension import Transition
from subspan.theory.wells import Formula

Curvature = Literal["gauss-newton", "hessian"]
CENTER = 0.25
_NEGATIVE_MASS = 0.05
_DROP = 2.0
_SLOPE = 0.05  # share of the well's drop; on a quadratic, d* is then some 15 % low or more


@runtime_checkable
class HasMinimum(Protocol):
    """A problem that knows its minimum, which is then the centre of every well."""

    def minimum(self) -> torch.Tensor:
        """Return w*, shape (D,)."""


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


def predict_threshold(
    problem: AbstractProblem,
    goal: Goal | str,
    seed: int = 0,
    *,
    levels: Sequence[float] = (),
    start: ArrayLike | None = None,
    centers: Mapping[float, ArrayLike] | None = None,
    curvature: Curvature | None = None,
    formula: Formula = "exact",
    center: float = CENTER,
    rows: int | None = None,
    probes: int = 6,
    lanczos_steps: int = 60,
    train_steps: int = 6000,
) -> Prediction:
    """Predict the threshold training dimension from curvature, without training in any subspace.

    Args:
        problem: what to predict for.
        goal: a loss goal on the training set. Any other goal (an accuracy, test data) is put as
            the training loss at which the full-space run first meets it, and a note says so: the
            relation of loss and goal is that of the full space, not of a subspace.
        seed: of w₀ (`init(derive(seed, "init", 0))`), of the path's batches and of the probes.
        levels: further ε to predict; they share the training run.
        start: w₀ to use instead, shape (D,).
        centers: trained weights to use instead of training, by ε.
        curvature: `"gauss-newton"` (default for networks) or `"hessian"` (default otherwise).
        formula: `"exact"` or `"paper"`.
        center: the well's centre is where the run's loss is this share of ε, in (0, 1). A problem
            that knows its `minimum` (`Quadratic`) has its wells there instead.
        rows: measure on a random subset of that many training rows.
        probes: random probes of the trace; their spread is the error band.
        lanczos_steps: products with the matrix per probe.
        train_steps: of the full-space run, at most.

    Raises:
        InputError: the goal is a training loss of 0, or one that the full-space run cannot be
            asked about or never reaches; or an argument is out of range.
    """
    asked = parse_goal(goal)
    if asked.metric == "loss" and asked.level <= 0:
        expected = "a loss above 0, such as 'loss<=0.1'"
        raise invalid("goal", expected=expected, got=str(asked))
    center = real("center", center, low=0, high=1, strict=True)
    if curvature is None:
        curvature = "gauss-newton" if isinstance(problem, HasOutputs) else "hessian"
    if curvature not in ("gauss-newton", "hessian"):
        raise unknown("curvature", str(curvature), ["gauss-newton", "hessian"])
    if formula not in ("exact", "paper"):
        raise unknown("formula", str(formula), ["exact", "paper"])
    levels = positives("levels", levels)
    probes = whole("probes", probes, low=2)
    lanczos_steps = whole("lanczos_steps", lanczos_steps, low=1)
    train_steps = whole("train_steps", train_steps, low=1)
    indices = subset_rows(problem, rows, seed)
    w0 = problem.init(derive(seed, "init", 0)) if start is None else start
    w0 = weights_of(problem, "start", w0)
    wanted_goal, translation = _as_level(problem, asked, w0, seed, indices, train_steps)
    wanted = sorted({wanted_goal.level, *levels}, reverse=True)
    initial = mean_loss(problem, w0, indices)
    points = _centers(problem, w0, wanted, seed, indices, center, train_steps, initial, centers)
    make = gauss_newton if curvature == "gauss-newton" else hessian

    def at_level(level: float) -> LevelPrediction:
        if level >= initial:
            zero = MeanEstimate(0.0, 0.0, 0.0, 0.95, probes)
            note = "ε is at or above the initial loss: w₀ is inside S(ε)"
            return LevelPrediction(level, zero, initial, 0.0, 0.0, 0.0, 0.0, 0.0, (note,))
        point = points[level]
        if point.loss >= level:
            note = f"the full-space run reached {point.loss:.3g} only"
            if centers is not None:
                note = f"the centre given has loss {point.loss:.3g}, which is not below ε"
            return LevelPrediction(level, None, point.loss, 0.0, 0.0, 0.0, 0.0, 0.0, (note,))
        operator = make(problem, point.weights, indices=indices)
        displacement = (w0 - point.weights).to(torch.float64)
        well = MatrixFreeWell.of(
            operator, displacement, probes=probes, steps=lanczos_steps, seed=seed
        )
        estimate: MeanEstimate | None = None
        if well.drop > level - point.loss:
            estimate = well.threshold(level - point.loss, formula)
        drop = initial - point.loss
        gradient = losses_and_gradients(problem, point.weights[None], indices)[1][0]
        slope = float(gradient.to(torch.float64) @ displacement)
        aim = None if centers is not None else center * level
        notes = _doubts(well, drop, slope, point.loss, level, aim)
        if estimate is not None and not estimate.ok:
            bracket = f"{estimate.mean - estimate.bias:.0f} and {estimate.mean:.0f}"
            notes += (f"{lanczos_steps} Lanczos steps leave d* between {bracket}: take more",)
        if level == wanted_goal.level:
            notes = (*translation, *notes)
        return LevelPrediction(
            level, estimate, point.loss, well.distance, well.drop, drop, slope,
            well.negative_mass, notes,
        )  # fmt: skip

    return Prediction(
        wanted_goal, asked, tuple(map(at_level, wanted)), problem.ambient_dim, initial,
        curvature, formula, center,
    )  # fmt: skip


def _as_level(
    problem: AbstractProblem,
    asked: Goal,
    start: torch.Tensor,
    seed: int,
    indices: torch.Tensor | None,
    steps: int,
) -> tuple[LossBelow, tuple[str, ...]]:
    """Return the goal as a training loss, and the note that says so where it was not one."""
    if isinstance(asked, LossBelow) and asked.split == "train":
        return asked, ()
    level = level_at_goal(problem, start, asked, seed, indices=indices, steps=steps)
    note = (
        f"predicted for loss<={level:.3g}, where full-space training first meets {asked}: a "
        "subspace may meet it at another loss"
    )
    return LossBelow(level), (note,)


def _centers(
    problem: AbstractProblem,
    start: torch.Tensor,
    levels: list[float],
    seed: int,
    indices: torch.Tensor | None,
    center: float,
    steps: int,
    initial: float,
    given: Mapping[float, ArrayLike] | None,
) -> dict[float, PathPoint]:
    if given is not None:
        if not isinstance(given, Mapping) or not all(level in given for level in levels):
            got = list(given) if isinstance(given, Mapping) else type(given).__name__
            raise invalid("centers", expected=f"weights for each ε of {levels}", got=got)
        moved = {e: weights_of(problem, f"centers[{e:g}]", given[e]) for e in levels}
        return {e: PathPoint(w, mean_loss(problem, w, indices), 0) for e, w in moved.items()}
    below = [level for level in levels if level < initial]
    targets = {level: center * level for level in below}
    if not targets:
        return {}
    if isinstance(problem, HasMinimum):
        lowest = problem.minimum()
        return dict.fromkeys(targets, PathPoint(lowest, mean_loss(problem, lowest, indices), 0))
    path = training_path(problem, start, list(targets.values()), seed, indices=indices, steps=steps)
    return {level: path[target] for level, target in targets.items()}


def _doubts(
    well: MatrixFreeWell, drop: float, slope: float, loss: float, level: float, aim: float | None
) -> tuple[str, ...]:
    notes = []
    if aim is not None and loss > 1.1 * aim:
        notes.append(f"the run stopped at loss {loss:.3g}, short of the centre {aim:.3g}")
    if well.drop <= level - loss:
        notes.append("the well puts w₀ inside S(ε), where it is not: it says nothing of d*")
    if slope > _SLOPE * well.drop:
        notes.append(
            f"the centre is not a minimum: towards w₀ its slope is {slope / well.drop:.0%} of the "
            "well's drop, and d* may come out low"
        )
    if well.negative_mass > _NEGATIVE_MASS:
        notes.append(f"{well.negative_mass:.0%} of the curvature is negative and counted as flat")
    if well.negative_displacement > _NEGATIVE_MASS:
        notes.append(
            f"{well.negative_displacement:.0%} of the curvature along w₀ − w* is negative and "
            "counted as flat"
        )
    if not 1 / _DROP <= well.drop / drop <= _DROP:
        notes.append(
            f"w₀ lies beyond the well: it is {drop:.3g} above the centre, the well says "
            f"{well.drop:.3g}"
        )
    return tuple(notes)
