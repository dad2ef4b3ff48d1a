"""`Lab`, with which an experiment trains, and `train`, which runs its steps."""

from __future__ import annotations

import gc
import resource
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from subspan import problems
from subspan.comparison import compare
from subspan.errors import invalid
from subspan.problems.base import AbstractProblem
from subspan.problems.registry import takes
from subspan.reproduction.folder import ExperimentFolder
from subspan.reproduction.trials import RESULT
from subspan.success.threshold import threshold
from subspan.trials.progress import Notice
from subspan.trials.run import run
from subspan.trials.runner import Progress
from subspan.trials.stores.registry import open_store

_STEP, _OWNER = "step:", "experiment"  # before the name of a step that came to its end


class Cost(NamedTuple):
    """What training took.

    Args:
        seconds: of the clock.
        peak: most memory of this process or of one of its workers, in bytes.
    """

    seconds: float
    peak: int


class Step(NamedTuple):
    """One part of an experiment.

    Args:
        name: what is done, in words; each of its own.
        work: does it, through the lab.
    """

    name: str
    work: Callable[[], object]


@dataclass(frozen=True)
class Lab:
    """What an experiment trains with: the library's functions, on one store.

    Args:
        scale: `"cpu"` or `"full"`.
        settings: of that scale.
        store: where trials and results are kept.
        data_dir: of data; None for the hub.
        running: how trials run: `workers`, `executor`, `progress`.
        device: where problems are computed; None leaves each where it is. Functions choose theirs.
    """

    scale: str
    settings: dict[str, Any]
    store: Path
    data_dir: Path | None = None
    running: dict[str, Any] = field(default_factory=dict)
    device: str | None = None

    def __getitem__(self, name: str) -> Any:
        """Return a setting of the scale."""
        return self.settings[name]

    def load(self, name: str, **options: Any) -> AbstractProblem:
        """Load a problem on the device, from `data_dir` where it has data of its own."""
        gc.collect()  # problems hold themselves: those of steps before would stay beside it
        place = {"data_dir": self.data_dir} if takes(name, "data_dir") else {}
        loaded: AbstractProblem = self._there(problems.load(name, **place, **options))
        return loaded

    def _there(self, problem: Any) -> Any:
        """Return a problem on the device; several, or a function, as they are."""
        moves = self.device is not None and isinstance(problem, AbstractProblem)
        return problem.to(self.device) if moves else problem

    @property
    def _kept(self) -> dict[str, Any]:
        return {"store": self.store, **self.running}

    def run(self, problem: Any, **arguments: Any) -> Any:
        """Call `subspan.run` with this store."""
        return run(self._there(problem), **arguments, **self._kept)

    def threshold(self, problem: Any, **arguments: Any) -> Any:
        """Call `subspan.threshold` with this store."""
        return threshold(self._there(problem), **arguments, **self._kept)

    def compare(self, problem: Any, **arguments: Any) -> Any:
        """Call `subspan.compare` with this store."""
        return compare(self._there(problem), **arguments, **self._kept)

    def once(self, name: str, work: Callable[[], Any]) -> Any:
        """Compute something that is no trial, unless the store has it.

        Args:
            name: of the result.
            work: returns plain JSON data.
        """
        found = self._noted(f"{RESULT}{name}")
        if found is None:
            found = {"value": work()}
            self._note(f"{RESULT}{name}", found)
        return found["value"]

    def _noted(self, key: str) -> dict[str, Any] | None:
        with open_store(self.store) as store:
            return next((c.data for c in store.claims(key) if c.key == key), None)

    def _note(self, key: str, data: dict[str, Any]) -> None:
        with open_store(self.store) as store:
            store.claim(key, _OWNER, 0.0, data)

    def _note_cost(self, name: str, cost: Cost) -> Cost:
        """Note what a step took; a step whose trials were found took what it took at first."""
        key = f"{_STEP}{name}"
        before = Cost(**(self._noted(key) or {"seconds": 0.0, "peak": 0}))
        most = Cost(max(before.seconds, cost.seconds), max(before.peak, cost.peak))
        self._note(key, most._asdict())
        return most


def train(experiment: ExperimentFolder, lab: Lab, tell: Progress) -> Cost:
    """Do an experiment's steps; those that the store has are quick.

    Args:
        experiment: whose steps they are.
        lab: what it trains with.
        tell: hears of each step, with the time that is left by those done before.

    Returns:
        What it took, when its trials were trained.
    """
    steps = list(_each_of_its_own(experiment.module.steps(lab)))
    costs: list[Cost] = []
    for i, step in enumerate(steps):
        left = _left(costs, len(steps) - i)
        tell(0, None, Notice(f"{i + 1} of {len(steps)}: {step.name}{left}"))
        began = time.monotonic()
        step.work()
        costs.append(lab._note_cost(step.name, Cost(time.monotonic() - began, _peak())))
    return Cost(sum(c.seconds for c in costs), max((c.peak for c in costs), default=0))


def _peak() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    each = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return unit * max(resource.getrusage(who).ru_maxrss for who in each)


def _each_of_its_own(steps: Iterable[Step]) -> Iterable[Step]:
    seen: set[str] = set()
    for step in steps:
        if step.name in seen:
            raise invalid("steps", expected="names, each of its own", got=repr(step.name))
        seen.add(step.name)
        yield step


def _left(costs: list[Cost], steps: int) -> str:
    trained = [cost.seconds for cost in costs if cost.seconds > 1]
    if not trained:
        return ""
    minutes = sum(trained) / len(trained) * steps / 60
    return f"; about {minutes:.0f} min left" if minutes >= 1 else "; less than a minute left"
