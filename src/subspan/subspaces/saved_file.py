"""The file of a saved subspace: what its header claims, then what it holds; all else is refused."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open

from subspan.canonical import digest, tensor_digest
from subspan.errors import InputError, invalid
from subspan.maps.base import LinearMap
from subspan.maps.columns import ColumnsMap
from subspan.maps.coordinate import CoordinateMap
from subspan.printable import cut, shown
from subspan.problems.base import AbstractProblem
from subspan.problems.module import Problem
from subspan.subspaces.base import Subspace

FORMAT = "subspan subspace 2"  # 1 had no checksum of the offset, and took a last layer for a mask
_META = ("weights", "problem", "search_steps", "search_bits", "masked", "checksum")
_FLOATS = ("F32", "F64")  # as safetensors calls them
_LARGE = 2**28  # bytes; a file that claims more of them than lie on the disk was never saved
_KINDS = {  # of each tensor: its number of axes and its dtypes
    "offset": (1, _FLOATS),
    "basis": (2, _FLOATS),
    "scales": (1, _FLOATS),
    "positions": (1, ("I64",)),
}


@dataclass(frozen=True)
class Saved:
    """What a file holds, on the CPU and in the file's dtype."""

    path: str | Path
    subspace: Subspace
    masked: bool

    def content(self) -> str:
        """A hash of offset and map."""
        return digest([self.subspace.map.checksum(), tensor_digest(self.subspace.offset)])

    def for_problem(self, problem: AbstractProblem) -> Subspace:
        """The subspace on a problem's device and in its dtype, whose network was checked."""
        offset = self.subspace.offset
        return Subspace(
            offset.to(problem.device, problem.dtype),
            self.subspace.map.to(problem.device, problem.dtype),
            self.subspace.search_steps,
            self.subspace.search_bits,
        )


@dataclass(frozen=True)
class Head:
    """What a file's header claims, checked as far as it can be before a tensor is touched."""

    path: str | Path
    meta: dict[str, str]
    shapes: dict[str, tuple[int, ...]]

    @property
    def nested(self) -> bool:
        """Whether fewer dims than were saved can be had."""
        return "basis" in self.shapes

    @property
    def dim(self) -> int:
        """The dimension of the subspace."""
        return self.shapes["basis" if self.nested else "positions"][0]

    def check(self, problem: AbstractProblem) -> None:
        """Refuse another network's file."""
        check_problem(problem)
        (size,) = self.shapes["offset"]
        if self.meta["weights"] != fingerprint(problem) or size != problem.ambient_dim:
            raise invalid(
                "subspace",
                expected=f"one of the network of {problem.name!r} (D = {problem.ambient_dim})",
                got=f"one of {self.meta['problem']!r} (D = {size}) in {self.path}",
                remedy="Weights must agree in names, shapes and order.",
            )


def read_head(path: str | Path) -> Head:
    """Read and check a file's header; its tensors may be of any size.

    Raises:
        InputError: it is no file that `save_subspace` wrote, or is damaged.
    """
    if not os.path.isfile(as_path(path)):  # which knows no name that is too long either
        raise invalid(
            "path", expected="a file that save_subspace wrote", got=f"no file at {cut(str(path))}"
        )
    try:
        with safe_open(str(path), framework="pt") as file:
            meta = dict(file.metadata() or {})
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            kinds = {n: (s.get_dtype(), tuple(s.get_shape())) for n, s in slices.items()}
            on_disk = os.stat(path)
    except Exception as error:  # the reader's, of bytes that anybody may have written
        raise _unread(path, error) from error
    if meta.get("format") != FORMAT:
        raise invalid(
            "path",
            expected=f"a file in the format {FORMAT!r}",
            got=f"{meta.get('format', 'another safetensors file')!r} in {path}",
            remedy="Make the subspace again and save it.",
        )
    missing = [name for name in _META if name not in meta]
    if "offset" not in kinds:
        missing.append("offset")
    if ("basis" in kinds) == ("positions" in kinds):
        missing.append("basis or positions")
    if missing:
        raise _damaged(
            path, "all that save_subspace writes", f"a file without {', '.join(missing)}"
        )
    strange = [n for n, kind in kinds.items() if n not in _KINDS or not _fits(kind, *_KINDS[n])]
    if strange:
        raise _damaged(path, "tensors as save_subspace writes them", f"another {strange[0]!r}")
    head = Head(path, meta, {name: shape for name, (_, shape) in kinds.items()})
    (ambient_dim,) = head.shapes["offset"]
    width = head.shapes["basis"][1] if head.nested else ambient_dim
    if width != ambient_dim:
        raise _damaged(path, f"a basis in R^{ambient_dim}, as the offset", f"R^{width}")
    if not 1 <= head.dim <= ambient_dim:
        raise _damaged(path, f"at most {ambient_dim} dimensions, and one", f"{head.dim}")
    if "scales" in head.shapes and (not head.nested or head.shapes["scales"] != (head.dim,)):
        raise _damaged(path, f"{head.dim} scales of a basis", f"{head.shapes['scales']}")
    held = getattr(on_disk, "st_blocks", on_disk.st_size) * 512  # by what is written of it
    if on_disk.st_size > _LARGE and held < on_disk.st_size // 8:
        raise _damaged(path, f"{on_disk.st_size:,} bytes that were written", "a file of holes")
    return head


