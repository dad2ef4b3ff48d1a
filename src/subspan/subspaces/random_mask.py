"""`RandomMask`: d weights chosen at random, the control of every ticket."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch

from subspan.problems.base import AbstractProblem
from subspan.streams import uniforms
from subspan.subspaces.base import Draw, Method, Subspace
from subspan.subspaces.pruning import check_pruning, keep_highest, layout_of, mask_map, masked


class RandomMask(Method):
    """w₀ ⊙ mask, with d weights kept at random and trained. A seed stores it.

    Args:
        scope: `"global"`, or `"layer"`: the same fraction of every tensor.
        biases: whether biases and norm parameters may be pruned; if not, they count towards d.

    Raises:
        InputError: the scope is unknown, or `biases` no truth value.
    """

    def __init__(
        self, scope: Literal["global", "layer"] = "global", *, biases: bool = True
    ) -> None:
        check_pruning(scope, biases)
        self.scope, self.biases = scope, biases

    def config(self) -> dict[str, Any]:
        """Return plain JSON data that fixes the method."""
        return {"name": "random-mask", "scope": self.scope, "biases": self.biases}

    def max_dim(self, problem: AbstractProblem) -> int:
        """Return D − 1: a mask prunes something."""
        return problem.ambient_dim - 1

    def subspaces(self, problem: AbstractProblem, draws: Sequence[Draw]) -> list[Subspace]:
        """Return one subspace per draw."""
        layout = layout_of(problem, "random-mask")
        made = []
        for draw in draws:
            scores = torch.from_numpy(uniforms(draw.map_seed, "mask", count=layout.ambient_dim))
            kept = keep_highest(scores, draw.dim, layout, scope=self.scope, biases=self.biases)
            made.append(
                Subspace(masked(problem.init(draw.init_seed), kept), mask_map(kept, problem))
            )
        return made

    def __repr__(self) -> str:
        return f"RandomMask(scope={self.scope!r})"
