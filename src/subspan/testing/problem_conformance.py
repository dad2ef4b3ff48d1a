"""The laws of an `AbstractProblem`, as one check."""

from __future__ import annotations

import math

import torch

from subspan.canonical import canonical_json
from subspan.problems import structure
from subspan.problems.base import AbstractProblem, Batch
from subspan.testing.laws import close, law

_TOLERANCE = 1e-9  # in float64, on numbers of order one


def check_problem(problem: AbstractProblem, *, rows: int = 16, trials: int = 3) -> None:
    """Raise `AssertionError` unless a problem keeps the laws of `AbstractProblem`.

    Args:
        problem: checked in float64.
        rows: of a batch.
        trials: K, weights handled at once.
    """
    problem = problem.to(dtype=torch.float64)
    law(bool(canonical_json(problem.identity)), "identity is plain JSON")
    w = torch.stack([problem.init(seed) for seed in range(trials)])
    law(w.shape == (trials, problem.ambient_dim), "init has shape (D,)")
    law(w.dtype == torch.float64, "to(dtype) reaches init")
    law(torch.equal(problem.init(0), w[0]), "init is a function of its seed")
    batches = [_batch(problem, rows, k) for k in range(trials)]
    stacked = None if batches[0] is None else _batch(problem, rows, *range(trials))
    losses, gradients = problem.grads(w, stacked)
    law(losses.shape == (trials,) and gradients.shape == w.shape, "grads gives (K,) and (K, D)")
    for k in range(trials):
        leaf = w[k].clone().requires_grad_()
        value = problem.loss(leaf, batches[k])
        law(value.shape == (), "loss is a scalar")
        (gradient,) = torch.autograd.grad(value, leaf)
        _close(losses[k], value.detach(), "grads returns the losses")
        _close(gradients[k], gradient, "grads equals a loop of autograd")
        again = problem.loss(w[k], batches[k])
        law(torch.equal(again, value.detach()), "loss is pure")
    _check_training(problem, w, stacked, losses, gradients)
    for split in ("train", "test"):
        many = problem.evaluate_many(w, split)
        law(len(many) == trials, "evaluate_many gives K evaluations")
        for k in range(trials):
            alone = problem.evaluate(w[k], split)
            for one, other in zip(many[k], alone, strict=True):
                same = math.isclose(one, other, rel_tol=1e-9) or (one != one and other != other)
                law(same, "evaluate equals evaluate_many")
    whole = problem.loss(w[0], problem.batch())
    found = torch.tensor(problem.evaluate(w[0]).loss, dtype=torch.float64)
    _close(found, whole.double(), "evaluate over the training set equals loss on all of it")


def _check_training(
    problem: AbstractProblem,
    w: torch.Tensor,
    batch: Batch,
    losses: torch.Tensor,
    gradients: torch.Tensor,
) -> None:
    seeds = list(range(len(w)))
    state = torch.get_rng_state()
    found = problem.train_grads(w, batch, seeds if problem.noisy else [])
    law(torch.equal(torch.get_rng_state(), state), "training leaves the global generator alone")
    if not problem.noisy:
        same = torch.equal(found[0], losses) and torch.equal(found[1], gradients)
        law(same, "train_grads is grads where training draws nothing")
        return
    for k in seeds:
        own = structure.expanded(structure.row(batch, k), 1)
        alone = problem.train_grads(w[k : k + 1], own, [k])
        same = all(torch.equal(one[0], many[k]) for one, many in zip(alone, found, strict=True))
        law(same, "what training draws depends on the seed alone")


def _batch(problem: AbstractProblem, rows: int, *trials: int) -> Batch:
    if not problem.train_size:
        return problem.batch()
    rows = min(rows, problem.train_size)
    picks = [(torch.arange(rows) * (k + 1) + k) % problem.train_size for k in trials]
    return problem.batch(picks[0] if len(picks) == 1 else torch.stack(picks))


def _close(one: torch.Tensor, other: torch.Tensor, text: str) -> None:
    close(one, other, text, _TOLERANCE)
