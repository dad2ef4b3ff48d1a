"""`compare`: methods at equal degrees of freedom, against the null, with paired statistics."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from subspan import optimizers
from subspan.comparison.functions import trials_of_functions
from subspan.comparison.paired import repeats_needed
from subspan.comparison.rows import first_metric, rows_of
from subspan.comparison.table import ComparisonTable, cells_in_words
from subspan.errors import InputError, check_confidence, invalid, unknown, whole
from subspan.goals import Goal, parse_goal
from subspan.maps.base import check_dims
from subspan.metrics import known, parse, qualified
from subspan.problems.base import AbstractProblem
from subspan.spec import TrainSpec
from subspan.subspaces.base import Method
from subspan.subspaces.random_affine import RandomAffine
from subspan.subspaces.registry import parse_method
from subspan.success.estimate import ThresholdEstimate, fit_threshold
from subspan.trials.asked import resumable
from subspan.trials.function import FunctionTrainable, LoopSpec
from subspan.trials.pilots import specs_at
from subspan.trials.run import check_count
from subspan.trials.runner import MAX_FAILURES, Progress, Subject, TrialRunner, check_problem
from subspan.trials.stores.base import RecordStore
from subspan.trials.trial import TrialRecord

_LOGGER = logging.getLogger(__name__)


@resumable
def compare(
    problem: AbstractProblem | Sequence[FunctionTrainable],
    methods: Sequence[Method | str] = (),
    dims: Sequence[int] = (),
    repeats: int | None = None,
    spec: TrainSpec | LoopSpec | None = None,
    seed: int = 0,
    store: RecordStore | str | Path | None = None,
    *,
    goals: Iterable[Goal | str] = (),
    metric: str | None = None,
    matched: bool = False,
    confidence: float = 0.95,
    workers: int | None = None,
    progress: Progress | bool | None = None,
    executor: Any = None,
    max_failures: int = MAX_FAILURES,
    trial_timeout: float | None = None,
) -> ComparisonTable:
    """Train every method at every dim, and hold each against the random-subspace null.

    Repeat r has the same initial weights and order of batches for every method and dim, so the
    differences to the null are paired. Each is tested by `paired_test`, and Holm's correction over
    the whole table keeps the chance of any false "better" or "worse" at 1 − confidence. That takes
    `repeats_needed(cells)` repeats, 6 for one cell and 11 for 40; with fewer there is no verdict,
    which is said in the log, as a warning, before anything is trained. A method that refuses the
    problem or a dim is left out there and told, with its reason, in `skipped`; the others are
    compared.

    Args:
        problem: what to train; or functions made `trainable`, without methods, of which the first
            is the null.
        methods: methods or their texts. The first `RandomAffine` among them is the null; where
            there is none, `RandomAffine()` is put in front.
        dims: training dimensions, 0 among them for what is there before anything is trained; what a
            method cannot make (more dims than the last layer has
            weights, say) is left out and told in `skipped`.
        repeats: trials of each method at each dim. None: as many as verdicts need, the fewest that
            can show a difference of one sign throughout; more show smaller ones.
        spec: how to train; None takes `problem.default_spec`. `lr="auto"`: every method at its own
            best, for the first goal, as in `run`.
        seed: any integer; all randomness derives from it.
        store: a path, a `Store`, or None for memory. The same call continues where it was cut.
        goals: for each, d* of every method is fitted to its trials (δ = 0.1).
        metric: `"[split:]name"` of a registered metric; the best over each trial's evaluations.
            None: the first that there is of `"test:accuracy"`, `"train:accuracy"`, `"test:loss"`,
            `"train:loss"`.
        matched: give every method the same total steps: those of `spec` plus the longest search
            among the methods that can make one of the dims, of which each method's own search is
            paid. Needs a spec that trains for all its steps.
        confidence: of intervals and verdicts.
        workers: processes, as for `run`.
        progress: as for `run`, method by method, the null first.
        executor: where trials run, as for `run`.
        max_failures: how many trials may fail before all stops.
        trial_timeout: seconds after which a trial counts as hung, as for `run`.

    Raises:
        InputError: an argument is out of range, two methods are the same, or the null refuses.
        StoreError: the store cannot be used.
    """
    check_confidence(confidence)
    repeats = None if repeats is None else whole("repeats", repeats, low=1)
    name = _metric(metric)
    wanted = _goals(goals)
    aim = wanted[0] if wanted else None
    running: dict[str, Any] = {
        "store": store,
        "workers": workers,
        "progress": progress,
        "executor": executor,
        "max_failures": max_failures,
        "trial_timeout": trial_timeout,
    }
    if isinstance(problem, list | tuple):
        if methods or matched:
            raise invalid("methods", expected="none for functions", got=repr(methods))
        sizes = _sizes(min(problem, key=lambda f: getattr(f, "ambient_dim", 0)), dims)
        repeats = _enough(repeats, len(sizes) * (len(problem) - 1), confidence)
        own = trials_of_functions(problem, sizes, repeats, spec, seed, aim, **running)
        return table_of(
            problem[0], own, problem[0].name, goals=wanted, metric=name, confidence=confidence
        )
    check_problem(problem)
    assert isinstance(problem, AbstractProblem)
    sizes = _sizes(problem, dims)
    chosen, null = _labelled(methods)
    training = _training(problem, spec, matched)
    if matched and 0 in sizes:
        raise invalid(
            "dims",
            expected="dims above 0 where totals are matched",
            got="0, where no step is taken",
            remedy="Leave out 0, or matched.",
        )
    plans = {
        label: _plan(problem, method, sizes, is_null=label == null)
        for label, method in chosen.items()
    }
    specs = _specs(problem, chosen, plans, training, matched)
    repeats = _repeats(repeats, chosen, plans, null, confidence)
    check_count(count := sum(len(plan.possible) for plan in plans.values()), repeats)
    records: dict[str, list[TrialRecord]] = {label: [] for label in chosen}
    with TrialRunner(problem, **running) as runner:
        runner.expect(count * repeats)
        for label in sorted(chosen, key=lambda name: name != null):  # what it refuses ends the call

            def train(
                dims: Sequence[int], method: Method = chosen[label], own: TrainSpec = specs[label]
            ) -> list[TrialRecord]:
                at = specs_at(runner, method, dims, own, seed=seed, goal=aim)
                plan = [((dim, repeat), at[dim]) for dim in dims for repeat in range(repeats)]
                return runner.run_each(method, plan, seed=seed)

            records[label] = _train_what_can_be(train, *plans[label], is_null=label == null)
    return table_of(
        problem,
        records,
        null,
        goals=wanted,
        metric=name,
        matched=matched,
        confidence=confidence,
        skipped=[(label, dim, why) for label in chosen for dim, why in plans[label].gaps.items()],
    )


def table_of(
    problem: Subject,
    records: dict[str, list[TrialRecord]],
    null: str,
    *,
    goals: Iterable[Goal | str] = (),
    metric: str | None = None,
    matched: bool = False,
    confidence: float = 0.95,
    skipped: Sequence[tuple[str, int, str]] = (),
) -> ComparisonTable:
    """Hold finished trials against the null: the statistics of `compare` without the training.

    Args:
        problem: what was trained.
        records: trials by label; those of one repeat are paired. A label without trials is told.
        null: label of the null among them.
        goals: as for `compare`.
        metric: as for `compare`.
        matched: whether all were given the same total steps.
        confidence: of intervals and verdicts.
        skipped: (label, dim, reason) of what is missing.

    Raises:
        InputError: there is no null, or a goal does not parse.
    """
    if not records.get(null):
        raise invalid("records", expected=f"trials of the null, {null!r}", got=list(records))
    name = metric or first_metric(records)
    return ComparisonTable(
        problem.name,
        problem.ambient_dim,
        null,
        name,
        matched,
        confidence,
        tuple(rows_of(problem, records, null, name, confidence)),
        tuple(skipped),
        _thresholds(records, [parse_goal(goal) for goal in goals], confidence),
        records,
        problem.train_size,
    )


def _metric(metric: str | None) -> str | None:
    """Return the full name of a registered metric."""
    if metric is None:
        return None
    if not isinstance(metric, str) or ":" not in metric:  # no split is the one that is meant
        usual = ["test:accuracy", "train:accuracy", "test:loss", "train:loss"]
        raise unknown("metric", str(metric), usual)
    kind, split = parse(metric)
    return qualified(known(kind).name, split)


class _Plan(NamedTuple):
    """The dims that a method is trained at, and why the others are left out."""

    possible: list[int]
    gaps: dict[int, str]


def _repeats(
    asked: int | None,
    methods: Mapping[str, Method],
    plans: Mapping[str, _Plan],
    null: str,
    confidence: float,
) -> int:
    """Return how many repeats to run; say so where they are too few for a verdict."""
    cells = sum(
        len(plans[label].possible)
        for label, method in methods.items()
        if label != null and not type(method).starts_alike(method.config())
    )
    return _enough(asked, cells, confidence)


def _enough(asked: int | None, cells: int, confidence: float) -> int:
    needed = repeats_needed(max(1, cells), confidence)
    if asked is not None and cells and asked < needed:
        _LOGGER.warning(
            "compare: repeats=%d cannot give a verdict on %s; %d are needed%s.",
            *(asked, cells_in_words(cells), needed, ", or fewer cells" if cells > 1 else ""),
        )
    return asked or needed


def _sizes(problem: Subject, dims: Iterable[int]) -> list[int]:
    if isinstance(dims, str) or not isinstance(dims, Iterable):
        raise invalid("dims", expected="a list of integers", got=repr(dims), remedy="Use [8, 32].")
    sizes = sorted({whole("dims", dim) for dim in dims})
    if not sizes:
        raise invalid("dims", expected="at least one training dimension", got="none")
    for dim in sizes:
        check_dims(dim, problem.ambient_dim, least=0)
    return sizes


def _goals(goals: Iterable[Goal | str]) -> list[Goal]:
    if isinstance(goals, str) or not isinstance(goals, Iterable):
        raise invalid(
            "goals", expected="a list of goals", got=repr(goals), remedy=f"Write [{str(goals)!r}]."
        )
    return [parse_goal(goal) for goal in goals]


def _training(
    problem: AbstractProblem, spec: TrainSpec | LoopSpec | None, matched: bool
) -> TrainSpec:
    """Return how to train, where it can be matched if it is to be."""
    if spec is not None and not isinstance(spec, TrainSpec):
        raise invalid(
            "spec", expected="a TrainSpec", got=repr(spec), remedy="Write TrainSpec(steps=100)."
        )
    if not isinstance(matched, bool):
        raise invalid("matched", expected="True or False", got=repr(matched))
    chosen = spec or problem.default_spec
    if matched and (optimizers.find(chosen.optimizer).ends_early or chosen.stop_at is not None):
        early = f"optimizer={chosen.optimizer!r}"
        raise invalid(
            "matched",
            expected="training that takes all its steps, so that totals are equal",
            got=early if chosen.stop_at is None else f"stop_at={str(chosen.stop_at)!r}",
            remedy='Use another spec, e.g. TrainSpec(optimizer="adam", steps=100).',
        )
    return chosen


def _plan(
    problem: AbstractProblem, method: Method, sizes: Sequence[int], *, is_null: bool
) -> _Plan:
    """Ask a method, before anything is trained, which dims it can make on a problem.

    Raises:
        InputError: the null refuses the problem.
    """
    try:
        limit = method.max_dim(problem)
        method.search_steps(problem)
    except InputError as refusal:
        if is_null:
            raise
        return _Plan([], dict.fromkeys(sizes, str(refusal)))
    possible = [dim for dim in sizes if dim <= limit]
    return _Plan(
        possible, {dim: f"at most {limit} for this method" for dim in sizes[len(possible) :]}
    )


def _train_what_can_be(
    train: Callable[[Sequence[int]], list[TrialRecord]],
    dims: Sequence[int],
    gaps: dict[int, str],
    *,
    is_null: bool,
) -> list[TrialRecord]:
    """Train at all dims; where a method refuses, find which dims it refuses and note why in gaps.

    Raises:
        InputError: the null refuses.
    """
    if not dims:
        return []
    try:
        return train(dims)
    except InputError as refusal:
        if is_null:
            raise
        if len(dims) == 1:
            gaps[dims[0]] = str(refusal)
            return []
    # One dim at a time: what was trained before the refusal is in the store.
    return [
        record for dim in dims for record in _train_what_can_be(train, [dim], gaps, is_null=False)
    ]


def _labelled(methods: Sequence[Method | str]) -> tuple[dict[str, Method], str]:
    """Return the methods by label, and the label of the null among them."""
    if isinstance(methods, str | Method) or not isinstance(methods, Iterable):
        raise invalid(
            "methods",
            expected="a list of methods",
            got=repr(methods),
            remedy='Write ["random", "burn-in:64"].',
        )
    methods = list(methods)
    if not methods:
        raise invalid("methods", expected="at least one method", got="none")
    parsed = [parse_method(m) for m in methods]
    texts = [m.strip() if isinstance(m, str) else None for m in methods]
    if not any(isinstance(m, RandomAffine) for m in parsed):
        parsed, texts = [RandomAffine(), *parsed], ["random", *texts]
    configs = [m.config() for m in parsed]
    for i, config in enumerate(configs):
        if config in configs[:i]:
            raise invalid("methods", expected="each method once", got=f"{parsed[i]!r} twice")
    labels = [text or parsed[i].label(parsed) for i, text in enumerate(texts)]
    labels = [
        label if labels.count(label) == 1 else parsed[i].label(parsed)
        for i, label in enumerate(labels)
    ]
    null = next(i for i, m in enumerate(parsed) if isinstance(m, RandomAffine))
    return dict(zip(labels, parsed, strict=True)), labels[null]


def _specs(
    problem: AbstractProblem,
    methods: Mapping[str, Method],
    plans: Mapping[str, _Plan],
    spec: TrainSpec,
    matched: bool,
) -> dict[str, TrainSpec]:
    if not matched:
        return dict.fromkeys(methods, spec)
    searches = {
        label: method.search_steps(problem)
        for label, method in methods.items()
        if plans[label].possible
    }
    budget = spec.total_steps(problem.train_size) + max(searches.values())
    return {
        label: spec.replace(steps=budget - searches[label]) if label in searches else spec
        for label in methods
    }


def _thresholds(
    records: Mapping[str, Sequence[TrialRecord]], goals: Sequence[Goal], confidence: float
) -> dict[tuple[str, str], ThresholdEstimate]:
    return {
        (label, str(goal)): fit_threshold(own, goal, confidence=confidence)
        for goal in goals
        for label, own in records.items()
        if len({r.dim for r in own if r.dim}) > 1
    }
