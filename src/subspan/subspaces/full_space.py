"""`FullSpace`: the full-space run with which a method finds its subspace, shared within a repeat.

A search depends on the repeat alone, so one run serves every training dimension. What was found
is kept in a cache of bounded size; each trial is still charged the whole search.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from subspan.canonical import canonical_json
from subspan.errors import invalid
from subspan.maps.base import LinearMap
from subspan.maps.coordinate import CoordinateMap
from subspan.printable import shown
from subspan.problems.base import AbstractProblem
from subspan.spec import TrainSpec
from subspan.subspaces.base import Draw, Subspace
from subspan.training.ensemble import OnStep, train

Found = tuple[torch.Tensor, ...]
_CACHE_BYTES = 2**30
_SEARCH_BYTES = 2**30  # what the searches that run as one ensemble may hold together


@dataclass(frozen=True)
class FullSpace:
    """Momentum SGD in all D weights, as in the official code (Larsen et al., 2022).

    Raises:
        InputError: a setting that `TrainSpec` refuses.
    """

    lr: float = 0.05
    momentum: float = 0.9
    batch_size: int = 128

    def __post_init__(self) -> None:
        if isinstance(self.lr, str):  # "auto" is `threshold`'s; a search has a number
            raise invalid("lr", expected="a positive number", got=shown(self.lr))
        spec = self.spec(1)  # checks all three
        for name in ("lr", "momentum", "batch_size"):
            # NumPy's numbers become Python's; an int stays one: trials are known by its text.
            if not isinstance(getattr(self, name), int):
                object.__setattr__(self, name, getattr(spec, name))

    def config(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return asdict(self)

    def spec(self, steps: int) -> TrainSpec:
        """Return the training spec of a run of `steps` steps."""
        return TrainSpec(
            optimizer="sgd",
            lr=self.lr,
            momentum=self.momentum,
            batch_size=self.batch_size,
            steps=steps,
        )

    def steps_of(self, epochs: float, problem: AbstractProblem) -> int:
        """Return the steps of that many passes over a problem's training set."""
        per_epoch = self.spec(1).steps_per_epoch(problem.train_size)
        return max(1, round(epochs * per_epoch))

    def train(
        self,
        problem: AbstractProblem,
        starts: Sequence[torch.Tensor],
        seeds: Sequence[int],
        steps: int,
        *,
        maps: Sequence[LinearMap] | None = None,
        on_step: OnStep | None = None,
    ) -> list[torch.Tensor]:
        """Train all from their starts as one ensemble; return the final weights of each.

        Args:
            problem: what to train.
            starts: weights, shape (D,) each.
            seeds: of the order of batches, one each.
            steps: how many; 0 returns the starts.
            maps: train in these instead of the full space, e.g. under a mask.
            on_step: as for `training.ensemble.train`.

        Raises:
            InputError: one of them diverged.
        """
        if not steps:
            return list(starts)
        if maps is None:
            whole = CoordinateMap.identity(problem.ambient_dim, dtype=problem.dtype)
            maps = [whole.to(problem.device)] * len(starts)
        subspaces = [Subspace(w, m) for w, m in zip(starts, maps, strict=True)]
        results = train(
            problem, subspaces, self.spec(steps), seeds, evaluate=False, on_step=on_step
        )
        ends = [start + m(r.theta) for start, m, r in zip(starts, maps, results, strict=True)]
        if not all(bool(torch.isfinite(end).all()) for end in ends):
            raise invalid(
                "search",
                expected="one that converges",
                got="one that diverged",
                remedy=f"Lower its learning rate: lr={self.lr:g} now.",
            )
        return ends

    def weights_at(
        self, problem: AbstractProblem, draws: Sequence[Draw], marks: Sequence[int]
    ) -> list[torch.Tensor]:
        """Return, for each draw, its weights after each of the marked steps, (len(marks), D)."""
        config = {"what": "weights", "marks": list(marks), **self.config()}

        def search(group: Sequence[Draw]) -> list[Found]:
            starts = [problem.init(d.init_seed) for d in group]
            kept = torch.stack([torch.stack(starts)] * len(marks), dim=1)

            def keep(step: int, weights: torch.Tensor) -> None:
                for i, mark in enumerate(marks):
                    if mark == step - 1:
                        kept[:, i] = weights

            last = max(marks)
            ends = self.train(problem, starts, [d.search_seed for d in group], last, on_step=keep)
            for i, mark in enumerate(marks):
                if mark == last:
                    kept[:, i] = torch.stack(ends)
            return [(weights.clone(),) for weights in kept]

        size = (len(marks) + 3) * problem.ambient_dim * problem.dtype.itemsize
        return [found[0] for found in shared(problem, config, draws, search, size)]


class SearchCache:
    """What searches found, by key; the least recently used goes first when room runs out."""

    def __init__(self, limit: int = _CACHE_BYTES) -> None:
        self.limit, self._held = limit, 0
        self._found: OrderedDict[str, Found] = OrderedDict()

    def get(self, key: str) -> Found | None:
        """Return what was found, or None."""
        if key in self._found:
            self._found.move_to_end(key)
        return self._found.get(key)

    def put(self, key: str, found: Found) -> None:
        """Keep what was found, if it fits at all."""
        size = _bytes(found)
        if size > self.limit or key in self._found:
            return
        self._found[key] = found
        self._held += size
        while self._held > self.limit:
            _, gone = self._found.popitem(last=False)
            self._held -= _bytes(gone)

    def clear(self) -> None:
        """Forget everything."""
        self._found.clear()
        self._held = 0


cache = SearchCache()
"""The searches of this process."""


def shared(
    problem: AbstractProblem,
    config: dict[str, Any],
    draws: Sequence[Draw],
    search: Callable[[Sequence[Draw]], list[Found]],
    size: int,
) -> list[Found]:
    """Return what the search of each draw's (seed, repeat) found; each is run at most once here.

    Args:
        problem: its identity, device and dtype are part of the cache's key.
        config: plain JSON data that fixes the search.
        draws: of any dimensions.
        search: runs the searches of draws with different (seed, repeat) as one ensemble.
        size: bytes that one search holds while it runs; decides how many run at once.
    """
    repeats = {(d.seed, d.repeat): d for d in draws}
    keys = {
        pair: canonical_json(
            [problem.identity, str(problem.device), str(problem.dtype), config, *pair]
        )
        for pair in repeats
    }
    found = {pair: hit for pair, key in keys.items() if (hit := cache.get(key)) is not None}
    missing = [pair for pair in repeats if pair not in found]
    together = max(1, _SEARCH_BYTES // max(1, size))
    for i in range(0, len(missing), together):
        group = missing[i : i + together]
        for pair, result in zip(group, search([repeats[p] for p in group]), strict=True):
            found[pair] = result
            cache.put(keys[pair], result)
    return [found[d.seed, d.repeat] for d in draws]


def _bytes(found: Found) -> int:
    return sum(t.numel() * t.element_size() for t in found)
