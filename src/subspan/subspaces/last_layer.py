"""`LastLayer`: train the last weight matrix and its bias alone, or d random directions of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from subspan import maps
from subspan.errors import InputError, unknown
from subspan.problems.base import AbstractProblem
from subspan.problems.layout import Layout
from subspan.subspaces.base import Draw, Method, Subspace
from subspan.subspaces.pruning import layout_of, mask_map


class LastLayer(Method):
    """w₀ + A θ with A into the last layer's weights: all of them where d is their number.

    The last layer is the last tensor of two or more axes and all after it.

    Args:
        map: the random map inside the layer where d is smaller than the layer.
    """

    def __init__(self, map: str = "hadamard") -> None:
        if map not in maps.names():
            raise unknown("map", map, maps.names())
        self.map = map

    def config(self) -> dict[str, Any]:
        """Return plain JSON data that fixes the method."""
        return {"name": "last-layer", "map": self.map}

    def max_dim(self, problem: AbstractProblem) -> int:
        """Return the number of weights in the last layer."""
        return len(last_layer_positions(layout_of(problem, "last-layer")))

    def subspaces(self, problem: AbstractProblem, draws: Sequence[Draw]) -> list[Subspace]:
        """Return one subspace per draw.

        Raises:
            InputError: more dims than the layer has weights.
        """
        positions = last_layer_positions(layout_of(problem, "last-layer"))
        return [
            within(problem, positions, draw, self.map, "weights of the last layer")
            for draw in draws
        ]

    def __repr__(self) -> str:
        return f"LastLayer(map={self.map!r})"


def last_layer_positions(layout: Layout) -> torch.Tensor:
    """Return the positions of the last matrix and of the tensors after it."""
    matrices = [i for i, shape in enumerate(layout.shapes) if len(shape) > 1]
    first = matrices[-1] if matrices else 0
    return torch.arange(layout.slices[layout.names[first]].start, layout.ambient_dim)


def within(
    problem: AbstractProblem, positions: torch.Tensor, draw: Draw, map_name: str, what: str
) -> Subspace:
    """Return a random d-dimensional subspace of the chosen weights, through w₀.

    Where d is their number it is all of them, each its own coordinate.

    Raises:
        InputError: more dims than chosen weights.
    """
    if draw.dim > len(positions):
        raise InputError(
            f"dim: expected at most {len(positions)}, the {what} of {problem.name!r}, got "
            f"{draw.dim}. Choose a smaller d, or another method."
        )
    chosen = mask_map(positions, problem)
    start = problem.init(draw.init_seed)
    if draw.dim == len(positions):
        return Subspace(start, chosen)
    inner = maps.make(
        map_name,
        dim=draw.dim,
        ambient_dim=len(positions),
        seed=draw.map_seed,
        device=problem.device,
        dtype=problem.dtype,
    )
    return Subspace(start, maps.ComposedMap(chosen, inner))
