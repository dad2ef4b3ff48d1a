"""Subspaces in files: save, load, transfer to another initialisation."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from subspan.canonical import digest, tensor_digest
from subspan.errors import InputError, StoreError, invalid, whole
from subspan.maps.base import LinearMap
from subspan.maps.columns import ColumnsMap
from subspan.maps.coordinate import CoordinateMap
from subspan.problems.base import AbstractProblem
from subspan.problems.module import Problem
from subspan.subspaces.base import Draw, Method, Subspace
from subspan.subspaces.lottery_subspace import column_scales
from subspan.subspaces.pruning import mask_bits, masked

_FORMAT = "subspan subspace 2"  # 1 had no checksum of the offset, and took a last layer for a mask
_META = ("weights", "problem", "search_steps", "search_bits", "masked", "checksum")
_FLOATS = (torch.float32, torch.float64)
_KINDS = {  # of each tensor: its number of axes and its dtypes
    "offset": (1, _FLOATS),
    "basis": (2, _FLOATS),
    "scales": (1, _FLOATS),
    "positions": (1, (torch.int64,)),
}


def save_subspace(subspace: Subspace, path: str | Path, problem: AbstractProblem) -> None:
    """Write a subspace that a search found to a safetensors file.

    The file knows whether the offset is masked: zero outside the chosen weights.

    Args:
        subspace: with a map of given columns (a lottery subspace) or of chosen weights (a mask, a
            whole layer).
        path: the file.
        problem: the network that it belongs to; the file knows its weights' names and shapes.

    Raises:
        InputError: a random map, which its seed stores already; a problem of another size; an
            offset that is not finite.
        StoreError: the file cannot be written.
    """
    _check(subspace, problem)
    chosen, tensors = subspace.map, {"offset": subspace.offset}
    if isinstance(chosen, ColumnsMap):
        tensors["basis"] = chosen.dense_rows
        if chosen.scales is not None:
            tensors["scales"] = chosen.scales
    elif isinstance(chosen, CoordinateMap):
        tensors["positions"] = chosen.indices
    else:
        raise invalid(
            "subspace",
            expected="a lottery subspace, a mask or a whole layer",
            got=f"one with a {type(chosen).__name__}",
            remedy="A seed makes a random subspace again; there is nothing to save.",
        )
    ready = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    meta = {
        "format": _FORMAT,
        "weights": _fingerprint(problem),
        "problem": problem.name,
        "search_steps": str(whole("search_steps", subspace.search_steps, low=0)),
        "search_bits": str(whole("search_bits", subspace.search_bits, low=0)),
        "masked": "yes" if _is_masked(subspace) else "no",
    }
    meta["checksum"] = _checksum(meta, ready)
    try:
        save_file(ready, _path(path), metadata=meta)
    except (OSError, SafetensorError) as error:
        raise StoreError(
            f"subspace: could not write {path}: {error}. Choose another place."
        ) from error


def load_subspace(path: str | Path, problem: AbstractProblem) -> Subspace:
    """Read a subspace for a problem, on its device and in its dtype.

    Raises:
        InputError: the file is no saved subspace, is damaged, or belongs to another network.
    """
    return _read(path).for_problem(problem)


class SavedSubspace(Method):
    """The subspace of a file, through its own offset or through another initialisation.

    Args:
        path: what `save_subspace` wrote.
        transfer: False: the offset of the file. True: each repeat's own initialisation takes its
            place, masked where the file's offset was (a ticket's; not that of a whole layer), and
            the file's offset is not charged.

    Raises:
        InputError: the file is no saved subspace, or is damaged.
    """

    def __init__(self, path: str | Path, *, transfer: bool = False) -> None:
        if not isinstance(transfer, bool):
            raise invalid("transfer", expected="True or False", got=repr(transfer))
        saved = _read(path)
        self.path, self.transfer = Path(path), transfer
        self._dim = saved.subspace.map.dim
        self._nested = isinstance(saved.subspace.map, ColumnsMap)
        self._search_steps = saved.subspace.search_steps
        self._checksum = saved.content()

    def config(self) -> dict[str, Any]:
        """Return plain JSON data that fixes the method: what the file holds, not where it lies."""
        return {"name": "saved", "checksum": self._checksum, "transfer": self.transfer}

    def to_config(self) -> dict[str, Any]:
        """Return what fixes the method, and where the file lies."""
        return {**self.config(), "path": str(self.path.absolute())}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Read the file again.

        Raises:
            InputError: there is none, or it has changed.
        """
        made = cls(config["path"], transfer=config["transfer"])
        if made._checksum != config["checksum"]:
            raise _changed(made.path)
        return made

    @classmethod
    def starts_alike(cls, config: Mapping[str, Any]) -> bool:
        """Whether every repeat starts from the file's offset."""
        return not config["transfer"]

    def search_steps(self, problem: AbstractProblem) -> int:
        """Return what the search cost that the file comes from."""
        return self._search_steps

    def max_dim(self, problem: AbstractProblem) -> int:
        """Return the dimension of the saved subspace."""
        return self._dim

    def subspaces(self, problem: AbstractProblem, draws: Sequence[Draw]) -> list[Subspace]:
        """Return the first d directions of the saved basis, or the saved mask, for each draw.

        Scaled columns are scaled for d, as `LotterySubspace` scales them.

        Raises:
            InputError: more dims than were saved, another count than a saved mask's, another
                network, or a file that has changed.
        """
        saved = _read(self.path)
        if saved.content() != self._checksum:
            raise _changed(self.path)
        found = saved.for_problem(problem)
        map_bits, offset_bits = _bits(found)
        made = []
        for draw in draws:
            if draw.dim > self._dim or (draw.dim != self._dim and not self._nested):
                bound = f"at most {self._dim}" if self._nested else f"{self._dim}"
                raise invalid(
                    "dim",
                    expected=f"{bound}, what {self.path.name} holds",
                    got=draw.dim,
                    remedy="Choose that d, or save a larger subspace.",
                )
            chosen, offset = found.map, found.offset
            bits = map_bits * draw.dim // self._dim
            if isinstance(chosen, ColumnsMap) and draw.dim < self._dim:
                chosen = _first(chosen, draw.dim)
            if self.transfer:
                offset = problem.init(draw.init_seed)
                if saved.masked and isinstance(chosen, CoordinateMap):
                    offset = masked(offset, chosen.indices)
            else:
                bits += offset_bits
            made.append(Subspace(offset, chosen, found.search_steps, bits))
        return made

    def __repr__(self) -> str:
        return f"SavedSubspace({str(self.path)!r}, transfer={self.transfer})"


