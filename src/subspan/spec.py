"""`TrainSpec`: how one trial is trained, as plain data that is part of the trial's identity."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal

from subspan import optimizers
from subspan.canonical import without_defaults
from subspan.errors import invalid, unknown
from subspan.goals import Goal, parse_goal
from subspan.printable import shown

SCHEDULES = ("constant", "cosine", "linear")
DTYPES = ("float32", "float64", "bfloat16")
_LARGEST = 1e30  # of a number that float32 is to hold, and ten thousand times it too
_MOST_STEPS = 10**12  # more than a trial can take in years

_DEFAULT_LR = 0.05

AUTO = "auto"
TENTH = "tenth"  # of training, that evaluation may cost

# Fields that came after version 0.1 and their defaults: left out of the hash when at default.
LATER_FIELDS: dict[str, Any] = {"lr_choice": None, "compile": False}


@dataclass(frozen=True)
class LrChoice:
    """How the learning rate of a trial was chosen, at `lr="auto"`: part of the trial's identity.

    Args:
        by: what it is to serve: a goal's text, or `FINAL_LOSS`.
        low: the smallest lr tried that serves as well (what is left of a loss or an error is at
            most a tenth more), all between it and the chosen one too; None of a pilot trial.
        high: the largest.
        at_edge: the end, `"low"` or `"high"`, of those tried that the chosen one is, if any.
        pilots: how many pilot trials it was chosen by.
        trainings: what they cost, in full trainings.
    """

    by: str
    low: float | None = None
    high: float | None = None
    at_edge: Literal["low", "high"] | None = None
    pilots: int = 0
    trainings: float = 0.0

    @property
    def is_pilot(self) -> bool:
        """Whether the trial is one that others' learning rate is chosen by."""
        return self.low is None


FINAL_LOSS = "final loss"


def refuse_auto(lr: object) -> None:
    """Refuse a learning rate that is to be chosen, where a number is needed.

    Raises:
        InputError: it is `"auto"`.
    """
    if isinstance(lr, str):
        raise invalid(
            "lr",
            expected="a number",
            got=repr(lr),
            remedy="`threshold`, `run` and `compare` choose it; take what they found.",
        )


def choice_of(choice: LrChoice | dict[str, Any] | None) -> LrChoice | None:
    """Return how a learning rate was chosen, from an object or its JSON form.

    Raises:
        InputError: it is neither.
    """
    if choice is None or isinstance(choice, LrChoice):
        return choice
    if isinstance(choice, dict) and choice.keys() <= {f.name for f in dataclasses.fields(LrChoice)}:
        with contextlib.suppress(TypeError):  # one is missing
            return LrChoice(**choice)
    raise invalid("lr_choice", expected="an LrChoice, or its fields by name", got=shown(choice))


