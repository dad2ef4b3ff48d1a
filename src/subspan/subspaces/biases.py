"""`BiasesAndNorms`: train biases and norm parameters alone, or d random directions of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from subspan.errors import InputError
from subspan.problems.base import AbstractProblem
from subspan.subspaces.base import Draw, Method, Subspace
from subspan.subspaces.last_layer import within
from subspan.subspaces.pruning import layout_of, vector_positions
from subspan.subspaces.random_affine import check_map


class BiasesAndNorms(Method):
    """w₀ + A θ with A into the biases and norm parameters (all tensors of one axis).

    Source: Ben Zaken et al. (2022, "BitFit"); Frankle et al. (2021, norm parameters alone).

    Args:
        map: the random map among them where d is smaller than their number.

    Raises:
        InputError: the map is unknown.
    """

    def __init__(self, map: str = "hadamard") -> None:
        check_map(map)
        self.map = map

    def config(self) -> dict[str, Any]:
        """Return plain JSON data that fixes the method."""
        return {"name": "biases", "map": self.map}

    def max_dim(self, problem: AbstractProblem) -> int:
        """Return the number of biases and norm parameters."""
        count = len(vector_positions(layout_of(problem, "biases")))
        if not count:
            raise InputError(
                f"method: expected a network with biases or norm parameters for 'biases', got "
                f"{problem.name!r}, which has none."
            )
        return count

    def subspaces(self, problem: AbstractProblem, draws: Sequence[Draw]) -> list[Subspace]:
        """Return one subspace per draw.

        Raises:
            InputError: more dims than there are biases and norm parameters.
        """
        self.max_dim(problem)
        positions = vector_positions(layout_of(problem, "biases"))
        what = "biases and norm parameters"
        return [within(problem, positions, draw, self.map, what) for draw in draws]

    def __repr__(self) -> str:
        return f"BiasesAndNorms(map={self.map!r})"