def read_file(path: str | Path, head: Head | None = None) -> Saved:
    """Read a file, whose header may have been read already.

    Raises:
        InputError: as `read_head`; contents that do not match the checksum.
    """
    head = head or read_head(path)
    meta = head.meta
    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in head.shapes}
    except Exception as error:
        raise _unread(path, error) from error
    if checksum_of(meta, tensors) != meta["checksum"]:
        raise _damaged(path, "the checksum that it was saved with", "another")
    return Saved(
        path,
        _subspace(path, meta, tensors),
        meta["masked"] == "yes",
    )


def _unread(path: str | Path, error: Exception) -> InputError:
    return InputError(
        f"path: expected a file that save_subspace wrote, got {path}, which does not read as "
        f"safetensors ({cut(str(error))}). Save it again."
    )


def _subspace(
    path: str | Path, meta: Mapping[str, str], tensors: Mapping[str, torch.Tensor]
) -> Subspace:
    offset = tensors["offset"]
    steps, bits = count_of(path, meta, "search_steps"), count_of(path, meta, "search_bits")
    if not bool(torch.isfinite(offset).all()):
        raise _damaged(path, "a finite offset", "NaN or infinity")
    chosen: LinearMap
    if "basis" in tensors:
        chosen = ColumnsMap(tensors["basis"], tensors.get("scales"))
    else:
        chosen = CoordinateMap(tensors["positions"], len(offset), dtype=offset.dtype)
    return Subspace(offset, chosen, steps, bits)


def count_of(path: str | Path, meta: Mapping[str, str], name: str) -> int:
    """Return a whole number of the header."""
    text = meta[name]
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise _damaged(path, f"a whole number of {name}", shown(text))
    return int(text)


def _damaged(path: str | Path, expected: str, got: str) -> InputError:
    remedy = "The file is damaged: save it again."
    return invalid("subspace", expected=expected, got=f"{got} in {path}", remedy=remedy)


def checksum_of(meta: Mapping[str, str], tensors: Mapping[str, torch.Tensor]) -> str:
    """A hash of everything in a file but the checksum itself."""
    told = {key: value for key, value in meta.items() if key != "checksum"}
    return digest([told, {name: tensor_digest(t) for name, t in tensors.items()}])


def _fits(kind: tuple[str, tuple[int, ...]], axes: int, dtypes: tuple[str, ...]) -> bool:
    return len(kind[1]) == axes and kind[0] in dtypes


def check_problem(problem: AbstractProblem) -> None:
    """Refuse what is no problem."""
    if not isinstance(problem, AbstractProblem):
        raise invalid("problem", expected="a problem", got=f"a {type(problem).__name__}")


def as_path(path: object) -> Path:
    """Return a path, refusing what is none."""
    if not isinstance(path, str | os.PathLike):
        raise invalid("path", expected="a path", got=repr(path))
    return Path(path)


def fingerprint(problem: AbstractProblem) -> str:
    """Return a hash of the names and shapes of a network's weights."""
    if isinstance(problem, Problem):
        return digest([list(problem.layout.names), [list(s) for s in problem.layout.shapes]])
    return digest([problem.name, problem.ambient_dim])
