"""`@trainable`: a user's own training function, of any framework, as what trains a trial.

It is called with a `RunningTrial`, which says d, a seed and the repeat, and takes reports. What
the function raises is an outcome of that trial, with its reason in the record.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch

from subspan import metrics
from subspan.canonical import without_defaults
from subspan.errors import invalid, real, text_name, whole
from subspan.goals import Goal, name_of, parse_goal
from subspan.printable import printable, shown
from subspan.spec import AUTO, LATER_FIELDS, LrChoice, choice_of, refuse_auto
from subspan.streams import derive, scoped_global_rngs
from subspan.training.outcome import CurvePoint, NotFinite, Outcome
from subspan.trials.evaluations import evaluations
from subspan.trials.failures import ERRORS, failed_record
from subspan.trials.provenance import environment
from subspan.trials.trainable import Pair, Trainable
from subspan.trials.trial import Family, Trial, TrialRecord

_SEEDS = 2**31  # what NumPy's and Lightning's global generators take


@dataclass(frozen=True)
class LoopSpec:
    """What is told to a function of how to train.

    Args:
        lr: learning rate; None where it is the function's own affair; `"auto"` where it is to be
            chosen, in the range that the function declares. A trial has a number or None.
        stop_at: a goal, or its text, at which `report` answers True.
        lr_choice: how `lr` was chosen, where it was.
    """

    lr: float | Literal["auto"] | None = None
    stop_at: Goal | str | None = None
    lr_choice: LrChoice | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "lr_choice", choice_of(self.lr_choice))
        if self.lr is not None and self.lr != AUTO:
            object.__setattr__(self, "lr", real("lr", self.lr, low=0.0, strict=True))
        if self.stop_at is not None:
            object.__setattr__(self, "stop_at", parse_goal(self.stop_at))

    @property
    def number_lr(self) -> float | None:
        """The learning rate, where it is a number or None.

        Raises:
            InputError: it is `"auto"`.
        """
        refuse_auto(self.lr)
        assert not isinstance(self.lr, str)
        return self.lr

    def replace(self, **changes: Any) -> Self:
        """Return a copy with fields changed."""
        return dataclasses.replace(self, **changes)

    def to_json(self) -> dict[str, Any]:
        """Return the spec as plain JSON data, the form that is hashed and stored."""
        chosen = None if self.lr_choice is None else dataclasses.asdict(self.lr_choice)
        stop = None if self.stop_at is None else str(self.stop_at)
        fields = {"lr": self.lr, "stop_at": stop, "lr_choice": chosen}
        return without_defaults(fields, LATER_FIELDS)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> LoopSpec:
        """Build a spec from `to_json`'s output."""
        return cls(**data)


class RunningTrial:
    """One trial while a function trains it.

    Attributes:
        dim: training dimension d; at 0 nothing is to be trained.
        seed: of everything random in this trial, in [0, 2³¹); the same for every dim of a repeat.
        repeat: which repeat it is.
        lr: learning rate; None where it is the function's own affair.
    """

    def __init__(self, dim: int, repeat: int, spec: LoopSpec, seed: int) -> None:
        self.dim, self.repeat, self.lr = dim, repeat, spec.number_lr
        self.seed = seed_of(seed, repeat)
        self._goal: Goal | None = None if spec.stop_at is None else parse_goal(spec.stop_at)
        self._points: dict[int, dict[str, float]] = {}
        self._last = 0
        self._stopped = False
        self._not_finite = NotFinite()

    def report(
        self,
        metrics: Mapping[str, float] | None = None,
        /,
        *,
        step: int | None = None,
        **named: Any,
    ) -> bool:
        """Note metrics at a step; say whether the trial may stop.

        Args:
            metrics: by name, `"[split:]metric"`, the split `train` where it is left out. Where one
                is noisy, a list of two or more independent evaluations: then the metric is their
                mean, and its standard error and their number stand beside it as `NAME.se` and
                `NAME.n`, of which `noisy_threshold` takes account.
            step: how many steps were taken, not less than before; None: one more.
            named: more metrics, by name.

        Returns:
            True where the goal is met, or a metric is not finite: there is nothing more to learn.

        Raises:
            InputError: a metric is not a number, or the step runs backwards.
        """
        at = self._last + 1 if step is None else whole("step", step, low=self._last)
        met = self._note({**(metrics or {}), **named}, at)
        self._stopped = self._stopped or met
        return met or bool(self._not_finite.reason)

    def _note(self, values: Mapping[str, Any], step: int) -> bool:
        found = _numbers(values)
        self._not_finite.note(found, step)
        self._points.setdefault(step, {}).update(found)
        self._last = step
        goal = self._goal
        value = math.nan if goal is None else found.get(name_of(goal), math.nan)
        return goal is not None and math.isfinite(value) and goal.met_by(value)

    def _result(self, returned: Any) -> tuple[Outcome, str]:
        """Note what the function returned, and say how the trial ended."""
        if returned is not None:
            if not isinstance(returned, Mapping):
                raise invalid(
                    "what the function returns",
                    expected="metrics by name, or None",
                    got=repr(returned),
                    remedy='Write return {"val:accuracy": accuracy}.',
                )
            self._note(returned, self._last or min(self.dim, 1))  # step 0: nothing was trained
        outcome = Outcome.STOPPED if self._stopped else Outcome.FINISHED
        return self._not_finite.ends(outcome), self._not_finite.reason

    @property
    def _curve(self) -> tuple[CurvePoint, ...]:
        return tuple(CurvePoint(step, self._points[step]) for step in sorted(self._points))


