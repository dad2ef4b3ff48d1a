"""`BurnIn`: a random affine subspace through weights trained for t steps in full space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from subspan.errors import whole
from subspan.problems.base import AbstractProblem
from subspan.subspaces.base import Draw, Method, Subspace
from subspan.subspaces.full_space import FullSpace
from subspan.subspaces.random_affine import RandomAffine, check_map, random_map


class BurnIn(Method):
    """A random d-dimensional affine subspace through w_t, after t full-space steps from w₀.

    Source: Larsen et al. (2022): momentum SGD, learning rate 0.05, momentum 0.9, batches of 128.
    Takes exactly t steps, where the official code takes t + 1; t = 0 is `RandomAffine`.

    Args:
        steps: t, 0 or more.
        map: name of a map, as for `RandomAffine`.
        lr: learning rate of the burn-in.
        momentum: of the burn-in.
        batch_size: of the burn-in.
        **options: of the map.

    Raises:
        InputError: an argument is out of range.
    """

    named_by = ("steps",)

    def __init__(
        self,
        steps: int,
        map: str = "hadamard",
        *,
        lr: float = 0.05,
        momentum: float = 0.9,
        batch_size: int = 128,
        **options: Any,
    ) -> None:
        check_map(map, options)
        self.steps, self.map, self.options = whole("burn-in steps", steps, low=0), map, options
        self.search = FullSpace(lr, momentum, batch_size)

    def config(self) -> dict[str, Any]:
        """Return plain JSON data that fixes the method; that of `RandomAffine` where t = 0."""
        if self.steps == 0:
            return RandomAffine(self.map, **self.options).config()
        return self.to_config()

    def to_config(self) -> dict[str, Any]:
        """Return its arguments, also where t = 0."""
        return {
            "name": "burn-in",
            "steps": self.steps,
            "map": self.map,
            **self.search.config(),
            **self.options,
        }

    def subspaces(self, problem: AbstractProblem, draws: Sequence[Draw]) -> list[Subspace]:
        """Return one subspace per draw; the burn-ins run as one ensemble.

        Raises:
            InputError: a burn-in diverged.
        """
        starts = [problem.init(d.init_seed) for d in draws]
        starts = self.search.train(problem, starts, [d.search_seed for d in draws], self.steps)
        bits = 32 * problem.ambient_dim if self.steps else 0  # the offset is no longer a seed
        return [
            Subspace(start, random_map(self.map, self.options, problem, draw), self.steps, bits)
            for start, draw in zip(starts, draws, strict=True)
        ]

    def search_steps(self, problem: AbstractProblem) -> int:
        """Return t."""
        return self.steps

    def __repr__(self) -> str:
        return f"BurnIn(steps={self.steps}, map={self.map!r})"
