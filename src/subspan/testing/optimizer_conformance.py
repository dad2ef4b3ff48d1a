"""The laws of an optimiser, as one check: that it optimises, and that its facts are true."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from subspan.optimizers import OptimizerFacts, find
from subspan.problems.base import AbstractProblem
from subspan.spec import TrainSpec
from subspan.streams import normals
from subspan.subspaces.base import Draw, Subspace
from subspan.subspaces.random_affine import RandomAffine
from subspan.testing.laws import law
from subspan.training.ensemble import TrainResult, train
from subspan.training.optimizers import Optimizer
from subspan.training.outcome import Outcome

_STEPS = 12


def check_optimizer(name: str, problem: AbstractProblem, *, dim: int = 6, **fields: Any) -> None:
    """Raise `AssertionError` unless an optimiser optimises, and its facts are true.

    Args:
        name: as entered in `subspan.optimizers.OPTIMIZERS`.
        problem: one that it trains; several batches of 16 rows, unless it takes the full batch.
            Checked in float64.
        dim: d.
        fields: of the `TrainSpec`, such as an `lr` that suits it.
    """
    facts = find(name)
    law(TrainSpec(name).optimizer == name, "a spec takes its name")
    usual = TrainSpec(name)
    law(not facts.full_batch or usual.batch_size is None, "of the full batch, batch_size is None")
    law(facts.steps is None or usual.steps == facts.steps, "its steps stand in the spec")
    problem = problem.to(dtype=torch.float64)
    spec = TrainSpec(
        **{"optimizer": name, "steps": _STEPS, "batch_size": 16, "dtype": "float64", **fields}
    )
    if facts.kind == "steps":
        _check_steps(facts, spec)
    subspaces = RandomAffine().subspaces(problem, [Draw(dim, 0, r) for r in range(3)])
    results = train(problem, subspaces, spec, (1, 2, 3))
    for subspace, result in zip(subspaces, results, strict=True):
        _check_result(problem, subspace, spec, facts, result)
    again = train(problem, subspaces, spec, (1, 2, 3))
    law(_thetas(again) == _thetas(results), "the same training gives the same θ, to the bit")
    for i in range(3):
        alone = train(problem, subspaces[i : i + 1], spec, (i + 1,))
        law(_thetas(alone) == _thetas(results[i : i + 1]), "alone, a trial gives the same θ")
    _check_facts(problem, subspaces, spec, facts, results)


def _check_steps(facts: OptimizerFacts, spec: TrainSpec) -> None:
    """Hold an `Optimizer` to its own contract, on numbers without a problem."""
    gradients = torch.from_numpy(normals(0, "optimizer", count=_STEPS * 5)).reshape(_STEPS, 5)

    def path(columns: Sequence[int], keep_at: int = _STEPS) -> torch.Tensor:
        theta = torch.zeros(5, dtype=torch.float64)
        optimizer: Optimizer = facts.load()(theta, spec)
        picks = torch.tensor(columns)
        for i, gradient in enumerate(gradients):
            if i == keep_at:
                theta = theta[picks].clone()
                optimizer.keep(picks)
            place = theta.data_ptr()
            optimizer.step(theta, gradient if i < keep_at else gradient[picks], 0.01)
            law(theta.data_ptr() == place, "a step is taken in place")
        return theta if keep_at < _STEPS else theta[picks]

    whole = path([1, 3])
    law(bool(torch.isfinite(whole).all()), "θ is finite")
    law(bool((whole != 0).all()), "a step moves θ")
    law(torch.equal(path([1, 3], _STEPS // 2), whole), "keep leaves the others' steps as they were")


def _check_result(
    problem: AbstractProblem,
    subspace: Subspace,
    spec: TrainSpec,
    facts: OptimizerFacts,
    result: TrainResult,
) -> None:
    law(result.theta.shape == (subspace.map.dim,), "θ has shape (d,)")
    law(result.outcome is Outcome.FINISHED, f"it finishes, and does not end {result.outcome}")
    batch = problem.batch()
    start = float(problem.loss(subspace.offset, batch))
    theta = result.theta.to(subspace.offset.dtype)
    end = float(problem.loss(subspace.offset + subspace.map(theta), batch))
    law(end < start, f"the loss falls ({start:.4g} to {end:.4g})")
    law(bool(result.curve), "it is evaluated")
    seen = result.curve[-1].train_loss
    law(abs(seen - end) <= 1e-9 * max(1.0, abs(end)), "the last evaluation is of the θ it gives")
    steps = [point.step for point in result.curve]
    law(steps == sorted(steps) and steps[-1] == result.steps, "the curve ends at the last step")
    most = spec.total_steps(problem.train_size)
    law(result.steps <= most, "it takes no more steps than it is given")
    if not facts.ends_early:
        law(result.steps == most, "it takes all its steps, unless `ends_early`")


def _check_facts(
    problem: AbstractProblem,
    subspaces: Sequence[Subspace],
    spec: TrainSpec,
    facts: OptimizerFacts,
    results: Sequence[TrainResult],
) -> None:
    other = train(problem, subspaces, spec.replace(lr=spec.lr / 2), (1, 2, 3))
    law((_thetas(other) != _thetas(results)) == facts.has_lr, "`has_lr` says whether lr counts")
    dealt = train(problem, subspaces, spec, (4, 5, 6))
    batches = spec.batch_size is not None and facts.kind == "steps" and problem.train_size > 0
    law(
        (_thetas(dealt) != _thetas(results)) == batches,
        "the order of batches counts unless it takes the full batch or none",
    )
    if facts.exact:
        batch = problem.batch()
        for subspace, result in zip(subspaces, results, strict=True):
            theta = result.theta.to(subspace.offset.dtype).requires_grad_()
            loss = problem.loss(subspace.offset + subspace.map(theta), batch)
            slope = torch.autograd.grad(loss, theta)[0]
            law(float(slope.abs().max()) < 1e-8, "where it is exact, the gradient is 0 at its θ")


def _thetas(results: Sequence[TrainResult]) -> list[list[float]]:
    return [result.theta.tolist() for result in results]
