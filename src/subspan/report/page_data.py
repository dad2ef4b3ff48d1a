"""What the page of a store shows, as plain JSON data: counted, fitted and thinned here, in Python.

The page's script draws and filters; it computes nothing. Large stores are aggregated: counts per
dim and level; `page_trials` thins what is shown of single trials.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np

from subspan import metrics
from subspan.comparison.table import ComparisonTable
from subspan.goals import Goal, name_of
from subspan.intervals import binomial_interval
from subspan.report.against_null import StoredComparison, comparisons
from subspan.report.columns import Columns, Known
from subspan.report.levels import goal_of, kind_of, levels_of, top_of
from subspan.report.page_trials import short, some, trials_of
from subspan.report.stored import StoredExperiment, tells
from subspan.report.words import d_star, goal_in_words, sentence
from subspan.success.estimate import ThresholdEstimate
from subspan.success.noted import NotedEstimate

FITS = 500  # thresholds that are fitted for a page, about 0.1 s each
LEVELS = (4, 13)  # the fewest and the most of a slider
GRID = 48  # dims at which a fit is drawn
SENTENCES = 3  # of a problem in the headline
CONFIDENCE = 0.95
_BEYOND = ("above range", "never reaches")


@dataclass(frozen=True)
class PageData:
    """What a page shows.

    Args:
        headline: results in words, one a problem at least.
        data: plain JSON data for the page's script.
    """

    headline: tuple[str, ...]
    data: dict[str, Any]


def script_json(data: Any) -> str:
    """Return plain data as JSON that can stand inside a `<script>` element."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    escapes = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028"}
    for character, escape in {**escapes, "\u2029": "\\u2029"}.items():
        text = text.replace(character, escape)
    return text


