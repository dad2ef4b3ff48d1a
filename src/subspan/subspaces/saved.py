"""Subspaces in files: save, load, transfer to another initialisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from subspan.errors import InputError, StoreError, invalid, whole
from subspan.maps.columns import ColumnsMap
from subspan.maps.coordinate import CoordinateMap
from subspan.problems.base import AbstractProblem
from subspan.subspaces.base import Draw, Method, Subspace
from subspan.subspaces.lottery_subspace import column_scales
from subspan.subspaces.pruning import mask_bits, masked
from subspan.subspaces.saved_file import (
    FORMAT,
    as_path,
    check_problem,
    checksum_of,
    count_of,
    fingerprint,
    read_file,
    read_head,
)


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
        "format": FORMAT,
        "weights": fingerprint(problem),
        "problem": problem.name,
        "search_steps": str(whole("search_steps", subspace.search_steps, low=0)),
        "search_bits": str(whole("search_bits", subspace.search_bits, low=0)),
        "masked": "yes" if _is_masked(subspace) else "no",
    }
    meta["checksum"] = checksum_of(meta, ready)
    try:
        save_file(ready, as_path(path), metadata=meta)
    except (OSError, SafetensorError) as error:
        raise StoreError(
            f"subspace: could not write {path}: {error}. Choose another place."
        ) from error


def load_subspace(path: str | Path, problem: AbstractProblem) -> Subspace:
    """Read a subspace for a problem, on its device and in its dtype.

    Raises:
        InputError: the file is no saved subspace, is damaged, or belongs to another network.
    """
    head = read_head(path)
    head.check(problem)
    return read_file(path, head).for_problem(problem)


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
        head = read_head(path)
        self.path, self.transfer = Path(path), transfer
        self._dim, self._nested, self._head = head.dim, head.nested, head
        self._search_steps = count_of(path, head.meta, "search_steps")
        self._checksum = read_file(path, head).content()

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
        """Return the dimension of the saved subspace, of which the problem's network must be."""
        self._head.check(problem)
        return self._dim

    def subspaces(self, problem: AbstractProblem, draws: Sequence[Draw]) -> list[Subspace]:
        """Return the first d directions of the saved basis, or the saved mask, for each draw.

        Scaled columns are scaled for d, as `LotterySubspace` scales them.

        Raises:
            InputError: more dims than were saved, another count than a saved mask's, another
                network, or a file that has changed.
        """
        head = read_head(self.path)
        head.check(problem)
        saved = read_file(self.path, head)
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


def _first(chosen: ColumnsMap, dim: int) -> ColumnsMap:
    """The first columns, scaled as a lottery subspace of that dimension."""
    scales = chosen.scales
    if scales is not None:
        scales = column_scales("sigma", scales[:dim])  # in proportion to what they are
    return ColumnsMap(chosen.dense_rows[:dim], scales)


def _changed(path: Path) -> InputError:
    return invalid(
        "path",
        expected="the file that this method was made from",
        got=f"another in {path}",
        remedy="Make a new SavedSubspace.",
    )


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
    check_problem(problem)
    size = len(subspace.offset)
    if not size == subspace.map.ambient_dim == problem.ambient_dim:
        raise invalid(
            "problem",
            expected=f"the network of the subspace (D = {subspace.map.ambient_dim})",
            got=f"{problem.name!r} (D = {problem.ambient_dim}), with an offset of {size} weights",
        )
    if not bool(torch.isfinite(subspace.offset).all()):
        raise invalid("subspace", expected="a finite offset", got="NaN or infinity")
