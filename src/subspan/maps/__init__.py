"""Maps: linear maps A: R^d → R^D from a seed, with adjoint, dense form and checksum."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch

from subspan.errors import invalid, unknown
from subspan.maps.base import LinearMap
from subspan.maps.columns import ColumnsMap
from subspan.maps.composed import ComposedMap
from subspan.maps.coordinate import CoordinateMap
from subspan.maps.gaussian import GaussianMap
from subspan.maps.hadamard import HadamardMap
from subspan.maps.low_rank import LowRankMap, Matrix, matrices_of
from subspan.maps.orthonormal import OrthonormalMap
from subspan.maps.partition import PartitionMap
from subspan.maps.sparse import SparseMap

MAPS: dict[str, type[LinearMap]] = {
    "gaussian": GaussianMap,
    "orthonormal": OrthonormalMap,
    "sparse": SparseMap,
    "partition": PartitionMap,
    "hadamard": HadamardMap,
}
"""The random maps by name. To add one, write a `LinearMap` in its own file and enter it here."""


def names() -> list[str]:
    """Return the names that `make` knows."""
    return list(MAPS)


def make(
    name: str,
    *,
    dim: int,
    ambient_dim: int,
    seed: int,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    **options: Any,
) -> LinearMap:
    """Make a random linear map A: R^d → R^D.

    Args:
        name: `"gaussian"` (unit-norm columns, the paper's), `"orthonormal"` (Haar), `"sparse"`
            (option `nnz`), `"partition"` or `"hadamard"` (both exactly orthonormal and O(D);
            neither uniform about single weights, see `maps/hadamard.py`).
        dim: d, in 1 … D.
        ambient_dim: D.
        seed: any integer. The same seed gives the same bits on every device and release.
        device: where to put it.
        dtype: of inputs and outputs.
        **options: of the map.

    Raises:
        InputError: the name or an option is unknown, or a dimension out of range.
    """
    check_options(name, options)
    make: Callable[..., LinearMap] = MAPS[name]
    return make(dim, ambient_dim, seed, device=device, dtype=dtype, **options)


def changes_of_bits(name: object, dim: int) -> int:
    """Return the `revision` of a map by its name; 0 for what is none, as for methods without."""
    return MAPS[name].revision(dim) if isinstance(name, str) and name in MAPS else 0


def options_of(name: str) -> list[str]:
    """Return the names of a map's own options."""
    common = {"dim", "ambient_dim", "seed", "device", "dtype"}
    return [p for p in inspect.signature(MAPS[name]).parameters if p not in common]


def check_options(name: str, options: dict[str, Any]) -> None:
    """Refuse an option that a map does not have.

    Raises:
        InputError: the name is unknown, or the map has no such option.
    """
    if name not in MAPS:
        raise unknown("map", name, names())
    own = options_of(name)
    for option in options:
        if option not in own:
            raise invalid(
                f"map {name!r}",
                expected=f"options out of {own}" if own else "no options",
                got=repr(option),
            )


__all__ = [
    "ColumnsMap",
    "ComposedMap",
    "CoordinateMap",
    "GaussianMap",
    "HadamardMap",
    "LinearMap",
    "LowRankMap",
    "Matrix",
    "OrthonormalMap",
    "PartitionMap",
    "SparseMap",
    "changes_of_bits",
    "make",
    "matrices_of",
    "names",
    "options_of",
]