def page_data(
    stored: Sequence[StoredExperiment],
    *,
    store: str = "runs.db",
    commands: Iterable[str] = (),
    asked: Mapping[str, Sequence[Goal]] | None = None,
    noted: Sequence[NotedEstimate] = (),
    predicted: Sequence[dict[str, Any]] = (),
    spectra: Sequence[dict[str, Any]] = (),
) -> PageData:
    """Return what the page shows of a store's experiments.

    Args:
        stored: from `experiments`.
        store: how commands name the store.
        commands: the command lines that made it, where they are known.
        asked: goals that were asked for beside those that trials were to stop at, by the
            problem's name, or by "" for every problem.
        noted: what was found at the best learning rate, which trials alone do not tell.
        predicted: from `predictions_json`.
        spectra: from `spectra_json`.
    """
    by_problem: dict[str, list[StoredExperiment]] = {}
    for one in stored:
        by_problem.setdefault(f"{one.problem} {one.experiment.ambient_dim}", []).append(one)
    goals = {key: _asked(group, asked or {}, noted) for key, group in by_problem.items()}
    scales = {key: _metrics(group, goals[key]) for key, group in by_problem.items()}
    fits = sum(len(group) * len(scales[key]) for key, group in by_problem.items())
    most = min(max(FITS // max(fits, 1), LEVELS[0]), LEVELS[1])
    known: Known = {}
    problems, told = [], []
    for key, group in by_problem.items():
        foremost = {*(asked or {}).get("", ()), *_own_goals(group, noted)}
        made = _Problem(group, scales[key], goals[key], foremost, most, known, noted)
        problems.append(made.to_json())
        told.append(made.headline())
    # What each problem says first, then the rest.
    headline = [lines[0] for lines in told] + [line for lines in told for line in lines[1:]]
    tables = comparisons(stored, confidence=CONFIDENCE)
    headline.extend(_told(tables))
    rows, curves = trials_of(stored)
    total = sum(len(one.records) for one in stored)
    data = {
        "store": store,
        "trials": total,
        "confidence": CONFIDENCE,
        "problems": problems,
        "comparisons": [_comparison(compared) for compared in tables],
        "predictions": list(predicted),
        "spectra": list(spectra),
        "table": rows,
        "curves": curves,
        "provenance": _provenance(stored),
        "commands": list(commands),
    }
    return PageData(tuple(headline) or ("There are no trials in this store yet.",), data)


def _asked(
    group: Sequence[StoredExperiment],
    asked: Mapping[str, Sequence[Goal]],
    noted: Sequence[NotedEstimate],
) -> list[Goal]:
    own = _own_goals(group, noted)
    return list(dict.fromkeys([*asked.get("", ()), *own, *asked.get(group[0].problem, ())]))


def _own_goals(group: Sequence[StoredExperiment], noted: Sequence[NotedEstimate]) -> list[Goal]:
    """Return the goals that trials were to stop at, or were to measure."""
    found = [(one, one.found_by(noted)) for one in group]
    each = (one.goals_asked() if f is None else (f.estimate.goal,) for one, f in found)
    return [goal for goals in each for goal in goals]


def _metrics(group: Sequence[StoredExperiment], asked: Iterable[Goal]) -> dict[str, bool]:
    """Return the metrics that have a direction, and whether more is better: those asked first."""
    found: dict[str, bool] = {}
    there = dict.fromkeys(name for s in group for r in some(s.records, 50) for name in r.metrics)
    for goal in asked:
        if name_of(goal) in there:
            found.setdefault(name_of(goal), bool(goal.higher))
    for name in there:
        facts = metrics.find(metrics.parse(name)[0])
        if facts is not None:
            found.setdefault(name, facts.higher)
    return dict(list(found.items())[:4])


class _Problem:
    """One problem's experiments, counted at the levels of each metric."""

    def __init__(
        self,
        group: Sequence[StoredExperiment],
        directions: Mapping[str, bool],
        wanted: Sequence[Goal],
        foremost: Set[Goal],
        most: int,
        known: Known,
        noted: Sequence[NotedEstimate],
    ) -> None:
        self.group, self.asked, self.foremost, self.known = group, wanted, foremost, known
        found = ((i, one.found_by(noted)) for i, one in enumerate(group))
        self.found = {i: one.estimate for i, one in found if one is not None}
        self.columns = {
            name: [Columns.of(one, name, higher=higher) for one in group]
            for name, higher in directions.items()
        }
        self.goals: dict[str, list[Goal]] = {}
        for name, higher in directions.items():
            best = np.concatenate([c.best for c in self.columns[name]])
            own = [g.level for g in wanted if name_of(g) == name]
            levels = levels_of(name, best, most, asked=own)
            goals = [goal_of(name, level, higher=higher) for level in levels]
            told = [g for g in goals if any(c.telling(g).any() for c in self.columns[name])]
            self.goals[name] = told or goals[:1]
        self.estimates: dict[tuple[str, int, int], ThresholdEstimate | None] = {}

    def headline(self) -> list[str]:
        """Return a sentence for each goal asked for, or on the hardest that has a threshold.

        First what was found at the best learning rate.
        """
        name = self.group[0].problem
        lines = list(dict.fromkeys(self._found(i) for i in self.found))
        best = self._best()
        lines += [sentence(name, self._method(i), e) for i, _, e in best if not _implied(e, best)]
        if not lines:
            count = sum(len(s.records) for s in self.group)
            return [f"{name}: {count:,} trials, too few dims to tell a threshold from."]
        return lines

    def _found(self, i: int) -> str:
        return sentence(self.group[i].problem, self.group[i].method, self.found[i])

    def _best(self) -> list[tuple[int, int, ThresholdEstimate]]:
        told = [
            (i, level, e)
            for (_, i, level), e in self.estimates.items()
            if e is not None and i not in self.found
        ]
        groups = [[t for t in told if t[2].goal == goal] for goal in self.asked]
        best = [max(group, key=self._rank) for group in groups if group]
        best = best or ([max(told, key=self._rank)] if told else [])
        # Of the goals of a grid the hardest that is settled says most.
        first = [t for t in best if t[2].goal in self.foremost]
        rest = [t for t in best if t[2].goal not in self.foremost]
        return [*first, *sorted(rest, key=self._rank, reverse=True)][:SENTENCES]

    def _method(self, i: int) -> str:
        """The method in words; and which learning rate, where others were tried or searched."""
        one = self.group[i]
        tried = sum(o.family == one.family for k, o in enumerate(self.group) if k not in self.found)
        if tried > 1:
            return f"{one.method}, lr {one.lr:g}, the best of {tried} tried"
        return one.method + (f", lr {one.lr:g}" if self.found and one.lr is not None else "")

    def _rank(self, told: tuple[int, int, ThresholdEstimate]) -> tuple[Any, ...]:
        """The null first, then what is sure, rests on many trials, is hard, and needs few dims."""
        i, level, estimate = told
        harder = level if estimate.goal.higher else -level
        few = -(estimate.value or math.inf)
        sure = estimate.estimate.ok, estimate.status not in _BEYOND
        return _is_null(self.group[i]), *sure, estimate.trials, harder, few

    def to_json(self) -> dict[str, Any]:
        first = self.group[0].experiment
        experiments = [self._experiment(i, one) for i, one in enumerate(self.group)]
        chosen = self._chosen()
        names = list(self.goals)
        metric = names.index(name_of(chosen[1])) if chosen and name_of(chosen[1]) in names else 0
        levels = self.goals[names[metric]] if names else []
        return {
            "first": chosen[0] if chosen else 0,
            "metric": metric,
            "level": levels.index(chosen[1]) if chosen and chosen[1] in levels else 0,
            "name": self.group[0].problem,
            "ambient": first.ambient_dim,
            "metrics": [
                {
                    "name": name,
                    "higher": bool(goals[0].higher),
                    "scale": kind_of(name, np.concatenate([c.best for c in self.columns[name]])),
                    "top": top_of(name),
                    "levels": [g.level for g in goals],
                    "goals": [str(g) for g in goals],
                    "words": [goal_in_words(g) for g in goals],
                    "asked": [i for i, g in enumerate(goals) if g in self.asked],
                }
                for name, goals in self.goals.items()
                if goals
            ],
            "experiments": experiments,
        }

    def _chosen(self) -> tuple[int, Goal] | None:
        """Return the experiment and the goal that the page opens with."""
        for i, _, estimate in self._best():
            return i, estimate.goal
        for i, estimate in self.found.items():
            return i, estimate.goal
        return None

    def _experiment(self, i: int, one: StoredExperiment) -> dict[str, Any]:
        e = one.experiment
        steps = e.method.get("steps") if e.method.get("name") == "burn-in" else None
        return {
            "id": one.id,
            "family": one.family,
            "method": one.method,
            "training": one.training,
            "lr": one.lr,
            "found": self._found(i) if i in self.found else None,
            "best": _best_lr(self.found[i]) if i in self.found else None,
            "null": _is_null(one),
            "burnIn": 0 if _is_null(one) else steps,
            "seeds": list(e.seeds),
            "trials": len(one.records),
            "counted": {
                name: self._counted(name, i)
                for name in self.goals
                if self.columns[name][i].told() and self.goals[name]
            },
        }

    def _counted(self, name: str, i: int) -> dict[str, Any]:
        columns = self.columns[name][i]
        dims = np.unique(columns.dims)
        dims = dims[dims > 0]
        levels = []
        for level, goal in enumerate(self.goals[name]):
            cells = columns.cells(goal)
            place = {int(d): k for k, d in enumerate(cells.dims)}
            wins = [int(cells.wins[place[d]]) if d in place else 0 for d in dims.tolist()]
            totals = [int(cells.totals[place[d]]) if d in place else 0 for d in dims.tolist()]
            low, high = binomial_interval(wins, totals, CONFIDENCE)
            estimate = columns.estimate(goal, self.known)
            self.estimates[name, i, level] = estimate
            levels.append(
                {
                    "wins": wins,
                    "totals": totals,
                    "low": short(low),
                    "high": short(high),
                    "d": None if estimate is None else _threshold(estimate),
                    "fit": None if estimate is None else _fit(estimate, dims),
                }
            )
        with np.errstate(all="ignore"):
            middle = [_median(columns.best[columns.dims == d]) for d in dims]
        return {"dims": dims.tolist(), "median": middle, "levels": levels}


def _implied(estimate: ThresholdEstimate, told: Iterable[tuple[int, int, Any]]) -> bool:
    """Whether an easier goal of the same metric was out of reach already."""
    beyond = [e for *_, e in told if e.status in _BEYOND and e.goal != estimate.goal]
    return estimate.status in _BEYOND and any(tells(str(estimate.goal), e.goal) for e in beyond)


def _is_null(stored: StoredExperiment) -> bool:
    return stored.experiment.method.get("name") == "random"


def _threshold(estimate: ThresholdEstimate) -> dict[str, Any]:
    return {
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "status": estimate.status,
        "words": d_star(estimate),
        "remark": estimate.remark,
        "compression": estimate.compression,
    }


def _best_lr(found: ThresholdEstimate) -> dict[str, Any] | None:
    """Return d* and the learning rate that a search over both chose; None where it has none."""
    if not found.value or found.lr is None:
        return None
    return {"d": found.value, "lr": found.lr, "words": d_star(found)}


def _fit(estimate: ThresholdEstimate, dims: np.ndarray) -> list[list[float | None]]:
    grid = np.geomspace(dims[0], dims[-1], GRID)
    return [short(grid), *(short(line) for line in estimate.curve(grid))]


def _told(tables: Sequence[StoredComparison]) -> list[str]:
    """Verdicts in words; of a problem with several comparisons each says of which training."""
    lines = []
    for one in tables:
        own = (one.table.problem, one.table.ambient_dim)
        alone = sum((t.table.problem, t.table.ambient_dim) == own for t in tables) == 1
        name = one.table.problem + ("" if alone else f" ({one.training}, seed {one.seed})")
        lines += [f"{name}: {line}." for line in one.table.summary()]
    return lines


def _comparison(compared: StoredComparison) -> dict[str, Any]:
    table: ComparisonTable = compared.table
    numbers = (
        *("compression", "value", "low", "high"),
        *("difference", "difference_low", "difference_high", "p_adjusted"),
    )
    return {
        "problem": table.problem,
        "ambient": table.ambient_dim,
        "metric": table.metric,
        "null": table.null,
        "seed": compared.seed,
        "training": compared.training,
        "footer": table.footer,
        "rows": [
            {
                "method": row.method,
                "dim": row.dim,
                "repeats": row.repeats,
                "verdict": row.verdict,
                "note": row.note,
                "values": short(row.values),
                **{name: short([getattr(row, name)])[0] for name in numbers},
            }
            for row in table.rows
        ],
    }


def _provenance(stored: Sequence[StoredExperiment]) -> list[dict[str, Any]]:
    """Return each environment that trials were run in, and how many."""
    names = ("subspan", "torch", "numpy", "python", "platform", "device")
    counted: dict[tuple[str, ...], int] = {}
    for one in stored:
        for r in one.records:
            told = tuple(str(r.environment.get(name, "")) for name in names)
            counted[told] = counted.get(told, 0) + 1
    return [{**dict(zip(names, told, strict=True)), "trials": n} for told, n in counted.items()]


def _median(values: np.ndarray) -> float | None:
    finite = values[np.isfinite(values)]
    return short([np.median(finite)])[0] if len(finite) else None