@dataclass(frozen=True)
class _Saved:
    """What a file holds, on the CPU and in the file's dtype."""

    path: str | Path
    subspace: Subspace
    masked: bool
    weights: str
    problem: str

    def content(self) -> str:
        """A hash of offset and map."""
        return digest([self.subspace.map.checksum(), tensor_digest(self.subspace.offset)])

    def for_problem(self, problem: AbstractProblem) -> Subspace:
        """The subspace on a problem's device and in its dtype, if it belongs to that network."""
        _check_problem(problem)
        offset = self.subspace.offset
        if self.weights != _fingerprint(problem) or len(offset) != problem.ambient_dim:
            raise invalid(
                "subspace",
                expected=f"one of the network of {problem.name!r} (D = {problem.ambient_dim})",
                got=f"one of {self.problem!r} (D = {len(offset)}) in {self.path}",
                remedy="Weights must agree in names, shapes and order.",
            )
        return Subspace(
            offset.to(problem.device, problem.dtype),
            self.subspace.map.to(problem.device, problem.dtype),
            self.subspace.search_steps,
            self.subspace.search_bits,
        )


def _first(chosen: ColumnsMap, dim: int) -> ColumnsMap:
    """The first columns, scaled as a lottery subspace of that dimension."""
    scales = chosen.scales
    if scales is not None:
        scales = column_scales("sigma", scales[:dim])  # in proportion to what they are
    return ColumnsMap(chosen.dense_rows[:dim], scales)


def _read(path: str | Path) -> _Saved:
    meta, tensors = _raw(path)
    if meta.get("format") != _FORMAT:
        raise invalid(
            "path",
            expected=f"a file in the format {_FORMAT!r}",
            got=f"{meta.get('format', 'another safetensors file')!r} in {path}",
            remedy="Make the subspace again and save it.",
        )
    missing = [name for name in _META if name not in meta]
    if "offset" not in tensors:
        missing.append("offset")
    if ("basis" in tensors) == ("positions" in tensors):
        missing.append("basis or positions")
    if missing:
        raise _damaged(
            path, "all that save_subspace writes", f"a file without {', '.join(missing)}"
        )
    strange = [n for n, t in tensors.items() if n not in _KINDS or not _fits(t, *_KINDS[n])]
    if strange:
        raise _damaged(path, "tensors as save_subspace writes them", f"another {strange[0]!r}")
    if _checksum(meta, tensors) != meta["checksum"]:
        raise _damaged(path, "the checksum that it was saved with", "another")
    return _Saved(
        path,
        _subspace(path, meta, tensors),
        meta["masked"] == "yes",
        meta["weights"],
        meta["problem"],
    )


