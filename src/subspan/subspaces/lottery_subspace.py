"""`LotterySubspace`: the subspace that a full-space run moved in, and its spectroscopy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from subspan.errors import invalid, unknown, whole
from subspan.maps.columns import ColumnsMap
from subspan.problems.base import AbstractProblem
from subspan.subspaces.base import Draw, Method, Subspace
from subspan.subspaces.full_space import Found, FullSpace, shared
from subspan.subspaces.gram_svd import gram_svd

BASES = ("differences", "displacements")
COORDINATES = ("sigma", "root-sigma", "unit")


@dataclass(frozen=True)
class Trajectory:
    """Where a full-space run went: its principal directions, and how far it moved along each.

    Args:
        basis: orthonormal rows, shape (r, D), in the order of the singular values.
        singular_values: of the snapshot matrix, falling, shape (r,), float64.
        offset: the weights that the subspace goes through, shape (D,).
    """

    basis: torch.Tensor
    singular_values: torch.Tensor
    offset: torch.Tensor


class LotterySubspace(Method):
    """w₀ + U_d θ, with U_d the top-d singular vectors of a full-space run from w₀.

    Source: Larsen et al. (2022), official code: momentum SGD; every 5 steps the difference to the
    previous snapshot is kept; SVD; then θ is trained from 0. Departures: exactly `every` steps lie
    between snapshots (there, six before the first); the SVD goes through the Gram matrix, in
    place; and by default column i has a norm in proportion to σ_i, and so has Adam's step along it.

    The spans are nested. With the official unit columns Adam takes equal steps along every
    direction, also along those that training hardly used, and accuracy falls as dims are added
    (`experiments/dip`). The other coordinates give column i a norm n_i that falls with i, which
    leaves the span as it is. Over the d columns Σ n_i² = Σ n_i, as for unit columns, so that Adam's
    step, of length about lr √Σ n_i² ≤ lr √d, is never longer than in a random subspace, and columns
    that the run hardly used, of which a longer search has more, count for nothing.

    Args:
        snapshots: n, the largest d; the search takes n · every steps. Official: the largest d of
            the sweep.
        every: full-space steps between snapshots.
        basis: `"differences"` of successive snapshots (the official code), or `"displacements"`
            w_t − w₀ (the paper's words): the same span for d = n, weighted towards late training.
        coordinates: norm of column i: `"sigma"` in proportion to σ_i, `"root-sigma"` to √σ_i, or
            `"unit"` 1 (official).
        rewind: step k whose weights w_k the subspace goes through; 0 is the initialisation.
        lr: learning rate of the search.
        momentum: of the search.
        batch_size: of the search.

    Raises:
        InputError: an argument is out of range.
    """

    def __init__(
        self,
        snapshots: int = 512,
        every: int = 5,
        *,
        basis: Literal["differences", "displacements"] = "differences",
        coordinates: Literal["sigma", "root-sigma", "unit"] = "sigma",
        rewind: int = 0,
        lr: float = 0.05,
        momentum: float = 0.9,
        batch_size: int = 128,
    ) -> None:
        snapshots = whole("snapshots", snapshots, low=1)
        every = whole("every", every, low=1)
        rewind = whole("rewind", rewind, low=0)
        if basis not in BASES:
            raise unknown("basis", str(basis), list(BASES))
        if coordinates not in COORDINATES:
            raise unknown("coordinates", str(coordinates), list(COORDINATES))
        if rewind > snapshots * every:
            raise invalid(
                "rewind", expected=f"a step up to {snapshots * every}, the last", got=rewind
            )
        self.snapshots, self.every, self.rewind = snapshots, every, rewind
        self.basis, self.coordinates = basis, coordinates
        self.search = FullSpace(lr, momentum, batch_size)

    def config(self) -> dict[str, Any]:
        """Return plain JSON data that fixes the method."""
        return {
            "name": "lottery-subspace",
            "coordinates": self.coordinates,
            **self._search_config(),
        }

    def search_steps(self, problem: AbstractProblem) -> int:
        """Return snapshots · every."""
        return self.snapshots * self.every

    def max_dim(self, problem: AbstractProblem) -> int:
        """Return the number of snapshots, or D if that is smaller."""
        return min(self.snapshots, problem.ambient_dim)

    def subspaces(self, problem: AbstractProblem, draws: Sequence[Draw]) -> list[Subspace]:
        """Return one subspace per draw; the searches run as ensembles, one per repeat.

        Raises:
            InputError: a dimension above the number of independent snapshots.
        """
        for draw in draws:
            _check_dim(
                draw.dim,
                self.max_dim(problem),
                "snapshots of the search",
                f"Ask for more: LotterySubspace(snapshots={draw.dim}).",
            )
        made = []
        for draw, path in zip(draws, self.trajectories(problem, draws), strict=True):
            _check_dim(
                draw.dim,
                len(path.basis),
                "directions in which the search moved (the rest is rounding)",
                "Choose a smaller d, or a longer search: more snapshots, or more steps between.",
            )
            scales = column_scales(self.coordinates, path.singular_values[: draw.dim])
            chosen = ColumnsMap(path.basis[: draw.dim], scales)
            numbers = draw.dim * problem.ambient_dim
            if self.rewind:
                numbers += problem.ambient_dim
            made.append(Subspace(path.offset, chosen, self.search_steps(problem), 32 * numbers))
        return made

    def trajectories(self, problem: AbstractProblem, draws: Sequence[Draw]) -> list[Trajectory]:
        """Return the whole trajectory of each draw's repeat: its spectroscopy."""
        size = (self.snapshots + 8) * problem.ambient_dim * problem.dtype.itemsize
        found = shared(
            problem,
            self._search_config(),
            draws,
            lambda group: self._search(problem, group),
            size,
        )
        return [Trajectory(*parts) for parts in found]

    def _search_config(self) -> dict[str, Any]:
        return {
            "snapshots": self.snapshots,
            "every": self.every,
            "basis": self.basis,
            "rewind": self.rewind,
            **self.search.config(),
        }

    def _search(self, problem: AbstractProblem, draws: Sequence[Draw]) -> list[Found]:
        starts = [problem.init(d.init_seed) for d in draws]
        before = torch.stack(starts)  # (K, D): what the next snapshot is taken against
        offsets = before.clone()
        rows = before.new_empty(len(draws), self.snapshots, problem.ambient_dim)

        def record(steps: int, weights: torch.Tensor) -> None:
            if steps == self.rewind:
                offsets.copy_(weights)
            if steps and steps % self.every == 0:
                torch.sub(weights, before, out=rows[:, steps // self.every - 1])
                if self.basis == "differences":
                    before.copy_(weights)

        total = self.snapshots * self.every
        ends = self.search.train(
            problem,
            starts,
            [d.search_seed for d in draws],
            total,
            on_step=lambda step, weights: record(step - 1, weights),
        )
        record(total, torch.stack(ends))
        found: list[Found] = []
        for i in range(len(draws)):
            sigma = gram_svd(rows[i])
            own = rows[i, : len(sigma)]
            found.append((own if len(draws) == 1 else own.clone(), sigma, offsets[i].clone()))
        return found

    def __repr__(self) -> str:
        return (
            f"LotterySubspace(snapshots={self.snapshots}, every={self.every}, "
            f"coordinates={self.coordinates!r})"
        )


def column_scales(coordinates: str, singular_values: torch.Tensor) -> torch.Tensor | None:
    """Return the norms n of d columns, shape (d,), falling, Σ n² = Σ n; None: all 1 (`"unit"`)."""
    if coordinates == "unit":
        return None
    norms = singular_values.sqrt() if coordinates == "root-sigma" else singular_values
    return norms * (norms.sum() / norms.square().sum())


def _check_dim(dim: int, limit: int, what: str, remedy: str) -> None:
    if dim > limit:
        raise invalid("dim", expected=f"at most {limit}, the {what}", got=dim, remedy=remedy)