Function = Callable[[RunningTrial], Mapping[str, float] | None]


class FunctionTrainable(Trainable):
    """A user's function with a name, a largest dimension and a version. Made by `trainable`."""

    width = 1
    train_size = 0
    device = torch.device("cpu")  # where its worker is; the function chooses its own

    def __init__(
        self,
        function: Function,
        name: str,
        max_dim: int,
        version: str,
        lr: float | None,
        lr_range: tuple[float, float] | None = None,
    ) -> None:
        functools.update_wrapper(self, function)
        self.lr_range = lr_range
        self.function, self.name, self.max_dim, self.version = function, name, max_dim, version
        self.default_spec = LoopSpec(lr)
        self._family: tuple[LoopSpec, int, Family] | None = None  # of the last trial asked for
        self.identity: dict[str, Any] = {
            "name": name,
            "kind": "trainable",
            "version": version,
            "max_dim": max_dim,
        }

    @property
    def ambient_dim(self) -> int:
        """The largest dimension, as a problem calls it."""
        return self.max_dim

    def __call__(self, trial: RunningTrial) -> Any:
        """Call the function itself."""
        return self.function(trial)

    def __repr__(self) -> str:
        told = printable(f"{self.name}, version {self.version}")
        return f"<trainable {told}: max_dim = {self.max_dim:,}>"

    def trial(self, pair: Pair, spec: LoopSpec, seed: int) -> Trial:
        """Return the identity of a trial.

        Raises:
            InputError: the dimension is not 0 … max_dim, or the spec is one for a problem.
        """
        if not isinstance(spec, LoopSpec):
            raise invalid(
                "spec",
                expected="a LoopSpec, for a function",
                got=type(spec).__name__,
                remedy="How it trains is the function's own affair; LoopSpec(lr=0.1) gives "
                "trial.lr.",
            )
        whole("dim", pair[0], low=0, high=self.max_dim)
        _ = spec.number_lr
        last = self._family
        if last is None or last[0] is not spec or last[1] != seed:  # specs do not change
            family = Family(self.identity, {"name": "trainable"}, spec.to_json(), seed)
            self._family = last = spec, seed, family
        return last[2].trial(*pair)

    def split(self, pairs: Sequence[Pair], workers: int) -> list[list[Pair]]:
        """One trial is one piece of work."""
        return [[pair] for pair in pairs]

    def train(self, pairs: Sequence[Pair], spec: LoopSpec, seed: int) -> list[TrialRecord]:
        """Call the function for each trial, and make records of what comes of it."""
        return [self._train(pair, spec, seed) for pair in pairs]

    def _train(self, pair: Pair, spec: LoopSpec, seed: int) -> TrialRecord:
        running = RunningTrial(*pair, spec, seed)
        trial, clock = self.trial(pair, spec, seed), time.perf_counter()
        try:
            with scoped_global_rngs(running.seed):
                outcome, reason = running._result(self.function(running))
        except ERRORS as error:
            return failed_record(
                trial,
                self.max_dim,
                self.device,
                error,
                steps=running._last,
                curve=running._curve,
                wall_time=time.perf_counter() - clock,
            )
        return TrialRecord(
            trial=trial,
            ambient_dim=self.max_dim,
            outcome=outcome,
            steps=running._last,
            curve=running._curve,
            theta_norm=math.nan,
            wall_time=time.perf_counter() - clock,
            provenance={**environment(self.device), "threads": torch.get_num_threads()},
            reason=reason,
        )


