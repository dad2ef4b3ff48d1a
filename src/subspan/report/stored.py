"""`StoredExperiment`: the trials of a store that can be counted together, and what they tell of d*.

A store holds trials of any problems, methods and training specs. What shares all three, whatever
goal it stopped at, is one experiment.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from subspan.canonical import canonical_json, digest
from subspan.errors import invalid
from subspan.goals import Goal, name_of, parse_goal
from subspan.spec import shared
from subspan.subspaces.registry import METHODS
from subspan.success.estimate import ThresholdEstimate, fit_threshold
from subspan.success.noted import NotedEstimate
from subspan.success.records import Experiment
from subspan.success.surface import SuccessSurface, success_surface
from subspan.trials.stores.base import RecordStore
from subspan.trials.stores.registry import open_store
from subspan.trials.trial import TrialRecord


@dataclass(frozen=True, eq=False)
class StoredExperiment:
    """Trials of one problem, method and training spec.

    Args:
        experiment: what they share.
        records: the trials, in the store's order.
    """

    experiment: Experiment
    records: tuple[TrialRecord, ...] = dataclasses.field(repr=False)

    @property
    def id(self) -> str:
        """Eight hex digits: of the problem, method and spec; the same in every store."""
        e = self.experiment
        return digest({"problem": e.problem, "method": e.method, "spec": e.spec})[:8]

    @property
    def problem(self) -> str:
        """The problem's name."""
        return str(self.experiment.problem.get("name", "problem"))

    @property
    def family(self) -> str:
        """The same for experiments that differ in nothing but the learning rate."""
        e = self.experiment
        spec = {k: v for k, v in e.spec.items() if k != "lr"}
        return digest({"problem": e.problem, "method": e.method, "spec": spec})[:8]

    @property
    def lr(self) -> float | None:
        """The learning rate; None where a function chooses its own."""
        lr = self.experiment.spec.get("lr")
        return float(lr) if isinstance(lr, int | float) else None

    @property
    def method(self) -> str:
        """The method as the command line reads it: `random`, `burn-in:64`, `random:gaussian`."""
        return _method(self.experiment.method)

    @property
    def training(self) -> str:
        """How it was trained, in words."""
        return _training(self.experiment.spec)

    def found_by(self, noted: Iterable[NotedEstimate]) -> NotedEstimate | None:
        """Return the estimate whose search over d and learning rate these trials are a part of."""
        e = self.experiment
        for one in noted:
            shared = one.estimate.experiment
            if (
                shared is not None
                and set(self.stops) == {None if one.stop_at is None else str(one.stop_at)}
                and (shared.problem, shared.method) == (e.problem, e.method)
                and {**e.spec, "lr": shared.spec["lr"]} == shared.spec
            ):
                return one
        return None

    @functools.cached_property
    def stops(self) -> tuple[str | None, ...]:
        """The goals at which trials were to stop, as text, or None, in the store's order."""
        return tuple(dict.fromkeys(r.trial.spec.get("stop_at") for r in self.records))

    def goals_asked(self) -> tuple[Goal, ...]:
        """The goals at which some of the trials were to stop."""
        return tuple(parse_goal(text) for text in self.stops if text)

    def telling(self, goal: Goal | str) -> list[TrialRecord]:
        """Return the trials that tell whether they met a goal, chosen without looking at it.

        Those that were to stop at another goal, unless one as hard of the same metric, are left
        out whether or not they stopped: to leave out those that did would be a biased choice. One
        that failed missed what it did not reach.
        """
        wanted = parse_goal(goal)
        fit = {text for text in self.stops if tells(text, wanted)}
        return [r for r in self.records if r.trial.spec.get("stop_at") in fit]

    def range(self, goal: Goal | str) -> tuple[int, int] | None:
        """Return the dims that d* is sought between: 1 and D where `threshold` sought it.

        None: the dims tried, as for any grid of trials.
        """
        asked = parse_goal(goal) in self.goals_asked()
        return (1, self.experiment.ambient_dim) if asked else None

    def designed(self, goal: Goal | str) -> bool:
        """Whether a design, and not a grid, chose the dims of trials that were to stop at a goal.

        `threshold` gives every trial a repeat of its own; a grid has each repeat at many dims.
        """
        wanted = parse_goal(goal)
        asked = {text for text in self.stops if text and parse_goal(text) == wanted}
        if not asked:  # nor need the trials be looked through
            return False
        dims: dict[tuple[int, int], set[int]] = {}
        for trial in (r.trial for r in self.records if r.trial.spec.get("stop_at") in asked):
            dims.setdefault((trial.seed, trial.repeat), set()).add(trial.dim)
        alone = all(len(each) == 1 for each in dims.values())
        return alone and len(set[int]().union(*dims.values())) > 1

    def surface(self, goals: Iterable[Goal | str], confidence: float = 0.95) -> SuccessSurface:
        """Measure the success probability, for each goal from the trials that tell.

        Raises:
            InputError: none tells, or no trial has the metric.
        """
        wanted = [parse_goal(goal) for goal in goals]
        each = [success_surface(self.telling(goal), goal, confidence) for goal in wanted]
        cells = tuple(cell for surface in each for cell in surface.cells)
        return SuccessSurface(self.experiment, cells, confidence)

    def estimate(self, goal: Goal | str, *, delta: float = 0.1) -> ThresholdEstimate:
        """Estimate d* for a goal from the trials that tell; see `fit_threshold` and `designed`.

        Raises:
            InputError: no trial with a dim above 0 tells.
        """
        low, high = self.range(goal) or (None, None)
        return fit_threshold(
            self.telling(goal),
            goal,
            delta=delta,
            min_dim=low,
            max_dim=high,
            designed=self.designed(goal),
        )


