"""`RandomAffine`: w₀ + A θ with a random map, the null model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from subspan import maps
from subspan.errors import invalid
from subspan.problems.base import AbstractProblem
from subspan.subspaces.base import Draw, Method, Subspace


def check_map(name: object, options: dict[str, Any] | None = None) -> None:
    """Refuse what is no name of a map, or an option that the map does not have.

    Raises:
        InputError: as said.
    """
    if not isinstance(name, str):
        known = ", ".join(maps.names())
        raise invalid("map", expected=f"a name: {known}", got=repr(name))
    maps.check_options(name, options or {})


def random_map(
    name: str, options: dict[str, Any], problem: AbstractProblem, draw: Draw
) -> maps.LinearMap:
    """Return the random map of a draw, on the problem's device and in its dtype."""
    return maps.make(
        name,
        dim=draw.dim,
        ambient_dim=problem.ambient_dim,
        seed=draw.map_seed,
        device=problem.device,
        dtype=problem.dtype,
        **options,
    )


class RandomAffine(Method):
    """A random d-dimensional affine subspace through the initial weights.

    Source: Larsen et al. (2022), definition of the random affine subspace.

    Args:
        map: name of a map. The default, `"hadamard"`, has exactly orthonormal dense columns at
            O(D) cost; `"gaussian"` is the paper's, at O(d D). Their thresholds agree, on wells
            too; `"partition"`, the fastest, keeps to the axes of the weights, and needs more
            dims where the curvature does (`experiments/maps`).
        **options: of the map, e.g. `nnz` of `"sparse"`.

    Raises:
        InputError: the map is unknown, or lacks an option.
    """

    def __init__(self, map: str = "hadamard", **options: Any) -> None:
        check_map(map, options)
        self.map, self.options = map, options

    def config(self) -> dict[str, Any]:
        """Return plain JSON data that fixes the method."""
        return {"name": "random", "map": self.map, **self.options}

    def subspaces(self, problem: AbstractProblem, draws: Sequence[Draw]) -> list[Subspace]:
        """Return one subspace per draw."""
        return [
            Subspace(problem.init(d.init_seed), random_map(self.map, self.options, problem, d))
            for d in draws
        ]

    def __repr__(self) -> str:
        options = "".join(f", {k}={v!r}" for k, v in self.options.items())
        return f"RandomAffine(map={self.map!r}{options})"