def trainable(
    *,
    name: str,
    max_dim: int,
    version: str = "1",
    lr: float | tuple[float, float] | None = None,
) -> Callable[[Function], FunctionTrainable]:
    """Make a training function something to measure: `threshold`, `run`, `compare`, `diagnose`.

    The function is called with a `RunningTrial` and trains at `trial.dim` degrees of freedom. It
    calls `trial.report(step=..., **{"val:accuracy": a})` as often as it likes and stops where that
    answers True; it may return metrics by name as well. PyTorch's, NumPy's and Python's global
    generators are seeded from the trial while it runs, and put back after.

    An exception, an out-of-memory and `sys.exit` among them, is the outcome `failed`, a metric that
    is not finite, and was not again, the outcome `diverged`, each with its reason in the record.

    Args:
        name: trials are known by it.
        max_dim: the largest d, usually the number of weights.
        version: raise it when what the function does changes: code cannot be hashed, and trials
            of an older version are not to be mixed with those of a new one.
        lr: passed on as `trial.lr`: a number, or the (low, high) that it lies in. There
            `threshold` searches it; else the geometric mean is taken where none is given.

    Raises:
        InputError: an argument is out of range.
    """
    text_name("name", name)
    largest = whole("max_dim", max_dim, low=1)
    if isinstance(lr, tuple | list):
        span = lr_range(lr)
        chosen: float | None = math.sqrt(span[0] * span[1])
    else:
        span, chosen = None, lr

    def decorate(function: Function) -> FunctionTrainable:
        if not callable(function):
            raise invalid("trainable", expected="a function of one trial", got=repr(function))
        return FunctionTrainable(function, name, largest, str(version), chosen, span)

    return decorate


def lr_range(ends: Sequence[float]) -> tuple[float, float]:
    """Return the two ends between which a learning rate is searched.

    Raises:
        InputError: they are not two positive numbers, the smaller first.
    """
    try:
        low, high = (real("lr", end, low=0.0, strict=True) for end in ends)
    except (TypeError, ValueError):
        low, high = 1.0, 0.0
    if not low < high:
        raise invalid("lr", expected="a range (low, high) with 0 < low < high", got=repr(ends))
    return low, high


def seed_of(seed: int, repeat: int) -> int:
    """Return the seed that a repeat's loop is given, in [0, 2³¹)."""
    return derive(seed, "function", repeat) % _SEEDS


def record_of_metrics(
    trial: Trial,
    values: Mapping[str, Any],
    *,
    steps: int,
    ambient_dim: int,
    stopped: bool = False,
) -> TrialRecord:
    """Return the record of a trial that was trained elsewhere, from its metrics alone.

    Args:
        trial: which it was.
        values: the best of each metric, by name; a list of several evaluations of a noisy one.
        steps: what it took.
        ambient_dim: the largest d.
        stopped: whether it was cut short.

    Raises:
        InputError: a name or a value is none.
    """
    named = _numbers(values)
    bad = [f"{name} is {value}" for name, value in named.items() if not math.isfinite(value)]
    return TrialRecord(
        trial=trial,
        ambient_dim=ambient_dim,
        outcome=Outcome.DIVERGED if bad else Outcome.STOPPED if stopped else Outcome.FINISHED,
        steps=steps,
        curve=(CurvePoint(max(steps, min(trial.dim, 1)), named),),
        theta_norm=math.nan,
        wall_time=0.0,
        provenance=environment(torch.device("cpu")),
        reason="; ".join(bad),
    )


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Return metrics by full name; of several evaluations their mean, error and number."""
    return {
        metrics.qualified(*metrics.parse(k)): _number(k, v)
        for name, value in values.items()
        for k, v in evaluations(name, value).items()
    }


def _number(name: str, value: Any) -> float:
    try:
        return float(value.detach() if isinstance(value, torch.Tensor) else value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise invalid(f"metric {name}", expected="a number", got=shown(value)) from None
