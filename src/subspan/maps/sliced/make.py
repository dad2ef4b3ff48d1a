"""`make_sliced`: any map of `subspan.maps`, cut along the weights."""

from __future__ import annotations

from typing import Any

from subspan import maps
from subspan.errors import invalid, unknown
from subspan.maps.base import check_dims
from subspan.maps.gaussian import DENSE_BYTES
from subspan.maps.sliced.base import SlicedMap
from subspan.maps.sliced.rows import RowSlices, SparseSlices
from subspan.maps.sliced.tabulated import make_tabulated
from subspan.maps.sliced.zero import ZeroSlices
from subspan.maps.sparse import SparseMap


def make_sliced(name: str, dim: int, ambient_dim: int, seed: int, **options: Any) -> SlicedMap:
    """Make the map `subspan.maps.make(name, …)` for use slice by slice, on the CPU; d may be 0.

    Raises:
        InputError: the name is unknown, a dimension out of range, or the map too large to keep.
    """
    if name not in maps.names():
        raise unknown("map", name, maps.names())
    check_dims(dim, ambient_dim, least=0)
    known = maps.options_of(name)
    for option in options:
        if option not in known:
            raise invalid("options", expected=f"of {name!r}: {known or 'none'}", got=repr(option))
    if dim == 0:
        return ZeroSlices(name, ambient_dim)
    if name in ("partition", "hadamard"):
        return make_tabulated(name, dim, ambient_dim, seed)
    entries = 4 * (options.get("nnz") or 0) if name == "sparse" else ambient_dim
    bytes_needed = 4 * dim * entries
    if name != "gaussian" and bytes_needed > DENSE_BYTES:  # which is made again at each use
        raise invalid(
            "map",
            expected=f"a map that fits {DENSE_BYTES >> 20} MiB",
            got=f"{name!r} with d = {dim}, D = {ambient_dim}: {bytes_needed >> 20} MiB",
            remedy="Use map='hadamard': its columns are exactly orthonormal, at O(D).",
        )
    whole = maps.make(name, dim=dim, ambient_dim=ambient_dim, seed=seed, **options)
    if isinstance(whole, SparseMap):
        return SparseSlices(whole)
    return RowSlices(name, whole)
