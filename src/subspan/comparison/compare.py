"""`compare`: methods at equal degrees of freedom, against the null, with paired statistics."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from subspan.comparison import table as tables
from subspan.comparison.paired import holm, mean_interval, paired_test
from subspan.comparison.table import ComparisonRow, ComparisonTable
from subspan.errors import InputError, check_confidence, invalid, unknown, whole
from subspan.goals import Goal, parse_goal
from subspan.maps.base import check_dims
from subspan.problems.base import AbstractProblem
from subspan.subspaces.base import Method
from subspan.subspaces.random_affine import RandomAffine
from subspan.subspaces.registry import parse_method
from subspan.success.estimate import ThresholdEstimate, fit_threshold
from subspan.training.outcome import Outcome
from subspan.training.spec import TrainSpec
from subspan.trials.runner import Progress, TrialRunner
from subspan.trials.store import Store, open_store
from subspan.trials.trial import TrialRecord

METRICS = ("test:accuracy", "train:accuracy", "test:loss", "train:loss")


def compare(
    problem: AbstractProblem,
    methods: Sequence[Method | str],
    dims: Sequence[int],
    repeats: int = 5,
    spec: TrainSpec | None = None,
    seed: int = 0,
    store: Store | str | Path | None = None,
    *,
    goals: Iterable[Goal | str] = (),
    metric: str | None = None,
    matched: bool = False,
    confidence: float = 0.95,
    workers: int | None = None,
    progress: Progress | None = None,
) -> ComparisonTable:
    """Train every method at every dim, and hold each against the random-subspace null.

    Repeat r has the same initial weights and order of batches for every method and dim, so the
    differences to the null are paired. Each is tested by a paired t-test; Holm's correction over
    the whole table keeps the chance of any false "better" or "worse" at 1 − confidence.

    Args:
        problem: what to train.
        methods: methods or their texts. The first `RandomAffine` among them is the null; where
            there is none, `RandomAffine()` is put in front.
        dims: training dimensions; what a method cannot make (more dims than the last layer has
            weights, say) is left out and told in `skipped`.
        repeats: trials of each method at each dim; at least 2 for a test.
        spec: how to train; None takes `problem.default_spec`.
        seed: any integer; all randomness derives from it.
        store: a path, a `Store`, or None for memory. The same call continues where it was cut.
        goals: for each, d* of every method is fitted to its trials (δ = 0.1).
        metric: `"test:accuracy"`, `"train:accuracy"`, `"test:loss"` or `"train:loss"`; the best
            over each trial's evaluations. None: the first of these that the problem has.
        matched: give every method the same total steps: those of `spec` plus the longest search
            among the methods, of which each method's own search is paid.
        confidence: of intervals and verdicts.
        workers: processes, as for `run`.
        progress: called with (done, planned, message), method by method.

    Raises:
        InputError: an argument is out of range, or two methods are the same.
        StoreError: the store cannot be used.
    """
    check_confidence(confidence)
    repeats = whole("repeats", repeats, low=1)
    if not len(dims):
        raise invalid("dims", expected="at least one training dimension", got="none")
    if metric is not None and metric not in METRICS:
        raise unknown("metric", metric, list(METRICS))
    wanted = [parse_goal(goal) for goal in goals]
    chosen, null = _labelled(methods)
    sizes = sorted({whole("dims", dim) for dim in dims})
    for dim in sizes:
        check_dims(dim, problem.ambient_dim)
    specs = _specs(problem, chosen, spec or problem.default_spec, matched)
    limits = {label: method.max_dim(problem) for label, method in chosen.items()}
    records: dict[str, list[TrialRecord]] = {}
    skipped: list[tuple[str, int, str]] = []
    with open_store(store) as opened:
        for label, method in chosen.items():

            def train(
                dims: Sequence[int], method: Method = method, own_spec: TrainSpec = specs[label]
            ) -> list[TrialRecord]:
                plan = [(dim, repeat) for dim in dims for repeat in range(repeats)]
                with TrialRunner(
                    problem, store=opened, workers=workers, progress=progress
                ) as runner:
                    return runner.run(method, plan, spec=own_spec, seed=seed)

            possible = [dim for dim in sizes if dim <= limits[label]]
            gaps = {d: f"at most {limits[label]} for this method" for d in sizes[len(possible) :]}
            records[label] = _train_what_can_be(train, possible, gaps, is_null=label == null)
            skipped += [(label, dim, why) for dim, why in gaps.items()]
    return table_of(
        problem,
        {label: own for label, own in records.items() if own},
        null,
        goals=wanted,
        metric=metric,
        matched=matched,
        confidence=confidence,
        skipped=skipped,
    )


def table_of(
    problem: AbstractProblem,
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
        records: trials by label, at least one each; those of one repeat are paired.
        null: label of the null among them.
        goals: as for `compare`.
        metric: as for `compare`.
        matched: whether all were given the same total steps.
        confidence: of intervals and verdicts.
        skipped: (label, dim, reason) of what is missing.

    Raises:
        InputError: there is no null, or a goal does not parse.
    """
    if null not in records:
        raise invalid("records", expected=f"trials of the null, {null!r}", got=list(records))
    name = metric or _metric(records)
    return ComparisonTable(
        problem.name,
        problem.ambient_dim,
        null,
        name,
        matched,
        confidence,
        tuple(_rows(problem, records, null, name, confidence)),
        tuple(skipped),
        _thresholds(records, [parse_goal(goal) for goal in goals], confidence),
        records,
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
        InputError: the null, or every dim, is refused.
    """
    if not dims:
        return []
    try:
        return train(dims)
    except InputError:
        if is_null or len(dims) == 1:
            raise
    records, refusals = [], []
    for dim in dims:  # what was trained before the refusal is in the store
        try:
            records += train([dim])
        except InputError as refusal:
            refusals.append(refusal)
            gaps[dim] = str(refusal)
    if not records:
        raise refusals[0]
    return records


def _labelled(methods: Sequence[Method | str]) -> tuple[dict[str, Method], str]:
    """Return the methods by label, and the label of the null among them."""
    parsed = [parse_method(m) for m in methods]
    texts = [m.strip() if isinstance(m, str) else None for m in methods]
    if not any(isinstance(m, RandomAffine) for m in parsed):
        parsed, texts = [RandomAffine(), *parsed], ["random", *texts]
    configs = [m.config() for m in parsed]
    for i, config in enumerate(configs):
        if config in configs[:i]:
            raise invalid("methods", expected="each method once", got=f"{parsed[i]!r} twice")
    labels = [text or _label(i, configs) for i, text in enumerate(texts)]
    labels = [
        label if labels.count(label) == 1 else _label(i, configs) for i, label in enumerate(labels)
    ]
    null = next(i for i, m in enumerate(parsed) if isinstance(m, RandomAffine))
    return dict(zip(labels, parsed, strict=True)), labels[null]


def _label(index: int, configs: Sequence[Mapping[str, Any]]) -> str:
    """Return a method's name, with what tells it from others of that name."""
    config = configs[index]
    name = f"burn-in:{config['steps']}" if config["name"] == "burn-in" else str(config["name"])
    rivals = [c for c in configs if c["name"] == config["name"] and c is not config]
    differing = [k for k in config if any(c.get(k) != config[k] for c in rivals)]
    if config["name"] == "burn-in":
        differing = [k for k in differing if k != "steps"]
    told = ", ".join(f"{k}={config[k]}" for k in differing)
    return f"{name} ({told})" if told else name


def _specs(
    problem: AbstractProblem, methods: Mapping[str, Method], spec: TrainSpec, matched: bool
) -> dict[str, TrainSpec]:
    if not matched:
        return dict.fromkeys(methods, spec)
    searches = {label: method.search_steps(problem) for label, method in methods.items()}
    budget = spec.total_steps(problem.train_size) + max(searches.values())
    return {label: spec.replace(steps=budget - spent) for label, spent in searches.items()}


def _metric(records: Mapping[str, Sequence[TrialRecord]]) -> str:
    """Return the first metric that the trials have."""
    for name in METRICS:
        split, _, kind = name.partition(":")
        if any(r.best(kind, split) == r.best(kind, split) for own in records.values() for r in own):
            return name
    return METRICS[-1]


def _rows(
    problem: AbstractProblem,
    records: Mapping[str, Sequence[TrialRecord]],
    null: str,
    metric: str,
    confidence: float,
) -> list[ComparisonRow]:
    split, _, kind = metric.partition(":")
    sign = 1.0 if kind == "accuracy" else -1.0
    best = {
        label: {(r.dim, r.trial.repeat): r.best(kind, split) for r in own}
        for label, own in records.items()
    }
    cells = [(label, dim) for label, own in records.items() for dim in _dims(own)]
    tests = []
    for label, dim in cells:
        pairs = [
            (value, best[null].get((d, r), math.nan))
            for (d, r), value in best[label].items()
            if d == dim and label != null
        ]
        differences = [a - b for a, b in pairs if math.isfinite(a) and math.isfinite(b)]
        tests.append(paired_test(differences, confidence))
    adjusted = holm([test.p for test in tests])
    rows = []
    for (label, dim), test, p in zip(cells, tests, adjusted, strict=True):
        own = [r for r in records[label] if r.dim == dim]
        values = tuple(best[label][r.dim, r.trial.repeat] for r in own)
        train_steps = sum(r.steps for r in own) / len(own)
        rows.append(
            ComparisonRow(
                label,
                dim,
                problem.ambient_dim / dim,
                len(own),
                sum(r.outcome is Outcome.DIVERGED for r in own),
                *mean_interval([v for v in values if math.isfinite(v)], confidence),
                *mean_interval(_finite([r.best_train_loss for r in own]), confidence),
                test.mean,
                test.low,
                test.high,
                test.p,
                p,
                _verdict(label == null, sign * test.mean, p, 1 - confidence),
                own[0].search_steps,
                own[0].search_bits,
                train_steps,
                train_steps + own[0].search_steps,
                values,
            )
        )
    return rows


def _dims(records: Sequence[TrialRecord]) -> list[int]:
    return sorted({r.dim for r in records})


def _finite(values: Sequence[float]) -> list[float]:
    return [v for v in values if math.isfinite(v)]


def _verdict(is_null: bool, gain: float, p: float, level: float) -> str:
    if is_null:
        return tables.NULL
    if math.isnan(p):
        return tables.UNTESTED
    if p > level + 1e-12:
        return tables.SAME
    return tables.BETTER if gain > 0 else tables.WORSE


def _thresholds(
    records: Mapping[str, Sequence[TrialRecord]], goals: Sequence[Goal], confidence: float
) -> dict[tuple[str, str], ThresholdEstimate]:
    return {
        (label, str(goal)): fit_threshold(own, goal, confidence=confidence)
        for goal in goals
        for label, own in records.items()
        if len(_dims(own)) > 1
    }
