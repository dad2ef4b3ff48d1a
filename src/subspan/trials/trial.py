"""`Trial`: the identity of one training run. `TrialRecord`: what came of it, immutable."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from subspan import notebook
from subspan.canonical import TextDigest, canonical_json, digest
from subspan.errors import invalid
from subspan.goals import Goal, best_for
from subspan.maps import changes_of_bits
from subspan.metrics import find, known, parse, qualified
from subspan.printable import printable
from subspan.training.outcome import CurvePoint, Outcome
from subspan.trials.checks import check_curve, check_record
from subspan.trials.packed import Layout, PackedCurve


@dataclass(frozen=True)
class Trial:
    """One training run, before it is run: problem × method × dim × spec × seed × repeat.

    All fields are plain JSON data. `key` is a hash of them and the primary key of the store.
    """

    problem: dict[str, Any]
    method: dict[str, Any]
    dim: int
    spec: dict[str, Any]
    seed: int
    repeat: int

    def to_json(self) -> dict[str, Any]:
        """Return the identity as plain JSON data, the form that is hashed."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    @functools.cached_property
    def key(self) -> str:
        """32 hex digits: the hash of the canonical JSON of the identity.

        And of what came after it: a record of other bits of the map is not this trial's.
        """
        changes = changes_of_bits(self.method.get("map"), self.dim)
        return digest(self.to_json() | ({"map_bits": changes} if changes else {}))


class Family:
    """Trials that differ in dim and repeat alone: what they share is turned into text once.

    Args:
        problem: identity, as of all these a plain JSON object.
        method: configuration.
        spec: how they are trained.
        seed: of all of them.
    """

    def __init__(
        self, problem: dict[str, Any], method: dict[str, Any], spec: dict[str, Any], seed: int
    ) -> None:
        self.problem, self.method, self.spec, self.seed = problem, method, spec, seed
        self._before = f'"method":{canonical_json(method)},"problem":{canonical_json(problem)},'
        after = f',"seed":{canonical_json(seed)},"spec":{canonical_json(spec)}}}'
        self._after = after.encode()
        self._begun: dict[int, TextDigest] = {}  # by dim

    def trial(self, dim: int, repeat: int) -> Trial:
        """Return one of them, its key with it."""
        trial = Trial(self.problem, self.method, dim, self.spec, self.seed, repeat)
        trial.__dict__["key"] = self.keys(dim, [repeat])[0]
        return trial

    def keys(self, dim: int, repeats: Sequence[int]) -> list[str]:
        """Return the keys of some of them."""
        if type(dim) is not int or any(type(repeat) is not int for repeat in repeats):
            # Their text is not what stands below.
            return [
                Trial(self.problem, self.method, dim, self.spec, self.seed, repeat).key
                for repeat in repeats
            ]
        begun = self._begun.get(dim)
        if begun is None:
            changes = changes_of_bits(self.method.get("map"), dim)
            bits = f'"map_bits":{changes},' if changes else ""
            begun = TextDigest(f'{{"dim":{dim},{bits}{self._before}"repeat":')
            self._begun[dim] = begun
        after = self._after
        return begun.of(b"%d%b" % (repeat, after) for repeat in repeats)


