"""`diagnose`: is a goal out of a subspace's reach, or does the optimiser not find it there?

A measured d* is an upper bound on the geometric one, as tight as the optimiser is good. So the
threshold is measured twice, with the usual training and with a stronger one, in subspaces of the
same kind. Where the stronger one succeeds at smaller d, the subspaces held the goal and were badly
optimised. Where it does not, nothing is proved: an optimiser may always miss what is there. Exact
least squares, on quadratics, misses nothing, and decides.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from subspan.errors import invalid
from subspan.goals import Goal
from subspan.optimizers import OPTIMIZERS, find
from subspan.problems.analytic import Quadratic
from subspan.spec import TrainSpec
from subspan.subspaces.base import Method
from subspan.success.estimate import ThresholdEstimate
from subspan.success.threshold import threshold
from subspan.success.what_to_train import usual_training
from subspan.trials.asked import resumable
from subspan.trials.function import FunctionTrainable, LoopSpec
from subspan.trials.runner import Progress, Subject, TrialRunner
from subspan.trials.stores.base import RecordStore

Cause = Literal["optimiser", "subspaces", "not shown", "stronger is worse"]


@dataclass(frozen=True)
class Diagnosis:
    """Two thresholds of one goal: with the usual training and with a stronger one.

    Args:
        usual: d* with the training that was asked about.
        stronger: d* with the stronger one, in subspaces drawn from the same seed. The same
            estimate again where the usual training is already exact.
        usual_spec: that training.
        stronger_spec: the stronger one.
    """

    usual: ThresholdEstimate
    stronger: ThresholdEstimate
    usual_spec: TrainSpec | LoopSpec
    stronger_spec: TrainSpec | LoopSpec | FunctionTrainable

    @property
    def cause(self) -> Cause:
        """`"optimiser"` where the stronger interval lies below the usual one; else `"subspaces"`
        where the stronger training is exact; `"stronger is worse"` where its interval lies above;
        else `"not shown"`."""
        if _below(self.stronger, self.usual):
            return "optimiser"
        if _exact(self.stronger_spec):
            return "subspaces"
        return "stronger is worse" if _below(self.usual, self.stronger) else "not shown"

    @property
    def already_exact(self) -> bool:
        """Whether the usual training was exact, so that nothing was measured a second time."""
        return _exact(self.usual_spec)

    @property
    def stronger_name(self) -> str:
        """The stronger training in words."""
        return _described(self.stronger_spec)

    @property
    def verdict(self) -> str:
        """The diagnosis in one sentence, with both intervals."""
        better, usual = _described(self.stronger_spec), _described(self.usual_spec)
        numbers = f"{_needs(self.stronger)} with {better} and {_needs(self.usual)} with {usual}"
        goal = self.usual.goal
        if self.already_exact:
            return (
                f"Already exact: {goal} takes {_needs(self.usual)} with {usual}, which misses "
                "nothing that a subspace holds. There is no optimiser to blame."
            )
        if self.cause == "optimiser":
            return (
                f"Badly optimised: {goal} takes {numbers}. The gap is the optimiser's: subspaces "
                "that the usual training fails in hold the goal."
            )
        if self.cause == "stronger is worse":
            return (
                f"No answer: {goal} takes {numbers}. The second optimiser is the worse one "
                "here; give it more steps, or choose another."
            )
        if self.cause == "subspaces":
            return (
                f"Infeasible below: {goal} takes {numbers}. Exact least squares misses nothing: "
                "smaller subspaces do not hold the goal, and the usual training costs no "
                "dimensions that these intervals show."
            )
        return (
            f"No sign of bad optimisation: {goal} takes {numbers}. The intervals overlap. Smaller "
            "subspaces may not hold the goal, or both optimisers miss it there."
        )

    def to_json(self) -> dict[str, Any]:
        """Return the diagnosis as plain JSON data, without the records."""
        return {
            "cause": self.cause,
            "verdict": self.verdict,
            "usual": self.usual.to_json(),
            "stronger": self.stronger.to_json(),
        }

    def __str__(self) -> str:
        return self.verdict


@resumable
def diagnose(
    problem: Subject,
    method: Method | str | None = None,
    goal: Goal | str | None = None,
    *,
    spec: TrainSpec | LoopSpec | None = None,
    stronger: TrainSpec | LoopSpec | FunctionTrainable | None = None,
    store: RecordStore | str | Path | None = None,
    workers: int | None = None,
    progress: Progress | bool | None = None,
    executor: Any = None,
    **options: Any,
) -> Diagnosis:
    """Measure d* with the usual training and with a stronger one, and say what the gap means.

    Args:
        problem: what is trained.
        method: how the subspace is chosen, or its text.
        goal: what counts as success, or its text.
        spec: the usual training; None: the problem's default at the best learning rate, if it
            has one.
        stronger: the training to hold against it. None: L-BFGS for networks, in the usual one's
            dtype (Levenberg–Marquardt where that is the usual one), and exact least squares for
            quadratics. A usual training that is exact is measured once: nothing is stronger. For a
            function it must be given: a `LoopSpec` (another learning rate), or another function.
        store: as for `threshold`; a threshold measured there before is not measured again.
        workers: as for `threshold`.
        progress: as for `threshold`.
        executor: as for `threshold`.
        options: further arguments of `threshold`, the same for both (`seed`, `delta`, `ratio`, …).

    Raises:
        InputError: as for `threshold`; or both trainings are the same.
    """
    usual_spec = spec or usual_training(problem)
    if _exact(usual_spec):
        found = threshold(
            problem,
            method,
            goal,
            spec=usual_spec,
            store=store,
            workers=workers,
            progress=progress,
            executor=executor,
            **options,
        )
        return Diagnosis(found, found, usual_spec, usual_spec)
    if isinstance(stronger, FunctionTrainable):
        usual, better = (
            threshold(
                function,
                goal=goal,
                spec=each,
                store=store,
                workers=workers,
                progress=progress,
                executor=executor,
                **options,
            )
            for function, each in ((problem, usual_spec), (stronger, None))
        )
        return Diagnosis(usual, better, usual_spec, stronger)
    stronger_spec = stronger or _stronger(problem, usual_spec)
    if _same(stronger_spec, usual_spec):
        raise invalid(
            "stronger",
            expected="a training other than the usual one",
            got=_described(usual_spec),
            remedy="Give another optimizer, or more steps.",
        )
    with contextlib.ExitStack() as stack:
        runner = stack.enter_context(
            TrialRunner(problem, store=store, workers=workers, progress=progress, executor=executor)
        )
        usual, better = (
            threshold(problem, method, goal, spec=each, runner=runner, **options)
            for each in (usual_spec, stronger_spec)
        )
    return Diagnosis(usual, better, usual_spec, stronger_spec)


def _exact(spec: object) -> bool:
    return isinstance(spec, TrainSpec) and find(spec.optimizer).exact


def _stronger(problem: Subject, usual: TrainSpec | LoopSpec) -> TrainSpec:
    if isinstance(problem, FunctionTrainable) or isinstance(usual, LoopSpec):
        raise invalid(
            "stronger",
            expected="a training to hold against a function's own",
            got="none",
            remedy="Give another function, or LoopSpec(lr=...).",
        )
    if isinstance(problem, Quadratic):
        return problem.default_spec
    searches = [name for name, facts in OPTIMIZERS.items() if facts.kind == "search"]
    exact = "float32" if usual.dtype == "bfloat16" else usual.dtype  # a search is not rounded
    specs = [TrainSpec(name, dtype=exact) for name in searches]
    return next(spec for spec in specs if not _same(spec, usual))


def _same(one: TrainSpec | LoopSpec, other: TrainSpec | LoopSpec) -> bool:
    """Whether two trainings differ at most in where they stop."""
    return one.replace(stop_at=None) == other.replace(stop_at=None)


def _below(one: ThresholdEstimate, other: ThresholdEstimate) -> bool:
    """Whether the whole interval of one lies below the other's."""
    if one.high is None or other.low is None:
        return False
    beyond = other.status in ("above range", "never reaches")  # d* is above low, which is max_dim
    return one.high < other.low + beyond


def _needs(estimate: ThresholdEstimate) -> str:
    if estimate.status in ("above range", "never reaches"):
        return f"d > {estimate.low:,}"
    if estimate.status == "not monotone":
        return "no certain d (success falls with d)"
    value = "?" if estimate.value is None else f"{estimate.value:,}"
    high = "∞" if estimate.high is None else f"{estimate.high:,}"
    known = "" if estimate.status == "ok" else f" ({estimate.status})"
    return f"d = {value} [{estimate.low:,}, {high}]{known}"


def _described(spec: TrainSpec | LoopSpec | FunctionTrainable) -> str:
    if isinstance(spec, FunctionTrainable):
        return spec.name
    if isinstance(spec, LoopSpec):
        if isinstance(spec.lr, str):
            return "the best learning rate"
        return "the usual training" if spec.lr is None else f"lr = {spec.lr:g}"
    if _exact(spec):
        return "exact least squares"
    length = f"{spec.steps} steps" if spec.steps else f"{spec.epochs:g} epochs"
    return f"{spec.optimizer} ({length})"
