"""`FixedFactorLowRank`: low-rank updates B A with A fixed and random, at an exact count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from subspan import maps
from subspan.errors import InputError
from subspan.problems.base import AbstractProblem
from subspan.problems.layout import Layout
from subspan.subspaces.base import Draw, Method, Subspace
from subspan.subspaces.pruning import layout_of
from subspan.subspaces.random_affine import check_map


class FixedFactorLowRank(Method):
    """w₀ + vec(B_l A_l) in every weight matrix l, A_l fixed and random, B_l trained from 0.

    LoRA (Hu et al., 2022) trains both factors, so its updates are no affine subspace; with A_l
    frozen (LoRA-FA; Zhang et al., 2023) they are. The rank r is the smallest whose Σ_l out_l ·
    min(r, fan_in_l) numbers reach d; where they exceed d, θ moves B in d random directions, so
    that the count is exactly d. Biases and norm parameters stay as they are.

    Args:
        map: the random map into the entries of B.

    Raises:
        InputError: the map is unknown.
    """

    def __init__(self, map: str = "hadamard") -> None:
        check_map(map)
        self.map = map

    def config(self) -> dict[str, Any]:
        """Return plain JSON data that fixes the method."""
        return {"name": "low-rank-fixed-factor", "map": self.map}

    def max_dim(self, problem: AbstractProblem) -> int:
        """Return the number of weights in matrices: all of them at full rank."""
        return sum(m.out * m.fan_in for m in _matrices(layout_of(problem, "low-rank-fixed-factor")))

    def subspaces(self, problem: AbstractProblem, draws: Sequence[Draw]) -> list[Subspace]:
        """Return one subspace per draw.

        Raises:
            InputError: more dims than the matrices have weights.
        """
        matrices = _matrices(layout_of(problem, "low-rank-fixed-factor"))
        made = []
        for draw in draws:
            if draw.dim > self.max_dim(problem):
                raise InputError(
                    f"dim: expected at most {self.max_dim(problem)}, the weights in matrices of "
                    f"{problem.name!r}, got {draw.dim}. Choose a smaller d, or another method."
                )
            outer: maps.LinearMap = maps.LowRankMap.random(
                matrices,
                rank_for(matrices, draw.dim),
                problem.ambient_dim,
                draw.map_seed,
                device=problem.device,
                dtype=problem.dtype,
            )
            if outer.dim > draw.dim:
                inner = maps.make(
                    self.map, dim=draw.dim, ambient_dim=outer.dim, seed=draw.map_seed
                ).to(problem.device, problem.dtype)
                outer = maps.ComposedMap(outer, inner)
            made.append(Subspace(problem.init(draw.init_seed), outer))
        return made

    def __repr__(self) -> str:
        return f"FixedFactorLowRank(map={self.map!r})"


def rank_for(matrices: Sequence[maps.Matrix], dim: int) -> int:
    """Return the smallest rank whose update has at least `dim` numbers."""
    rank = 1
    while sum(m.out * min(rank, m.fan_in) for m in matrices) < dim:
        rank += 1
    return rank


def _matrices(layout: Layout) -> list[maps.Matrix]:
    shapes = dict(zip(layout.names, layout.shapes, strict=True))
    return maps.matrices_of(shapes, {name: s.start for name, s in layout.slices.items()})
