"""`LastLayer`: train the last weight matrix and its bias alone, or d random directions of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from subspan import maps
from subspan.errors import InputError, invalid, unknown
from subspan.problems.base import AbstractProblem
from subspan.problems.layout import Layout
from subspan.problems.module import Problem
from subspan.subspaces.base import Draw, Method, Subspace
from subspan.subspaces.last_used import last_used
from subspan.subspaces.pruning import layout_of, mask_map
from subspan.subspaces.random_affine import check_map


class LastLayer(Method):
    """w₀ + A θ with A into the last layer's weights: all of them where d is their number.

    The last layer is the last tensor of two or more axes and all after it, in the order in which
    the module registers its tensors. Where the forward pass uses another matrix after it, because
    the head is made first or takes an embedding's weights, it is refused: name the layer. So is a
    last layer that is tied to another, or frozen. A tied layer that is named is trained, and so is
    what it is tied to.

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
            InputError: the network has no layer of that name, or no last layer of its own.
        """
        return len(self._positions(problem))

    def subspaces(self, problem: AbstractProblem, draws: Sequence[Draw]) -> list[Subspace]:
        """Return one subspace per draw.

        Raises:
            InputError: more dims than the layer has weights, no layer of that name, or no last
                layer of its own.
        """
        positions = self._positions(problem)
        what = f"weights of {'the last layer' if self.layer is None else repr(self.layer)}"
        return [within(problem, positions, draw, self.map, what) for draw in draws]

    def _positions(self, problem: AbstractProblem) -> torch.Tensor:
        layout = layout_of(problem, "last-layer")
        assert isinstance(problem, Problem)
        first_names = _first_names(problem.module)
        if self.layer is not None:
            return layer_positions(layout, self.layer, first_names)
        _refuse_shared(problem.module, layout, first_names)
        _refuse_inner(problem, layout)
        return last_layer_positions(layout)

    def __repr__(self) -> str:
        named = "" if self.layer is None else f", layer={self.layer!r}"
        return f"LastLayer(map={self.map!r}{named})"


def last_layer_positions(layout: Layout) -> torch.Tensor:
    """Return the positions of the last matrix and of the tensors after it."""
    first = layout.slices[layout.names[_last_matrix(layout)]]
    return torch.arange(first.start, layout.ambient_dim)


def _last_matrix(layout: Layout) -> int:
    matrices = [i for i, shape in enumerate(layout.shapes) if len(shape) > 1]
    return matrices[-1] if matrices else 0


def layer_positions(layout: Layout, name: str, first_names: Mapping[str, str]) -> torch.Tensor:
    """Return the positions of the tensors of a submodule, or of the one tensor of that name.

    Args:
        layout: of the weights.
        name: of the submodule or tensor.
        first_names: for each name of a parameter, the first name of the same tensor, which is the
            layout's.

    Raises:
        InputError: the network has neither.
    """
    under = [n for n in first_names if n == name or n.startswith(f"{name}.")]
    inside = {first_names[n] for n in under} & set(layout.names)
    if not inside:
        known = [n for n, first in first_names.items() if first in layout.names]
        raise unknown("layer", name, sorted({n.rpartition(".")[0] or n for n in known}))
    spans = [layout.slices[n] for n in layout.names if n in inside]
    return torch.cat([torch.arange(span.start, span.stop) for span in spans])


def _first_names(module: nn.Module) -> dict[str, str]:
    first: dict[int, str] = {}
    every = module.named_parameters(remove_duplicate=False)
    return {name: first.setdefault(id(tensor), name) for name, tensor in every}


def _refuse_shared(module: nn.Module, layout: Layout, first_names: Mapping[str, str]) -> None:
    """Refuse a last matrix that is another layer's too, or that is not trained."""
    every = module.named_parameters(remove_duplicate=False)
    matrices = getattr(module, "matrices", [n for n, tensor in every if tensor.ndim > 1])
    if not matrices:
        return
    last: str = matrices[-1]
    first = first_names.get(last, last)
    if first in layout.names and first == last:
        return
    tied = f"; {first!r} is trained with {last.rpartition('.')[0] or last!r}"
    raise invalid(
        "layer",
        expected="a last layer of its own that is trained",
        got=f"{last!r}, which is {'frozen' if first == last else f'also {first!r}'}",
        remedy=f"Name the layer to train, LastLayer(layer=...){'' if first == last else tied}.",
    )


def _refuse_inner(problem: Problem, layout: Layout) -> None:
    """Refuse a last matrix after which the forward pass uses another, as a head made first or one
    that takes an embedding's weights."""
    taken = layout.names[_last_matrix(layout)]
    later = last_used(problem.module, problem.batch(torch.arange(min(2, problem.train_size)))[0])
    if later is not None and later != taken:
        raise invalid(
            "layer",
            expected="a last layer after which no weights are used",
            got=f"{taken!r}, and {later!r} is used after it",
            remedy=f"Name the layer to train, e.g. LastLayer(layer={later.rpartition('.')[0]!r}).",
        )


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