@dataclass(frozen=True)
class TrialRecord:
    """The immutable record of one trial: its identity, what came of it, and where it was run.

    Accuracies are fractions; a metric the problem lacks is NaN. `wall_time` is the trial's share
    of its ensemble's seconds. `search_steps` and `search_bits` are what the method spent to find
    the subspace: full-space training steps, and bits to store it beyond a seed. `reason` says
    why a trial failed or diverged, where more is known than its outcome.

    One that was read from a store is made of what is stored field by field, when it is asked for;
    its curve and provenance whenever they are.
    """

    trial: Trial
    ambient_dim: int
    outcome: Outcome
    steps: int
    curve: tuple[CurvePoint, ...]
    theta_norm: float
    wall_time: float
    search_steps: int = 0
    search_bits: int = 0
    provenance: dict[str, Any] = dataclasses.field(default_factory=dict)
    reason: str = ""

    # Of one that was read: what it has in common with others, and the rest as it is stored.
    _kin: ClassVar[Any] = None
    _stored: ClassVar[tuple[str, int, int, int, bytes] | None] = None

    def __repr__(self) -> str:
        """One line: which trial, and what came of it. `dataclasses.asdict` has everything."""
        names = self.trial.problem.get("name", "?"), self.trial.method.get("name", "?")
        told = f"best train loss {self.best_train_loss:.4g}"
        if self.metrics and "train:loss" not in self.metrics:
            told = f"last {self.metrics[0]} {self.final(*parse(self.metrics[0])):.4g}"
        return printable(
            f"<TrialRecord {names[0]} {names[1]} d={self.dim} repeat={self.trial.repeat}: "
            f"{self.outcome.value} after {self.steps} steps, {told}, key {self.key[:8]}…>"
        )

    def _repr_html_(self) -> str:
        """Return what a notebook shows: which trial, what came of it, its metrics."""
        names = self.trial.problem.get("name", "?"), self.trial.method.get("name", "?")
        rows = []
        for name in self.metrics:
            metric, split = parse(name)
            best = self.best(metric, split) if find(metric) else None
            rows.append((name, best, self.final(metric, split)))
        return notebook.table(
            f"{names[0]}, {names[1]}, d = {self.dim:,}, repeat {self.trial.repeat}",
            ("metric", "best", "last"),
            rows,
            f"{self.outcome.value} after {self.steps:,} steps, key {self.key[:12]}.",
            self.reason,
        )

    def __getattr__(self, name: str) -> Any:
        if self._stored is None or name.startswith("__"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        value = self._kin.field(name, self._stored)
        if name not in ("curve", "provenance"):  # which take much more room than they are stored in
            object.__setattr__(self, name, value)
        return value

    @property
    def stored(self) -> tuple[Layout, bytes, int] | None:
        """How the curve lies in bytes, these, and where in them it begins; None if in none."""
        return None if self._stored is None else self._kin.curve(self._stored[-1])

    @property
    def shared(self) -> Mapping[str, Any]:
        """The identity's problem, method and spec, which other trials share: read only."""
        return self.trial.__dict__ if self._kin is None else self._kin.shared

    @property
    def draw(self) -> tuple[int, int, int]:
        """Dim, seed and repeat: all records of a draw are of one training, told at its stops."""
        stored = self._stored
        if stored is None:
            trial = self.trial
            return trial.dim, trial.seed, trial.repeat
        return stored[1], stored[3], stored[2]

    @property
    def environment(self) -> Mapping[str, Any]:
        """The provenance without a checksum that is the trial's own; others share it: read only."""
        return self.provenance if self._kin is None else self._kin.environment

    @property
    def key(self) -> str:
        """The trial's key."""
        return self.trial.key

    @property
    def dim(self) -> int:
        """Training dimension d."""
        return self.draw[0]

    @property
    def is_pilot(self) -> bool:
        """Whether others' learning rate was chosen by it, so that it counts as no draw."""
        choice = self.shared["spec"].get("lr_choice")
        return choice is not None and choice["low"] is None

    @property
    def best_train_loss(self) -> float:
        """Lowest training loss over the curve."""
        return self.best("loss", "train")

    @property
    def best_train_accuracy(self) -> float:
        """Highest training accuracy over the curve."""
        return self.best("accuracy", "train")

    @property
    def best_test_loss(self) -> float:
        """Lowest test loss over the curve."""
        return self.best("loss", "test")

    @property
    def best_test_accuracy(self) -> float:
        """Highest test accuracy over the curve."""
        return self.best("accuracy", "test")

    @property
    def final_train_loss(self) -> float:
        """Training loss at the last evaluation."""
        return self.final("loss", "train")

    @property
    def final_train_accuracy(self) -> float:
        """Training accuracy at the last evaluation."""
        return self.final("accuracy", "train")

    @property
    def final_test_loss(self) -> float:
        """Test loss at the last evaluation."""
        return self.final("loss", "test")

    @property
    def final_test_accuracy(self) -> float:
        """Test accuracy at the last evaluation."""
        return self.final("accuracy", "test")

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics on the curve, `"split:metric"`, in order of first sight."""
        stored = self.stored
        if stored is not None:
            return PackedCurve(*stored).metrics
        return tuple(dict.fromkeys(name for point in self.curve for name in point.metrics))

    def values(self, metric: str, split: str = "train") -> Sequence[float]:
        """Return a metric at each evaluation, NaN where it was not evaluated or not finite."""
        stored = self.stored
        if stored is not None:
            return PackedCurve(*stored).values(qualified(metric, split))
        return [point.value(metric, split) for point in self.curve]

    def final(self, metric: str, split: str = "train") -> float:
        """Return a metric at the last evaluation, or NaN."""
        values = self.values(metric, split)
        return values[-1] if values else float("nan")

    def best(self, metric: str, split: str = "train", *, higher: bool | None = None) -> float:
        """Return the best value of a metric over the curve, or NaN.

        Args:
            metric: its name.
            split: on which data.
            higher: whether more is better; None where the metric is registered.

        Raises:
            InputError: the metric is not registered and `higher` is None.
        """
        if higher is None and find(metric) is None and qualified(metric, split) in self.metrics:
            raise invalid(
                "higher",
                expected="True or False: nobody has said which way the metric goes",
                got="None",
                remedy=f"Or say it once: subspan.metrics.register({metric!r}, 'higher').",
            )
        up = known(metric).higher if higher is None else higher
        values = [v for v in self.values(metric, split) if v == v]
        return (max(values) if up else min(values)) if values else float("nan")

    def best_or_last(self, name: str) -> float:
        """Return the best value of `"split:metric"`; the last, where the direction is unknown."""
        metric, split = parse(name)
        return self.best(metric, split) if find(metric) else self.final(metric, split)

    def meets(self, goal: Goal) -> bool | None:
        """Whether the trial hit the goal at any evaluation.

        Returns:
            True or False; None where the record cannot say, because the trial stopped early at
            another goal before this one was met. One that failed missed what it did not reach.
        """
        return self.meets_at(goal, best_for(goal, self.values(goal.metric, goal.split)))

    def meets_at(self, goal: Goal, best: float) -> bool | None:
        """As `meets`, of the best value that the trial had, or NaN."""
        if goal.met_by(best):
            return True
        return None if self.outcome is Outcome.STOPPED else False


def record_to_json(record: TrialRecord) -> dict[str, Any]:
    """Return a record as plain JSON data, NaN and infinity as null; the curve by metric name."""
    names = record.metrics
    return {
        "trial": record.trial.to_json(),
        "ambient_dim": record.ambient_dim,
        "outcome": record.outcome.value,
        "steps": record.steps,
        "curve": {
            "step": [point.step for point in record.curve],
            **{name: [point.metrics.get(name) for point in record.curve] for name in names},
        },
        "theta_norm": _finite(record.theta_norm),
        "wall_time": _finite(record.wall_time),
        "search_steps": record.search_steps,
        "search_bits": record.search_bits,
        "provenance": record.provenance,
        **({"reason": record.reason} if record.reason else {}),
    }


def record_from_json(data: dict[str, Any]) -> TrialRecord:
    """Build a record from `record_to_json`'s output, of this release or an earlier one.

    Raises:
        ValueError: a field is not what a record has; other errors where it is missing or no JSON.
    """
    curve = data["curve"] if isinstance(data["curve"], dict) else columns_of(data["curve"])
    check_curve(curve)
    names = [name for name in curve if name != "step"]
    points = zip(curve["step"], *(curve[name] for name in names), strict=True)
    record = TrialRecord(
        trial=Trial(**data["trial"]),
        ambient_dim=data["ambient_dim"],
        outcome=Outcome(data["outcome"]),
        steps=data["steps"],
        curve=tuple(
            CurvePoint(step, {n: v for n, v in zip(names, values, strict=True) if v is not None})
            for step, *values in points
        ),
        theta_norm=math.nan if data["theta_norm"] is None else data["theta_norm"],
        wall_time=math.nan if data["wall_time"] is None else data["wall_time"],
        search_steps=data["search_steps"],
        search_bits=data["search_bits"],
        provenance=data["provenance"],
        reason=data.get("reason", ""),
    )
    check_record(record)
    return record


_POINT = ("train:loss", "train:accuracy", "test:loss", "test:accuracy")


def columns_of(curve: list[list[Any]]) -> dict[str, list[Any]]:
    """Return a curve of schemas 1 and 2, points of a step and four numbers, by metric name."""
    steps = [point[0] for point in curve]
    named = {name: [point[i] for point in curve] for i, name in enumerate(_POINT, 1)}
    return {
        "step": steps,
        **{name: values for name, values in named.items() if any(v is not None for v in values)},
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
