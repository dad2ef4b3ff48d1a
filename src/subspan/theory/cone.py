"""`cone_threshold`: d* by direct search for the Gaussian width of a network's sub-level set.

For a standard normal g, the angle between g and proj_{w₀}(S(ε)) gives one sample of
dist²(g, cone) = ‖g‖² sin²(angle); their mean D·sin² is D minus the squared width. Write a point of
S(ε) as w = w₀ + R (ĝ + p) with p ⟂ ĝ and R > 0 free: sin² = ‖p‖²/(1 + ‖p‖²), so the search
minimises ‖p‖ subject to log L(w) ≤ log ε.

What it bounds. Every point it reports lies in S(ε), so each angle is at least the true one and the
width is found from below: d*_cone estimates, from above, the geometric lower bound D − w² below
which Gordon's theorem says that random subspaces miss. Training gives upper bounds on d*. So the
two bracket d*. On a quadratic or a linearised network the cone is convex, the search is exact up
to its convergence, and d*_cone is the threshold itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from subspan.canonical import tensor_digest
from subspan.errors import InputError, check_confidence, invalid, unknown, whole
from subspan.goals import Goal, parse_goal
from subspan.problems.base import AbstractProblem
from subspan.problems.precision import full_precision
from subspan.streams import derive, normals, stream
from subspan.theory.angle_search import AngleSearch, LossAndGradient
from subspan.theory.arrays import ArrayLike, positives
from subspan.theory.curvature import losses_and_gradients, subset_rows, weights_of
from subspan.theory.gordon import certified_miss_dim, mean_norm, polar_certified_miss_dim
from subspan.theory.mean import MeanEstimate
from subspan.theory.statistical_dimension import Transition
from subspan.trials.stores.base import RecordStore
from subspan.trials.stores.notes import Kind, keep, recall

RADII = (2.0, 6.0)
_AGREE = 0.05
_STATIONARY = 0.1


@dataclass(frozen=True)
class ConeEstimate(MeanEstimate):
    """The mean of D·sin²(angle) over directions, with what the search saw.

    `value` is the centre of the transition, where half of the subspaces hit; `at_delta` gives the
    d at 1 − δ, which is what `threshold` measures.

    Status is `"ok"`; `"radii disagree"` where the mean over directions differs by more than 5 %
    between starting radii; `"not converged"` where `residual` is above 0.1, so that the value may
    be far too high (both ask for more steps); `"not reached"` where no radius led a direction into
    S(ε) (the level may be out of the network's reach): such directions are left out.

    Args:
        values: D·sin²(angle) per direction, the least over starting radii.
        by_radius: mean over directions, per starting radius; NaN where none reached S(ε).
        ambient_dim: D.
        residual: how far the best points are from stationary, mean over directions. At a minimum of
            the angle the ray from w₀ touches S(ε), so ∇L ⟂ w − w₀, and what g lacks to the ray is
            parallel to ∇L, so ⟨∇L, g⟩²/‖∇L‖² is the value. Of the cosine in the first and the
            difference in the second, as a share of the mean value, the larger counts.
        one_start: whether every direction started from the same w₀, as with `at`, on a quadratic or
            on a linearised network. Only then is there one width, which a certificate is about.
    """

    values: tuple[float, ...] = ()
    by_radius: tuple[float, ...] = ()
    ambient_dim: int = 0
    residual: float = 0.0
    one_start: bool = False

    @property
    def width(self) -> float:
        """Estimate, from below, of the Gaussian width of proj_{w₀}(S(ε)), or its mean over w₀."""
        cosines = np.sqrt(1 - np.array(self.values) / self.ambient_dim)
        return float(math.sqrt(self.ambient_dim) * cosines.mean())

    @property
    def polar_width(self) -> float:
        """Mean distance of g to the cone; see `gordon.polar_escape_probability`."""
        return float(np.sqrt(np.array(self.values)).mean())

    def certified_miss_dim(self, form: Literal["gordon", "sharp", "polar"]) -> int | None:
        """Return the largest d that is certified to miss with the estimate's confidence.

        It is about subspaces through one w₀, so None (no certificate) where `one_start` is false:
        each w₀ has a width of its own, and the theorem's bound on the chance of a hit is convex in
        it, so that at the mean width it is below the mean of the bounds. How often a random w₀ has
        a wide cone, a few directions with a start each cannot tell. Give `at`.

        Two things can fail: the width is a mean over few directions, and the theorem bounds a
        probability. Each is given half of 1 − confidence: the first by the conservative end of
        Student's interval over directions (the widest width, or the least `polar_width`), the
        second by the theorem at (1 + confidence)/2. It holds as far as the search found the angles,
        so None where the status is not `"ok"`; `"polar"` is about the cone's
        convex hull.

        Args:
            form: `"gordon"` or `"sharp"`, the constants of `gordon.certified_miss_dim`, or
                `"polar"`, `gordon.polar_certified_miss_dim`.

        Raises:
            InputError: another form.
        """
        if form not in ("gordon", "sharp", "polar"):
            raise unknown("form", str(form), ["gordon", "sharp", "polar"])
        if not (self.ok and self.one_start):
            return None
        distances, bound = np.sqrt(np.array(self.values)), (1 + self.confidence) / 2
        if form == "polar":
            least = MeanEstimate.of(distances, self.confidence).low or 0.0
            return polar_certified_miss_dim(max(0.0, least), bound)
        widths = np.sqrt(self.ambient_dim - distances**2)
        widest = MeanEstimate.of(widths, self.confidence).high or 0.0
        most = min(widest, mean_norm(self.ambient_dim))
        return certified_miss_dim(most, self.ambient_dim, bound, constants=form)

    @property
    def transition(self) -> Transition:
        """The predicted success curve, with the largest spread that a convex cone can have."""
        return Transition.from_stat_dim(self.ambient_dim - self.mean, self.ambient_dim)

    def at_delta(self, delta: float = 0.1) -> float:
        """Return the d of success probability 1 − δ, which a measured threshold is; see `value`.

        The `value` is the centre of the transition (P = ½). The spread is the largest that a
        convex cone of this centre can have, so the distance between the two is at most this.
        """
        return self.transition.threshold(self.ambient_dim, delta)

    @classmethod
    def of_json(cls, data: Mapping[str, Any]) -> ConeEstimate:
        """Return the estimate that `to_json` wrote.

        Raises:
            InputError, TypeError, ValueError: it is none.
        """
        values, radii = (tuple(map(_number, data.get(n, ()))) for n in ("values", "by_radius"))
        return cls(**{**data, "values": values, "by_radius": radii})

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain JSON data; null for a radius that reached nothing."""
        means = [None if math.isnan(mean) else mean for mean in self.by_radius]
        return {**super().to_json(), "values": list(self.values), "by_radius": means}


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


CONE = Kind("cone", ConeEstimate.of_json)


@full_precision()
def cone_threshold(
    problem: AbstractProblem,
    goal: Goal | str,
    seed: int = 0,
    *,
    at: ArrayLike | None = None,
    directions: int = 8,
    radii: Sequence[float] = RADII,
    steps: int = 1000,
    rows: int | None = None,
    batch_size: int | None = None,
    confidence: float = 0.95,
    store: RecordStore | str | Path | None = None,
) -> ConeEstimate:
    """Estimate where random subspaces through w₀ start to meet S(ε), without training in any.

    Args:
        problem: any differentiable problem.
        goal: a loss goal on the training set.
        seed: of the directions and, without `at`, of the initial weights: direction k starts from
            `init(derive(seed, "init", k))`, as trial k of a threshold does.
        at: w₀ for every direction, shape (D,) (e.g. the weights after burn-in). A certificate
            needs it, see `ConeEstimate.certified_miss_dim`.
        directions: how many g, at least 2.
        radii: starting radii as multiples of ‖w₀‖; every direction starts from each.
        steps: Adam steps per search.
        rows: use a random subset of that many training rows (S(ε) is then that of the subset).
        batch_size: rows per step; None takes all (or all of the subset). Points found with
            minibatches are checked on all the rows used, at every tenth step, and the last fifth of
            the steps (at least 50) takes all of them, in chunks.
        confidence: of the interval over directions.
        store: where the estimate is noted, beside trials; what is noted is not computed again, and
            `subspan report` shows it.

    Returns:
        A `ConeEstimate`.

    Raises:
        InputError: the goal is not a training-loss goal, or an argument is out of range.
    """
    goal = parse_goal(goal)
    if goal.metric != "loss" or goal.split != "train" or goal.level <= 0:
        raise invalid(
            "goal",
            expected="a training loss above 0, such as 'loss<=0.1'",
            got=str(goal),
            remedy="predict_threshold finds the loss at which training meets a goal: `.goal`.",
        )
    directions = whole("directions", directions, low=2)
    steps = whole("steps", steps, low=1)
    if batch_size is not None:
        batch_size = whole("batch_size", batch_size, low=1)
    radii = positives("radii", radii)
    if not radii:
        raise invalid("radii", expected="at least one", got="none")
    check_confidence(confidence)
    dim = problem.ambient_dim
    indices = subset_rows(problem, rows, seed)
    if at is None:
        starts = torch.stack([problem.init(derive(seed, "init", k)) for k in range(directions)])
    else:
        starts = weights_of(problem, "at", at).expand(directions, dim)
    asking = {
        "problem": problem.identity,
        "dtype": str(problem.dtype),
        "goal": str(goal),
        "seed": int(seed),
        "at": None if at is None else tensor_digest(starts[0]),
        **{"directions": directions, "radii": list(radii), "steps": steps},
        **{"rows": rows, "batch_size": batch_size, "confidence": confidence},
    }
    if (known := recall(store, CONE, asking)) is not None:
        return known
    g = torch.stack(
        [torch.from_numpy(normals(seed, "cone", k, count=dim)) for k in range(directions)]
    ).to(problem.device, problem.dtype)
    norms = starts.norm(dim=1)
    norms = torch.where(norms > 0, norms, torch.ones_like(norms))

    def full(weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return losses_and_gradients(problem, weights, indices)

    minibatch = None
    if batch_size is not None:
        minibatch = _minibatches(problem, indices, batch_size, seed)
    count = len(radii)
    first = torch.cat([radius * norms for radius in radii])
    search = AngleSearch(
        starts.repeat(count, 1), g.repeat(count, 1), first, goal.level, steps, directions
    )
    found = search.run(full, minibatch)
    tangents = found.double().cpu().numpy().reshape(count, directions)  # tan² or inf
    inside = full(starts)[0].cpu().numpy() <= goal.level
    tangents[:, inside] = 0.0
    with np.errstate(invalid="ignore"):
        values = dim * np.where(np.isinf(tangents), np.nan, tangents / (1 + tangents))
    cosines, heights = search.stationarity(full)
    cosines[:, inside], heights[:, inside] = 0.0, 0.0
    one_start = bool((starts == starts[0]).all())
    estimate = _estimate(values, dim, goal, confidence, (cosines, dim * heights), one_start)
    keep(store, CONE, asking, estimate)
    return estimate


def _residual(
    values: np.ndarray, best: np.ndarray, stationarity: tuple[np.ndarray, np.ndarray]
) -> float:
    """Return the mean over directions of what keeps the better radius from being stationary."""
    cosines, heights = (
        np.take_along_axis(a, np.nanargmin(values, axis=0)[None], axis=0)[0] for a in stationarity
    )
    gaps = np.abs(heights - best) / max(float(best.mean()), 1.0)
    return float(np.maximum(np.abs(cosines), gaps).mean())


def _estimate(
    values: np.ndarray,
    dim: int,
    goal: Goal,
    confidence: float,
    stationarity: tuple[np.ndarray, np.ndarray],
    one_start: bool = False,
) -> ConeEstimate:
    reached = ~np.isnan(values).all(axis=0)
    if reached.sum() < 2:
        raise InputError(
            f"goal: expected a level that the search can reach, got {goal}, reached in "
            f"{reached.sum()} of {len(reached)} directions. Try more steps or a higher level."
        )
    best = np.nanmin(values[:, reached], axis=0)
    by_radius = [float(np.nanmean(row)) if not np.isnan(row).all() else math.nan for row in values]
    both = ~np.isnan(values).any(axis=0)
    means = values[:, both].mean(axis=1) if both.any() else np.array([math.nan])
    cosines, heights = (a[:, reached] for a in stationarity)
    residual = _residual(values[:, reached], best, (cosines, heights))
    status = "ok"
    if not reached.all():
        status = "not reached"
    elif not residual <= _STATIONARY:
        status = "not converged"
    elif not np.ptp(means) <= _AGREE * max(float(best.mean()), 1.0):
        status = "radii disagree"
    mean = MeanEstimate.of(best, confidence, status=status)
    return ConeEstimate(
        mean.value, max(0.0, mean.low or 0.0), min(float(dim), mean.high or 0.0),
        confidence, len(best), status, mean.standard_error, 0.0,
        tuple(map(float, best)), tuple(by_radius), dim, residual, one_start,
    )  # fmt: skip


def _minibatches(
    problem: AbstractProblem, indices: torch.Tensor | None, batch_size: int, seed: int
) -> LossAndGradient:
    rng = stream(seed, "cone-batches")
    pool = np.arange(problem.train_size) if indices is None else indices.cpu().numpy()

    def value_and_gradient(weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rows = rng.choice(pool, min(batch_size, len(pool)), replace=False)
        return losses_and_gradients(problem, weights, torch.from_numpy(rows).to(problem.device))

    return value_and_gradient