def experiments(
    store: RecordStore | str | Path | Iterable[TrialRecord],
) -> tuple[StoredExperiment, ...]:
    """Return what a store holds, by problem, method and training, in the order of the store.

    Args:
        store: a store, its file or URL, or records.

    Raises:
        StoreError: it cannot be read.
    """
    if isinstance(store, str | Path):
        with open_store(store, readonly=True) as opened:
            return experiments(opened)
    records = store.records() if isinstance(store, RecordStore) else store
    groups: dict[str, list[TrialRecord]] = {}
    names: dict[str, str] = {}  # repr is quick; the canonical form is made once for each
    for record in records:
        trial = record.trial
        spec = shared(trial.spec)
        if spec.get("lr_choice", {}).get("pilot"):
            continue  # others' learning rate was chosen by it: no draw at that learning rate
        told = f"{trial.problem!r} {trial.method!r} {spec!r}"
        if told not in names:
            names[told] = canonical_json([trial.problem, trial.method, spec])
        groups.setdefault(names[told], []).append(record)
    return tuple(_of(group) for group in groups.values())


def experiment(
    store: RecordStore | str | Path | Iterable[TrialRecord], id: str
) -> StoredExperiment:
    """Return the experiment of an id, as the page prints it.

    Raises:
        InputError: the store has none.
    """
    found = experiments(store)
    for stored in found:
        if stored.id == id:
            return stored
    raise invalid("id", expected=f"one of {', '.join(s.id for s in found)}", got=repr(id))


def tells(stop_at: Any, goal: Goal) -> bool:
    """Whether trials that were to stop at a goal (or None) all tell whether they met another."""
    if stop_at is None:
        return True
    stop = parse_goal(stop_at)
    if name_of(stop) != name_of(goal) or stop.higher != goal.higher:
        return False
    return goal.level <= stop.level if goal.higher else goal.level >= stop.level


def _of(records: Sequence[TrialRecord]) -> StoredExperiment:
    trial = records[0].trial
    spec = shared(trial.spec)
    seeds = tuple(sorted({r.trial.seed for r in records}))
    e = Experiment(trial.problem, trial.method, spec, records[0].ambient_dim, seeds)
    return StoredExperiment(e, tuple(records))


def _method(config: Mapping[str, Any]) -> str:
    """Return a method as the command line reads it, without what its class has by default."""
    name = str(config.get("name", "?"))
    form = METHODS.get(name)
    if form is None:
        return name
    usual = {k: p.default for k, p in inspect.signature(form.make).parameters.items()}
    own = {
        key: value
        for key, value in config.items()
        if key != "name" and isinstance(value, str | int | float) and form.takes(key)
        if usual.get(key, "an option of the map") not in (None, value)
    }
    told = [str(own.pop(form.short))] if form.short in own else []
    told += [
        f"{key}={str(value).lower() if isinstance(value, bool) else value}"
        for key, value in own.items()
    ]
    return f"{name}:{','.join(told)}" if told else name


def _training(spec: dict[str, Any]) -> str:
    lr = spec.get("lr")
    parts = [str(spec["optimizer"])] if spec.get("optimizer") else []
    parts += [f"lr {lr:g}"] if isinstance(lr, int | float) else []
    parts += [f"best lr for {spec['lr_choice']['by']}"] if spec.get("lr_choice") else []
    for length in ("steps", "epochs"):
        if spec.get(length):
            parts.append(f"{spec[length]:g} {length}")
    if "batch_size" in spec:
        parts.append("full batch" if spec["batch_size"] is None else f"batch {spec['batch_size']}")
    if spec.get("schedule") not in (None, "constant"):
        parts.append(str(spec["schedule"]))
    return ", ".join(parts) or "its own training"