def shared(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return of a trial's stored spec what the trials of one experiment share.

    Without `stop_at`, which truncates a trial and changes nothing before; and where the learning
    rate was chosen at each d, with `"auto"` in its place.
    """
    kept = {k: v for k, v in spec.items() if k != "stop_at"}
    choice = choice_of(kept.get("lr_choice"))
    if choice is not None:
        own = {"by": choice.by, **({"pilot": True} if choice.is_pilot else {})}
        kept |= {"lr": AUTO, "lr_choice": own}
    return kept


@dataclass(frozen=True)
class TrainSpec:
    """How to train θ in a subspace. Immutable; part of every trial's identity.

    Args:
        optimizer: a name of the table in `optimizers.py`: `"adam"` (default), `"sgd"` (with
            `momentum`), `"legacy_adam"` (the official code's Adam, whose bias correction divides
            by the constant 1−β instead of 1−βᵗ, so the step shrinks from lr to 0.316 lr),
            `"lbfgs"` (limited-memory BFGS, 1,000 iterations unless said otherwise) and
            `"levenberg_marquardt"` (networks; 60 steps; made for d up to a few hundred), both
            second-order searches on the full training set, which end early where nothing is left
            to gain: `batch_size` is then None and `lr` without meaning; `"spsa"` and `"cma"`
            (`pip install "subspan[es]"`), which see losses alone, on the full training set; or
            `"exact"` (analytic problems: the minimum over the subspace by least squares, no
            optimiser in between).
        lr: learning rate at step 0; or `"auto"`: the best one, which `threshold` searches, as it
            does by default, and `run` and `compare` choose by pilot trials. A trial always has a
            number.
        epochs: passes over the training set; or give `steps`. Exactly one of the two.
        steps: optimiser steps.
        batch_size: rows per step; None takes the full training set each step.
        momentum: for `"sgd"`.
        betas: for both Adams.
        eps: for both Adams, added to the root of the second moment.
        schedule: `"constant"`, `"cosine"` or `"linear"` (both decay to 0 at the last step).
        eval_every: steps between evaluations on the full train and test sets; None: once an
            epoch. The last step is always evaluated, step 0 only where a search trained the offset.
            `"tenth"`, as `threshold` has it by default: evaluation costs a tenth of training at
            most. Without a goal that is every few epochs. With one a trial is glanced at once an
            epoch, at a few rows or at the losses of its last steps, and evaluated on the goal's
            split where the goal seems met, on the others only where it ends. A goal that a glance
            shows to be met is known to within the steps between two glances, which a record has as
            `provenance["looked_every"]`; in data so small that an epoch does not pay for 64 rows
            they are some epochs apart. One that seems met again and again and is not is looked at
            as often as the tenth pays for, and at the end (`subspan.training.looks`). Where all
            splits would take more than the tenth, the end of a trial that is far from its goal sees
            a part of them, of 1,000 rows at least, and the record says of how many
            (`subspan.training.parts`): beyond the tenth go only those, and evaluations of whole
            splits at which a goal may be met. `"auto"`: the same, with all splits at the end.
            A record's curve has what was evaluated.
        stop_at: a goal (or its text) at which a trial ends early; None trains to the end.
        dtype: `"float32"` (never TF32), `"float64"`, or `"bfloat16"`: forward and backward passes
            under `torch.autocast` in bfloat16; weights, θ, map and optimiser in float32. For
            problems with a module and optimisers that go step by step on batches.
        compile: whether gradients may be compiled (`torch.compile`): they are, where what is
            measured at the start says that it saves more than compiling costs. The last bits of
            what is trained differ; which was taken, and why, stands in each record's provenance,
            and trials that go on from others take the same. For what `"bfloat16"` is for.
        lr_choice: how `lr` was chosen, where it was; changes nothing in training.

    Raises:
        InputError: a field is out of range.
    """

    optimizer: str = "adam"
    lr: float | Literal["auto"] = _DEFAULT_LR
    epochs: float | None = None
    steps: int | None = None
    batch_size: int | None = 128
    momentum: float = 0.9
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-7
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    eval_every: int | Literal["tenth", "auto"] | None = None
    stop_at: Goal | str | None = None
    dtype: Literal["float32", "float64", "bfloat16"] = "float32"
    compile: bool = False
    lr_choice: LrChoice | None = None

    def __post_init__(self) -> None:
        facts = optimizers.find(self.optimizer)
        if self.schedule not in SCHEDULES:
            raise unknown("schedule", self.schedule, list(SCHEDULES))
        if self.dtype not in DTYPES:
            raise unknown("dtype", self.dtype, list(DTYPES))
        if self.dtype == "bfloat16" and facts.kind != "steps":
            raise invalid(
                "dtype",
                expected=f"float32 or float64 with {self.optimizer!r}",
                got="bfloat16",
                remedy="It is for optimisers that go step by step, such as adam and sgd: rounding "
                "to three digits would hide what a search looks for.",
            )
        if not isinstance(self.compile, bool):
            raise invalid("compile", expected="True or False", got=shown(self.compile))
        if self.compile and facts.kind != "steps":
            raise invalid(
                "compile",
                expected=f"False with {self.optimizer!r}",
                got="True",
                remedy="It is for optimisers that go step by step, such as adam and sgd.",
            )
        if facts.full_batch:
            object.__setattr__(self, "batch_size", None)
        if facts.steps is not None and self.epochs is None and self.steps is None:
            object.__setattr__(self, "steps", facts.steps)
        if self.epochs is None and self.steps is None:
            object.__setattr__(self, "epochs", 5)
        if self.epochs is not None and self.steps is not None:
            raise invalid(
                "epochs, steps", expected="one of the two", got="both", remedy="Drop one."
            )
        # Numbers take one form, so that 50 and 50.0 make the same trial.
        if self.lr == AUTO and not facts.has_lr:
            object.__setattr__(self, "lr", _DEFAULT_LR)
        if self.lr != AUTO:
            most = f"a positive number up to {_LARGEST:g}, or 'auto'"
            self._number("lr", most, lambda v: 0 < v <= _LARGEST)
        if self.epochs is not None:
            most = f"a positive number up to {_MOST_STEPS:g}"
            self._number("epochs", most, lambda v: 0 < v <= _MOST_STEPS)
            if float(self.epochs).is_integer():
                object.__setattr__(self, "epochs", int(self.epochs))
        self._number("momentum", "a number in [0, 1)", lambda v: 0 <= v < 1)
        self._number("eps", f"a number in [0, {_LARGEST:g}]", lambda v: 0 <= v <= _LARGEST)
        for name in ("steps", "batch_size", "eval_every"):
            value = getattr(self, name)
            if value is None or (name == "eval_every" and value in (AUTO, TENTH)):
                continue
            if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
                whole = name == "batch_size" and value in ("full", -1)
                remedy = "None takes the full training set each step." if whole else ""
                number = "a positive integer"
                if name == "eval_every":
                    number += ", 'tenth' or 'auto'"
                raise invalid(name, expected=number, got=shown(value), remedy=remedy)
            if int(value) > _MOST_STEPS:
                raise invalid(name, expected=f"at most {_MOST_STEPS:,}", got=shown(value))
            object.__setattr__(self, name, int(value))
        try:
            first, second = (float(beta) for beta in self.betas)
        except (TypeError, ValueError):
            first = second = math.nan
        if not (0 <= first < 1 and 0 <= second < 1):
            raise invalid("betas", expected="two numbers in [0, 1)", got=shown(self.betas))
        object.__setattr__(self, "betas", (first, second))
        if self.stop_at is not None:
            object.__setattr__(self, "stop_at", parse_goal(self.stop_at))
        object.__setattr__(self, "lr_choice", choice_of(self.lr_choice))

    def _number(self, name: str, expected: str, fits: Callable[[float], bool]) -> None:
        value = getattr(self, name)
        try:
            fine = isinstance(value, Real) and not isinstance(value, bool) and fits(float(value))
        except OverflowError:  # an integer beyond every float
            fine = False
        if not fine:
            raise invalid(name, expected=expected, got=shown(value))
        object.__setattr__(self, name, float(value))

    @property
    def number_lr(self) -> float:
        """The learning rate, where it is a number.

        Raises:
            InputError: it is `"auto"`.
        """
        refuse_auto(self.lr)
        assert not isinstance(self.lr, str)
        return self.lr

    def replace(self, **changes: Any) -> TrainSpec:
        """Return a copy with fields changed; giving `steps` clears `epochs` and the reverse."""
        if changes.get("steps") is not None:
            changes.setdefault("epochs", None)
        if changes.get("epochs") is not None:
            changes.setdefault("steps", None)
        return dataclasses.replace(self, **changes)

    def total_steps(self, train_size: int) -> int:
        """Return the number of optimiser steps on a training set of `train_size` rows."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return max(1, round(self.epochs * self.steps_per_epoch(train_size)))

    def steps_per_epoch(self, train_size: int) -> int:
        """Return the steps of one pass over `train_size` rows; a last, short batch is left out."""
        return 1 if self.batch_size is None else max(1, train_size // self.batch_size)

    def to_json(self) -> dict[str, Any]:
        """Return the spec as plain JSON data, the form that is hashed and stored."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        fields["betas"] = list(self.betas)
        fields["stop_at"] = None if self.stop_at is None else str(self.stop_at)
        fields["lr_choice"] = None if self.lr_choice is None else dataclasses.asdict(self.lr_choice)
        return without_defaults(fields, LATER_FIELDS)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TrainSpec:
        """Build a spec from `to_json`'s output."""
        return cls(**{**data, "betas": tuple(data["betas"])})
