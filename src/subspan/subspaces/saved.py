"""Subspaces in files: save, load, transfer to another initialisation, compare by angles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from subspan.canonical import digest, tensor_digest
from subspan.errors import InputError, StoreError, invalid
from subspan.maps.base import LinearMap
from subspan.maps.columns import ColumnsMap
from subspan.maps.coordinate import CoordinateMap
from subspan.problems.base import AbstractProblem
from subspan.problems.module import Problem
from subspan.subspaces.base import Draw, Method, Subspace

_FORMAT = "subspan subspace 1"


def save_subspace(subspace: Subspace, path: str | Path, problem: AbstractProblem) -> None:
    """Write a subspace that a search found to a safetensors file.

    Args:
        subspace: with a map of given columns (a lottery subspace) or of chosen weights (a mask).
        path: the file.
        problem: the network that it belongs to; the file knows its weights' names and shapes.

    Raises:
        InputError: a random map, which its seed stores already.
        StoreError: the file cannot be written.
    """
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
            expected="a lottery subspace or a mask",
            got=f"one with a {type(chosen).__name__}",
            remedy="A seed makes a random subspace again; there is nothing to save.",
        )
    meta = {
        "format": _FORMAT,
        "weights": _fingerprint(problem),
        "problem": problem.name,
        "search_steps": str(subspace.search_steps),
        "search_bits": str(subspace.search_bits),
        "checksum": chosen.checksum(),
    }
    ready = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    try:
        save_file(ready, path, metadata=meta)
    except (OSError, SafetensorError) as error:
        raise StoreError(
            f"subspace: could not write {path}: {error}. Choose another place."
        ) from error


def load_subspace(path: str | Path, problem: AbstractProblem) -> Subspace:
    """Read a subspace for a problem, on its device and in its dtype.

    Raises:
        InputError: the file is no saved subspace, is damaged, or belongs to another network.
    """
    meta, tensors = _read(path)
    if meta["weights"] != _fingerprint(problem):
        raise invalid(
            "subspace",
            expected=f"one of the network of {problem.name!r} (D = {problem.ambient_dim})",
            got=f"one of {meta['problem']!r} (D = {len(tensors['offset'])}) in {path}",
            remedy="Weights must agree in names, shapes and order.",
        )
    chosen = _map(tensors, meta, path)
    return Subspace(
        tensors["offset"].to(problem.device, problem.dtype),
        chosen.to(problem.device, problem.dtype),
        int(meta["search_steps"]),
        int(meta["search_bits"]),
    )


class SavedSubspace(Method):
    """The subspace of a file, through its own offset or through another initialisation.

    Args:
        path: what `save_subspace` wrote.
        transfer: False: the offset of the file. True: each repeat's own initialisation takes its
            place; a mask is applied to it.

    Raises:
        InputError: the file is no saved subspace.
    """

    def __init__(self, path: str | Path, *, transfer: bool = False) -> None:
        self.path, self.transfer = Path(path), transfer
        meta, tensors = _read(path)
        self._dim = len(tensors["basis"] if "basis" in tensors else tensors["positions"])
        self._nested = "basis" in tensors
        self._search_steps = int(meta["search_steps"])
        self._checksum = digest([meta["checksum"], tensor_digest(tensors["offset"])])

    def config(self) -> dict[str, Any]:
        """Return plain JSON data that fixes the method: what the file holds, not where it lies."""
        return {"name": "saved", "checksum": self._checksum, "transfer": self.transfer}

    def search_steps(self, problem: AbstractProblem) -> int:
        """Return what the search cost that the file comes from."""
        return self._search_steps

    def max_dim(self, problem: AbstractProblem) -> int:
        """Return the dimension of the saved subspace."""
        return self._dim

    def subspaces(self, problem: AbstractProblem, draws: Sequence[Draw]) -> list[Subspace]:
        """Return the first d directions of the saved basis, or the saved mask, for each draw.

        Raises:
            InputError: more dims than were saved, another count than a saved mask's, or another
                network.
        """
        whole = load_subspace(self.path, problem)
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
            chosen, offset = whole.map, whole.offset
            if isinstance(chosen, ColumnsMap):
                scales = None if chosen.scales is None else chosen.scales[: draw.dim]
                chosen = ColumnsMap(chosen.dense_rows[: draw.dim], scales)
            if self.transfer:
                offset = problem.init(draw.init_seed)
                if isinstance(chosen, CoordinateMap):
                    offset = chosen._forward(chosen._adjoint(offset))
            made.append(Subspace(offset, chosen, whole.search_steps, whole.search_bits))
        return made

    def __repr__(self) -> str:
        return f"SavedSubspace({str(self.path)!r}, transfer={self.transfer})"


def principal_angles(one: LinearMap, other: LinearMap) -> torch.Tensor:
    """Return the principal angles between the spans of two maps, in radians, rising.

    From orthonormal bases Q₁, Q₂ in float64: cosines are the singular values of Q₁ᵀQ₂; angles
    below 45° come from the sines instead, which cosines cannot resolve (Björck and Golub, 1973).

    Args:
        one: of dimension d₁.
        other: of dimension d₂, into the same R^D.

    Returns:
        Shape (min(d₁, d₂),), float64.

    Raises:
        InputError: the ambient dimensions differ.
    """
    if one.ambient_dim != other.ambient_dim:
        raise invalid(
            "other", expected=f"a map into R^{one.ambient_dim}", got=f"R^{other.ambient_dim}"
        )
    small, large = sorted((one, other), key=lambda m: m.dim)
    q_small, q_large = (torch.linalg.qr(m.dense().double().cpu())[0] for m in (small, large))
    cross = q_large.T @ q_small
    cosines = torch.linalg.svdvals(cross).clamp(max=1.0)
    sines = torch.linalg.svdvals(q_small - q_large @ cross).clamp(max=1.0).flip(0)
    return torch.where(cosines**2 > 0.5, sines.asin(), cosines.acos())


def _fingerprint(problem: AbstractProblem) -> str:
    if isinstance(problem, Problem):
        return digest([list(problem.layout.names), [list(s) for s in problem.layout.shapes]])
    return digest([problem.name, problem.ambient_dim])


def _read(path: str | Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    if not Path(path).is_file():
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
    if meta.get("format") != _FORMAT or "offset" not in tensors:
        raise invalid(
            "path",
            expected=f"a file in the format {_FORMAT!r}",
            got=f"{meta.get('format', 'another safetensors file')!r} in {path}",
        )
    return meta, tensors


def _map(tensors: dict[str, torch.Tensor], meta: dict[str, str], path: str | Path) -> LinearMap:
    offset = tensors["offset"]
    chosen: LinearMap
    if "basis" in tensors:
        chosen = ColumnsMap(tensors["basis"], tensors.get("scales"))
    else:
        chosen = CoordinateMap(tensors["positions"], len(offset))
    if chosen.ambient_dim != len(offset) or chosen.checksum() != meta["checksum"]:
        raise invalid(
            "subspace",
            expected="the checksum that it was saved with",
            got=f"another in {path}",
            remedy="The file is damaged: save it again.",
        )
    return chosen