def _raw(path: str | Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    if not _path(path).is_file():
        raise invalid("path", expected="a file that save_subspace wrote", got=f"no file at {path}")
    try:
        with safe_open(str(path), framework="pt") as file:
            meta = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"path: expected a file that save_subspace wrote, got {path}, which does not read as "
            f"safetensors ({error}). Save it again."
        ) from error
    return meta, tensors


def _subspace(
    path: str | Path, meta: Mapping[str, str], tensors: Mapping[str, torch.Tensor]
) -> Subspace:
    offset = tensors["offset"]
    for name in ("search_steps", "search_bits"):
        if not (meta[name].isascii() and meta[name].isdecimal()):
            raise _damaged(path, f"a whole number of {name}", repr(meta[name]))
    if not bool(torch.isfinite(offset).all()):
        raise _damaged(path, "a finite offset", "NaN or infinity")
    chosen: LinearMap
    if "basis" in tensors:
        chosen = ColumnsMap(tensors["basis"], tensors.get("scales"))
    else:
        chosen = CoordinateMap(tensors["positions"], len(offset), dtype=offset.dtype)
    if chosen.ambient_dim != len(offset):
        raise _damaged(
            path, f"a basis in R^{len(offset)}, as the offset", f"R^{chosen.ambient_dim}"
        )
    return Subspace(offset, chosen, int(meta["search_steps"]), int(meta["search_bits"]))


def _changed(path: Path) -> InputError:
    return invalid(
        "path",
        expected="the file that this method was made from",
        got=f"another in {path}",
        remedy="Make a new SavedSubspace.",
    )


def _damaged(path: str | Path, expected: str, got: str) -> InputError:
    remedy = "The file is damaged: save it again."
    return invalid("subspace", expected=expected, got=f"{got} in {path}", remedy=remedy)


def _checksum(meta: Mapping[str, str], tensors: Mapping[str, torch.Tensor]) -> str:
    """A hash of everything in a file but the checksum itself."""
    told = {key: value for key, value in meta.items() if key != "checksum"}
    return digest([told, {name: tensor_digest(t) for name, t in tensors.items()}])


def _fits(tensor: torch.Tensor, axes: int, dtypes: tuple[torch.dtype, ...]) -> bool:
    return tensor.ndim == axes and tensor.dtype in dtypes


def _is_masked(subspace: Subspace) -> bool:
    """Whether the offset is zero outside the chosen weights: a ticket, not a whole layer."""
    chosen = subspace.map
    if not isinstance(chosen, CoordinateMap):
        return False
    return torch.equal(subspace.offset, masked(subspace.offset, chosen.indices))


def _bits(subspace: Subspace) -> tuple[int, int]:
    """Bits of the map and of the offset: those of a map are known, the rest is the offset's."""
    chosen = subspace.map
    if isinstance(chosen, ColumnsMap):
        own = 32 * chosen.dim * chosen.ambient_dim
    else:
        own = mask_bits(chosen.dim, chosen.ambient_dim)
    own = min(own, subspace.search_bits)  # a layer needs no bits: a rule chooses it
    return own, subspace.search_bits - own


def _check(subspace: Subspace, problem: AbstractProblem) -> None:
    if not isinstance(subspace, Subspace):
        raise invalid(
            "subspace",
            expected="a Subspace",
            got=f"a {type(subspace).__name__}",
            remedy="A method makes them: (one,) = method.subspaces(problem, [draw]).",
        )
    _check_problem(problem)
    size = len(subspace.offset)
    if not size == subspace.map.ambient_dim == problem.ambient_dim:
        raise invalid(
            "problem",
            expected=f"the network of the subspace (D = {subspace.map.ambient_dim})",
            got=f"{problem.name!r} (D = {problem.ambient_dim}), with an offset of {size} weights",
        )
    if not bool(torch.isfinite(subspace.offset).all()):
        raise invalid("subspace", expected="a finite offset", got="NaN or infinity")


def _check_problem(problem: AbstractProblem) -> None:
    if not isinstance(problem, AbstractProblem):
        raise invalid("problem", expected="a problem", got=f"a {type(problem).__name__}")


def _path(path: object) -> Path:
    if not isinstance(path, str | os.PathLike):
        raise invalid("path", expected="a path", got=repr(path))
    return Path(path)


def _fingerprint(problem: AbstractProblem) -> str:
    if isinstance(problem, Problem):
        return digest([list(problem.layout.names), [list(s) for s in problem.layout.shapes]])
    return digest([problem.name, problem.ambient_dim])
