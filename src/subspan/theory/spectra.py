"""`spectroscopy`: the singular values of full-space runs, which directions training moves in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from subspan.canonical import canonical_json
from subspan.errors import invalid, whole
from subspan.problems.base import AbstractProblem
from subspan.problems.precision import full_precision
from subspan.subspaces.base import Draw
from subspan.subspaces.lottery_subspace import LotterySubspace
from subspan.trials.stores.base import RecordStore
from subspan.trials.stores.notes import Kind, keep, notes, recall


@dataclass(frozen=True)
class Run:
    """The singular values of one run, as a store notes them.

    Args:
        singular_values: falling.
        ambient_dim: D.
        search_steps: training steps.
    """

    singular_values: tuple[float, ...]
    ambient_dim: int
    search_steps: int

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain JSON data."""
        return {
            "singular_values": list(self.singular_values),
            "ambient_dim": self.ambient_dim,
            "search_steps": self.search_steps,
        }

    @classmethod
    def of_json(cls, data: Mapping[str, Any]) -> Run:
        """Return the run that `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        values = tuple(map(float, data["singular_values"]))
        if not values or values[0] <= 0 or list(values) != sorted(values, reverse=True):
            raise ValueError("singular values fall, and the first is above 0")
        return cls(values, int(data["ambient_dim"]), int(data["search_steps"]))


SPECTRUM = Kind("spectrum", Run.of_json)


@dataclass(frozen=True)
class Spectra:
    """The singular values of the trajectories of full-space runs.

    Args:
        problem: its identity.
        method: the configuration of the lottery subspace whose search was run.
        seed: of the runs.
        repeats: of the runs, each with initial weights and an order of batches of its own.
        singular_values: of each run's snapshots, falling.
        ambient_dim: D.
        search_steps: training steps of each run.
    """

    problem: dict[str, Any]
    method: dict[str, Any]
    seed: int
    repeats: tuple[int, ...]
    singular_values: tuple[tuple[float, ...], ...]
    ambient_dim: int
    search_steps: int


@full_precision()
def spectroscopy(
    problem: AbstractProblem,
    method: LotterySubspace | None = None,
    *,
    repeats: int = 1,
    seed: int = 0,
    store: RecordStore | str | Path | None = None,
) -> Spectra:
    """Train in full space and return the singular values of the paths.

    Args:
        problem: what is trained.
        method: the lottery subspace whose search is run; None: `LotterySubspace()`.
        repeats: runs.
        seed: of the runs, as of trials: repeat r starts where trials of repeat r start.
        store: where each run's values are noted, beside trials; what is noted is not trained
            again, and `subspan report` shows it.

    Raises:
        InputError: the method is no lottery subspace, or an argument is out of range.
        StoreError: the store cannot be opened, or a note in it is damaged.
    """
    chosen = LotterySubspace() if method is None else method
    if not isinstance(chosen, LotterySubspace):
        raise invalid("method", expected="a LotterySubspace", got=repr(method))
    repeats, seed = whole("repeats", repeats, low=1), whole("seed", seed)
    config = chosen.config()
    found: dict[int, Run] = {}
    for repeat in range(repeats):
        known = recall(store, SPECTRUM, _asking(problem, config, seed, repeat))
        if known is not None:
            found[repeat] = known
    missing = [repeat for repeat in range(repeats) if repeat not in found]
    paths = chosen.trajectories(problem, [Draw(1, seed, r) for r in missing]) if missing else []
    steps = chosen.search_steps(problem)
    for repeat, path in zip(missing, paths, strict=True):
        run = Run(tuple(path.singular_values.tolist()), problem.ambient_dim, steps)
        keep(store, SPECTRUM, _asking(problem, config, seed, repeat), run)
        found[repeat] = run
    return _together(problem.identity, config, seed, found)


def noted_spectra(store: RecordStore) -> list[Spectra]:
    """Return what a store notes: the runs of one problem, method and seed together.

    Raises:
        StoreError: a note is damaged.
    """
    groups: dict[str, tuple[dict[str, Any], dict[int, Run]]] = {}
    for note in notes(store, SPECTRUM):
        shared = {k: v for k, v in note.asked.items() if k != "repeat"}
        runs = groups.setdefault(canonical_json(shared), (shared, {}))[1]
        runs[note.asked["repeat"]] = note.found
    return [
        _together(asked["problem"], asked["method"], asked["seed"], runs)
        for asked, runs in groups.values()
    ]


def _asking(
    problem: AbstractProblem, config: dict[str, Any], seed: int, repeat: int
) -> dict[str, Any]:
    return {
        "problem": problem.identity,
        "dtype": str(problem.dtype),
        "method": config,
        "seed": seed,
        "repeat": repeat,
    }


def _together(
    problem: dict[str, Any], method: dict[str, Any], seed: int, runs: Mapping[int, Run]
) -> Spectra:
    repeats = tuple(sorted(runs))
    first = runs[repeats[0]]
    values = tuple(runs[repeat].singular_values for repeat in repeats)
    return Spectra(problem, method, seed, repeats, values, first.ambient_dim, first.search_steps)
