"""`predict_threshold`: d* from the curvature met on one full-space training run, matrix-free.

For each ε, a quadratic well is fitted where the run's loss is a quarter of ε: its centre w* is the
point w_t on the path, its matrix the Gauss–Newton matrix there, its level ε − L(w_t), and the exact
formula of `wells.quadratic_threshold` gives d*. A well fitted at the end of training instead
misleads for cross-entropy, whose curvature vanishes with the loss. `docs/theory.md` compares the
variants (Hessian, the paper's analytic bound, other centres) with measured thresholds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch

from subspan.canonical import tensor_digest
from subspan.errors import invalid, real, unknown, whole
from subspan.goals import Goal, LossBelow, parse_goal
from subspan.problems.base import AbstractProblem
from subspan.problems.precision import full_precision
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
from subspan.theory.prediction import PREDICTION, LevelPrediction, Prediction
from subspan.theory.wells import Formula
from subspan.trials.stores.base import RecordStore
from subspan.trials.stores.notes import keep, recall

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


@full_precision()
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
    store: RecordStore | str | Path | None = None,
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
        store: where the prediction is noted, beside trials; what is noted is not computed again,
            and `subspan report` shows it.

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
    asking = {
        "problem": problem.identity,
        "dtype": str(problem.dtype),
        "goal": str(asked),
        "seed": int(seed),
        "levels": list(levels),
        "start": None if start is None else tensor_digest(w0),
        "centers": None if centers is None else _digests(problem, centers),
        "rows": rows,
        **{"curvature": curvature, "formula": formula, "center": center},
        **{"probes": probes, "lanczos_steps": lanczos_steps, "train_steps": train_steps},
    }
    if (known := recall(store, PREDICTION, asking)) is not None:
        return known
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
            well.negative_mass, notes, _spectrum(well),
        )  # fmt: skip

    found = Prediction(
        wanted_goal, asked, tuple(map(at_level, wanted)), problem.ambient_dim, initial,
        curvature, formula, center,
    )  # fmt: skip
    keep(store, PREDICTION, asking, found)
    return found


def _digests(problem: AbstractProblem, centers: Mapping[float, ArrayLike]) -> dict[str, str | None]:
    if not isinstance(centers, Mapping):
        raise invalid("centers", expected="weights for each ε", got=type(centers))
    return {  # none are wanted where ε is at or above the initial loss
        repr(e): None if c is None else tensor_digest(weights_of(problem, "centers", c))
        for e, c in centers.items()
    }


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
        if not all(level in given for level in levels):
            raise invalid("centers", expected=f"weights for each ε of {levels}", got=list(given))
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


def _spectrum(well: MatrixFreeWell) -> tuple[tuple[float, float], ...]:
    """Return eigenvalues, falling, and how many there are of each: the mean over the probes."""
    measures = well.density_measures()
    nodes, weights = (np.concatenate(parts) for parts in zip(*measures, strict=True))
    order = np.argsort(-nodes, kind="stable")
    counts = weights[order] / len(measures)
    return tuple(zip(nodes[order].tolist(), counts.tolist(), strict=True))
