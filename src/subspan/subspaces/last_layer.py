"""`LastLayer`: train the last weight matrix and its bias alone, or d random directions of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from subspan import maps
from subspan.errors import InputError, invalid, unknown
from subspan.problems.base import AbstractProblem
from subspan.problems.layout import Layout
from subspan.subspaces.base import Draw, Method, Subspace
from subspan.subspaces.pruning import layout_of, mask_map
from subspan.subspaces.random_affine import check_map


class LastLayer(Method):
    """w₀ + A θ with A into the last layer's weights: all of them where d is their number.

    The last layer is the last tensor of two or more axes and all after it, in the order in which
    the module registers its tensors. Where that is not the order of the forward pass, e.g. because
    the head is made first, name the layer.

    Args:
        map: the random map inside the layer where d is smaller than the layer.
        layer: name of the submodule (or tensor) to train, e.g. `"head"`; None: the last.

    Raises:
        InputError: the map is unknown, or the layer's name no text.
    """

    def __init__(self, map: str = "hadamard", *, layer: str | None = None) -> None:
        check_map(map)
        if layer is not None and not isinstance(layer, str):
            raise invalid("layer", expected="the name of a submodule, or None", got=repr(layer))
        self.map, self.layer = map, layer

    def config(self) -> dict[str, Any]:
        """Return plain JSON data that fixes the method."""
        named = {} if self.layer is None else {"layer": self.layer}
        return {"name": "last-layer", "map": self.map, **named}

    def max_dim(self, problem: AbstractProblem) -> int:
        """Return the number of weights in the layer.

        Raises:
            InputError: the network has no layer of that name.
        """
        return len(self._positions(problem))

    def subspaces(self, problem: AbstractProblem, draws: Sequence[Draw]) -> list[Subspace]:
        """Return one subspace per draw.

        Raises:
            InputError: more dims than the layer has weights, or no layer of that name.
        """
        positions = self._positions(problem)
        what = f"weights of {'the last layer' if self.layer is None else repr(self.layer)}"
        return [within(problem, positions, draw, self.map, what) for draw in draws]

    def _positions(self, problem: AbstractProblem) -> torch.Tensor:
        layout = layout_of(problem, "last-layer")
        if self.layer is None:
            return last_layer_positions(layout)
        return layer_positions(layout, self.layer)

    def __repr__(self) -> str:
        named = "" if self.layer is None else f", layer={self.layer!r}"
        return f"LastLayer(map={self.map!r}{named})"


def last_layer_positions(layout: Layout) -> torch.Tensor:
    """Return the positions of the last matrix and of the tensors after it."""
    matrices = [i for i, shape in enumerate(layout.shapes) if len(shape) > 1]
    first = matrices[-1] if matrices else 0
    return torch.arange(layout.slices[layout.names[first]].start, layout.ambient_dim)


def layer_positions(layout: Layout, name: str) -> torch.Tensor:
    """Return the positions of the tensors of a submodule, or of the one tensor of that name.

    Raises:
        InputError: the network has neither.
    """
    inside = [n for n in layout.names if n == name or n.startswith(f"{name}.")]
    if not inside:
        raise unknown("layer", name, sorted({n.rpartition(".")[0] or n for n in layout.names}))
    parts = [torch.arange(layout.slices[n].start, layout.slices[n].stop) for n in inside]
    return torch.cat(parts)


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
