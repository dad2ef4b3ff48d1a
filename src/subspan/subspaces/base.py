"""`Method`: a way to choose a subspace. `Subspace`: an offset and a map, w = offset + A θ."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch

from subspan.errors import whole
from subspan.maps.base import LinearMap
from subspan.problems.base import AbstractProblem
from subspan.streams import derive


@dataclass(frozen=True)
class Draw:
    """Which subspace a method is to make: the dimension, the user's seed and the repeat.

    Initialisation and batch order depend on (seed, repeat) alone, so different methods and
    dimensions are paired within a repeat; the map depends on the dimension too.

    Args:
        dim: d, 1 or more.
        seed: any integer.
        repeat: 0 or more.

    Raises:
        InputError: one of them is no such integer.
    """

    dim: int
    seed: int
    repeat: int

    def __post_init__(self) -> None:
        for name, low in (("dim", 1), ("seed", None), ("repeat", 0)):
            object.__setattr__(self, name, whole(name, getattr(self, name), low=low))

    @property
    def init_seed(self) -> int:
        """Seed of the initial weights."""
        return derive(self.seed, "init", self.repeat)

    @property
    def map_seed(self) -> int:
        """Seed of the random map or mask."""
        return derive(self.seed, "map", self.repeat, self.dim)

    @property
    def batch_seed(self) -> int:
        """Seed of the order of batches while training θ."""
        return derive(self.seed, "batches", self.repeat)

    @property
    def search_seed(self) -> int:
        """Seed of the order of batches in a method's own search in full space."""
        return derive(self.seed, "search", self.repeat)


@dataclass(frozen=True)
class Subspace:
    """The affine subspace {offset + A θ : θ ∈ R^d}.

    Args:
        offset: weights at θ = 0, shape (D,).
        map: A.
        search_steps: full-space training steps spent to find it.
        search_bits: bits to store it beyond a seed.
    """

    offset: torch.Tensor
    map: LinearMap
    search_steps: int = 0
    search_bits: int = 0


class Method(abc.ABC):
    """A way to choose a d-dimensional affine subspace.

    Laws (`subspan.testing.method_conformance`): the same draw gives the same subspace, another
    draw another; the span has dimension d; initial weights are `problem.init(draw.init_seed)` and
    no others; search costs are counts, the steps told beforehand; `config` round-trips through
    JSON, and `from_config` makes the method again of its `to_config`.

    Attributes:
        named_by: what of the config stands in its label, after the name and a colon.
    """

    named_by: tuple[str, ...] = ()

    @abc.abstractmethod
    def config(self) -> dict[str, Any]:
        """Return plain JSON data that fixes the method; its `"name"` is the registered name."""

    @abc.abstractmethod
    def subspaces(self, problem: AbstractProblem, draws: Sequence[Draw]) -> list[Subspace]:
        """Return one subspace per draw. Many at once, so that a search can run as an ensemble."""

    def search_steps(self, problem: AbstractProblem) -> int:
        """Return the full-space training steps that one of its subspaces costs to find."""
        return 0

    def searches(self, problem: AbstractProblem) -> bool:
        """Whether it searches: what it finds in a repeat then serves all dims."""
        return self.search_steps(problem) > 0

    def max_dim(self, problem: AbstractProblem) -> int:
        """Return the largest training dimension it can make on a problem; D unless it says less.

        Raises:
            InputError: it can make none; `compare` asks before anything is trained.
        """
        return problem.ambient_dim

    def label(self, others: Sequence[Method] = ()) -> str:
        """Return its name for tables, with what tells it from others of that name.

        Args:
            others: methods that it stands beside; itself among them or not.
        """
        config = self.config()
        parts = [key for key in self.named_by if key in config]
        name = ":".join(str(config[key]) for key in ("name", *parts))
        rivals = [c for c in (m.config() for m in others) if c["name"] == config["name"]]
        differing = [
            key
            for key in config
            if key not in parts and any(c.get(key) != config[key] for c in rivals)
        ]
        told = ", ".join(f"{key}={config[key]}" for key in differing)
        return f"{name} ({told})" if told else name

    def to_config(self) -> dict[str, Any]:
        """Return plain JSON data that `from_config` makes the method of; `config`, if not more."""
        return self.config()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Make a method of `to_config`'s output: its arguments by name, beside the `"name"`.

        Raises:
            InputError: an argument is out of range.
        """
        return cls(**{key: value for key, value in config.items() if key != "name"})

    @classmethod
    def starts_alike(cls, config: Mapping[str, Any]) -> bool:
        """Whether every repeat of such a config starts from the same weights, so pairs of repeats
        tell nothing."""
        return False
