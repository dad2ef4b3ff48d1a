"""`plan_of`: with which design, and with which learning rates, d* is measured."""

from __future__ import annotations

from dataclasses import dataclass

from subspan.errors import InputError, invalid
from subspan.goals import Goal
from subspan.optimizers import find
from subspan.spec import AUTO, TENTH, TrainSpec
from subspan.success.graded import Scale
from subspan.trials.function import FunctionTrainable, LoopSpec, lr_range
from subspan.trials.lr_scale import LrScale
from subspan.trials.runner import Subject

Spec = TrainSpec | LoopSpec


@dataclass(frozen=True)
class Plan:
    """What `threshold` is to do.

    Args:
        spec: how trials are trained; its `lr` is `"auto"` where it is searched.
        lr: where the joint design looks for it; None for the binary design.
        scale: of the goal's metric, for the joint design.
        note: why the design is not the one that was to be expected; else empty.
    """

    spec: Spec
    lr: LrScale | None = None
    scale: Scale | None = None
    note: str = ""


def plan_of(
    problem: Subject,
    spec: Spec | None,
    goal: Goal,
    design: str | None,
    ends: tuple[float, float] | None,
) -> Plan:
    """Choose the design and where the learning rate is searched.

    Args:
        problem: what is trained.
        spec: how; None for the default.
        goal: what counts as success.
        design: `"joint"`, `"binary"` or None.
        ends: the range of learning rates that was given, if any.

    Raises:
        InputError: the arguments contradict each other.
    """
    if design not in (None, "joint", "binary"):
        raise invalid("design", expected="'joint', 'binary' or None", got=repr(design))
    function = isinstance(problem, FunctionTrainable)
    declared = problem.lr_range if isinstance(problem, FunctionTrainable) else None
    searched = ends is not None or spec is None or spec.lr == AUTO
    chosen: Spec = spec or problem.default_spec
    if has_no_lr(chosen):
        note = _without_lr(chosen, design, ends)
        return Plan(chosen, note=note if searched or design is None else "")
    if function and searched and ends is None and declared is None:
        if chosen.lr == AUTO:
            raise invalid(
                "lr",
                expected="a function that declares in which range to search",
                got=repr(AUTO),
                remedy="Write @subspan.trainable(..., lr=(1e-4, 1e-1)).",
            )
        searched = False
    if ends is not None and spec is not None and spec.lr not in (AUTO, None):
        raise invalid("lr_range", expected="none, or lr='auto'", got=f"{ends!r} and lr={spec.lr!r}")
    if design == "binary":
        if chosen.lr == AUTO or ends is not None:
            raise invalid(
                "design",
                expected="'joint' where the learning rate is searched",
                got="'binary'",
                remedy="Give lr a number.",
            )
        return Plan(chosen)
    if design is None and not searched:
        return Plan(chosen)
    try:
        scale = Scale.of(goal)
    except InputError as refusal:
        if design == "joint" or ends is not None:
            raise
        fixed = chosen.replace(lr=problem.default_spec.lr) if chosen.lr == AUTO else chosen
        note = f"At lr = {fixed.lr:.3g}, from success alone, since: {refusal}"
        return Plan(fixed, note=note)
    if not searched:
        lr = 1.0 if chosen.lr is None else chosen.number_lr
        assert lr is not None
        return Plan(chosen, LrScale.fixed(lr), scale)
    span = ends or declared
    if span is not None:
        where = LrScale.declared(*lr_range(span))
    else:
        assert not isinstance(problem, FunctionTrainable)
        assert isinstance(chosen, TrainSpec)
        where = LrScale.of(problem, chosen.optimizer)
    return Plan(
        (usual_training(problem) if spec is None else chosen).replace(lr=AUTO), where, scale
    )


def usual_training(problem: Subject) -> Spec:
    """Return the problem's default training, at the best learning rate where it can be searched.

    And evaluated for a tenth of its cost, unless the problem says how often.
    """
    default = problem.default_spec
    if isinstance(problem, FunctionTrainable) and problem.lr_range is None:
        return default
    if not has_no_lr(default) and isinstance(default, TrainSpec) and default.eval_every is None:
        default = default.replace(eval_every=TENTH)
    return default.replace(lr=AUTO)


def has_no_lr(spec: Spec) -> bool:
    """Whether the optimiser has no learning rate."""
    return isinstance(spec, TrainSpec) and not find(spec.optimizer).has_lr


def _without_lr(spec: Spec, design: str | None, ends: object) -> str:
    """Return why the design is binary.

    Raises:
        InputError: a learning rate was to be searched nevertheless.
    """
    assert isinstance(spec, TrainSpec)
    if design == "joint" or ends is not None:
        raise invalid(
            "design" if ends is None else "lr_range",
            expected=f"none for {spec.optimizer}, which has no learning rate",
            got=repr(design if ends is None else ends),
        )
    return f"{spec.optimizer} has no learning rate to choose."
