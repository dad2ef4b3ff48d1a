"""`PruneAtInit`: masks chosen before any training, by SNIP or SynFlow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Self

import torch
from torch import nn
from torch.func import functional_call

from subspan.errors import InputError, unknown, whole
from subspan.problems.base import AbstractProblem
from subspan.problems.module import Problem
from subspan.subspaces.base import Draw, Method, Subspace
from subspan.subspaces.pruning import (
    check_pruning,
    keep_highest,
    layout_of,
    mask_bits,
    mask_map,
    masked,
)
from subspan.training.batches import Batches

CRITERIA = ("snip", "synflow")
_NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.Embedding)


class PruneAtInit(Method):
    """w₀ ⊙ mask with the d weights that matter most at the initialisation, before training.

    - `"snip"` (Lee et al., 2019): |w ∂L/∂w| on minibatches at w₀, one shot.
    - `"synflow"` (Tanaka et al., 2020): w ∂R/∂w, R = the summed outputs of the network with |w|
      on an input of ones, pruned over `iterations` on an exponential schedule; sees no data.

    Args:
        criterion: `"snip"` or `"synflow"`.
        batches: minibatches that SNIP averages its gradient over; each is charged as a step.
        iterations: of SynFlow, each charged as a step (it costs one row's gradient).
        scope: `"global"` or `"layer"`; see `keep_highest`.
        biases: whether biases may be pruned; if not, they count towards d. Biases that start at
            zero score zero, and go first.
        batch_size: of SNIP's minibatches.

    Raises:
        InputError: an argument is out of range.
    """

    def __init__(
        self,
        criterion: Literal["snip", "synflow"],
        *,
        batches: int = 1,
        iterations: int = 100,
        scope: Literal["global", "layer"] = "global",
        biases: bool = True,
        batch_size: int = 128,
    ) -> None:
        if criterion not in CRITERIA:
            raise unknown("criterion", str(criterion), list(CRITERIA))
        check_pruning(scope, biases)
        self.criterion, self.scope, self.biases = criterion, scope, biases
        self.batches = whole("batches", batches, low=1)
        self.iterations = whole("iterations", iterations, low=1)
        self.batch_size = whole("batch_size", batch_size, low=1)

    def config(self) -> dict[str, Any]:
        """Return plain JSON data that fixes the method."""
        own: dict[str, Any] = (
            {"batches": self.batches, "batch_size": self.batch_size}
            if self.criterion == "snip"
            else {"iterations": self.iterations}
        )
        return {"name": self.criterion, **own, "scope": self.scope, "biases": self.biases}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Make the method again; its name is the criterion."""
        return cls(config["name"], **{k: v for k, v in config.items() if k != "name"})

    def search_steps(self, problem: AbstractProblem) -> int:
        """Return SNIP's minibatches or SynFlow's iterations."""
        return self.batches if self.criterion == "snip" else self.iterations

    def max_dim(self, problem: AbstractProblem) -> int:
        """Return D − 1: a mask prunes something."""
        return problem.ambient_dim - 1

    def subspaces(self, problem: AbstractProblem, draws: Sequence[Draw]) -> list[Subspace]:
        """Return one subspace per draw.

        Raises:
            InputError: a mask of everything or nothing; SynFlow on a network with norm layers.
        """
        layout_of(problem, self.criterion)
        assert isinstance(problem, Problem)
        choose: Callable[[Problem, torch.Tensor, Draw], torch.Tensor] = (
            self._snip if self.criterion == "snip" else self._synflow
        )
        made = []
        for draw in draws:
            start = problem.init(draw.init_seed)
            self._keep(problem, torch.zeros(problem.ambient_dim), draw.dim)  # check d first
            kept = choose(problem, start, draw)
            bits = mask_bits(draw.dim, problem.ambient_dim)
            steps = self.search_steps(problem)
            made.append(Subspace(masked(start, kept), mask_map(kept, problem), steps, bits))
        return made

    def _keep(self, problem: Problem, scores: torch.Tensor, keep: int) -> torch.Tensor:
        return keep_highest(scores, keep, problem.layout, scope=self.scope, biases=self.biases)

    def _snip(self, problem: Problem, start: torch.Tensor, draw: Draw) -> torch.Tensor:
        order = Batches(draw.search_seed, problem.train_size, self.batch_size)
        total = torch.zeros_like(start)
        for step in range(self.batches):
            rows = order.at(step).to(problem.device)
            total += problem.grads(start[None], problem.batch(rows[None]))[1][0]
        return self._keep(problem, (start * total).abs(), draw.dim)

    def _synflow(self, problem: Problem, start: torch.Tensor, draw: Draw) -> torch.Tensor:
        if any(isinstance(m, _NORMS) for m in problem.module.modules()):
            raise InputError(
                "criterion: expected a network without norm layers or embeddings for 'synflow', "
                f"got {problem.name!r}. Choose 'snip'."
            )
        magnitude = start.to(torch.float64).abs()
        row = problem.batch(torch.zeros(1, dtype=torch.int64, device=problem.device))[0]
        ones = torch.ones_like(row, dtype=torch.float64)  # flows overflow float32 in deep networks
        size, kept = problem.ambient_dim, torch.arange(problem.ambient_dim)
        for i in range(1, self.iterations + 1):
            leaf = masked(magnitude, kept).requires_grad_()
            outputs = functional_call(problem.module, problem.layout.split(leaf), (ones,))
            (gradient,) = torch.autograd.grad(outputs.sum(), leaf)
            scores = torch.full_like(magnitude, -torch.inf)
            at = kept.to(problem.device)
            scores[at] = (leaf.detach() * gradient)[at]
            share = (draw.dim / size) ** (i / self.iterations)
            keep = draw.dim if i == self.iterations else min(size - 1, round(size * share))
            kept = self._keep(problem, scores, min(keep, len(kept)))
        return kept

    def __repr__(self) -> str:
        return f"PruneAtInit({self.criterion!r})"
