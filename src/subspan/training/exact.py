"""`solve_exactly`: the minimum over a subspace by least squares, no optimiser in between."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

from subspan.errors import InputError
from subspan.metrics import qualified
from subspan.problems.analytic import Quadratic
from subspan.problems.base import AbstractProblem
from subspan.training.outcome import CurvePoint, Outcome, TrainResult

if TYPE_CHECKING:
    from subspan.training.ensemble import AffineSubspace


def solve_exactly(problem: AbstractProblem, subspace: AffineSubspace) -> TrainResult:
    """Return the least loss over {offset + A θ}, and the loss at the offset before it.

    Raises:
        InputError: the problem is not a quadratic.
    """
    if not isinstance(problem, Quadratic):
        raise InputError(
            f"optimizer: expected 'exact' on an analytic problem only, got it on {problem.name!r}. "
            "Choose 'adam' or 'sgd'."
        )
    clock = time.perf_counter()
    theta = problem.minimum_in_subspace(subspace.offset, subspace.map)
    offset = subspace.offset.double().cpu()
    weights = offset + subspace.map.to("cpu", torch.float64)(theta)
    value = float(problem.to("cpu", torch.float64).loss(weights))
    start = float(problem.to("cpu", torch.float64).loss(offset))
    curve = [
        CurvePoint(step, {qualified("loss", "train"): loss})
        for step, loss in ((0, start), (1, value))
    ]
    return TrainResult(Outcome.FINISHED, curve, 1, theta, time.perf_counter() - clock)
