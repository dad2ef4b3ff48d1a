"""The success surface: probability of success over training dimension and goal, with intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from subspan import notebook
from subspan.errors import invalid
from subspan.goals import Goal, parse_goal
from subspan.intervals import binomial_interval
from subspan.success.posterior import Count
from subspan.success.records import Experiment, experiment, refuse_missing_metric, tally
from subspan.trials.columns import Curves
from subspan.trials.endings import Endings
from subspan.trials.pilots import ChosenLr, chosen_lrs, lrs_to_json
from subspan.trials.trial import TrialRecord
from subspan.trials.uncollected import uncollected

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class SurfaceCell:
    """Success at one training dimension and goal.

    Args:
        dim: training dimension d.
        goal: what counts as success.
        successes: draws that met the goal; one that failed or diverged before missed it.
        trials: draws that tell whether they met it.
        undetermined: draws that stopped early at another goal and cannot tell.
        probability: successes / trials; None where that would be biased (some are undetermined)
            or undefined (no trials).
        low: lower Clopper–Pearson end, counting every undetermined draw as a failure.
        high: upper Clopper–Pearson end, counting every undetermined draw as a success.
    """

    dim: int
    goal: Goal
    successes: int
    trials: int
    undetermined: int
    probability: float | None
    low: float
    high: float


@dataclass(frozen=True)
class SuccessSurface:
    """P_s(d, goal) measured at every dim and goal; `cells` run over goals, then dims.

    `learning_rates` has, by dim, those that were chosen at `lr="auto"`, and how.
    """

    experiment: Experiment
    cells: tuple[SurfaceCell, ...]
    confidence: float
    endings: Endings = field(default_factory=lambda: Endings(0, 0, 0))
    learning_rates: tuple[ChosenLr, ...] = ()

    @property
    def goals(self) -> tuple[Goal, ...]:
        """The goals, in the order asked for."""
        return tuple(dict.fromkeys(cell.goal for cell in self.cells))

    @property
    def dims(self) -> tuple[int, ...]:
        """The training dimensions, ascending."""
        return tuple(sorted({cell.dim for cell in self.cells}))

    @property
    def ambient_dim(self) -> int:
        """D."""
        return self.experiment.ambient_dim

    def at(self, goal: Goal | str) -> tuple[SurfaceCell, ...]:
        """Return the success curve of one goal, ascending in dim.

        Raises:
            InputError: the goal is not on the surface.
        """
        wanted = parse_goal(goal)
        cells = tuple(cell for cell in self.cells if cell.goal == wanted)
        if not cells:
            known = ", ".join(map(str, self.goals))
            raise invalid("goal", expected=f"one of {known}", got=repr(str(wanted)))
        return cells

    def counts(self, goal: Goal | str) -> tuple[Count, ...]:
        """Return the counts of one goal for fitting a threshold.

        Raises:
            InputError: the goal is not on the surface, or has undetermined draws.
        """
        cells = self.at(goal)
        refuse_undetermined(sum(cell.undetermined for cell in cells), parse_goal(goal))
        return tuple(Count(cell.dim, cell.successes, cell.trials) for cell in cells)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per (goal, dim), tidy; the goal as text and split in its parts."""
        import pandas as pd

        rows = [
            {
                **_plain(cell),
                "metric": cell.goal.metric,
                "split": cell.goal.split,
                "level": cell.goal.level,
                "probability": math.nan if cell.probability is None else cell.probability,
            }
            for cell in self.cells
        ]
        return pd.DataFrame(rows)

    def _repr_html_(self) -> str:
        """Return what a notebook shows: hits out of trials, a row per goal, a column per dim."""
        rows = []
        for goal in self.goals:
            told = {cell.dim: _one(cell) for cell in self.at(goal)}
            rows.append((str(goal), *(told.get(dim) for dim in self.dims)))
        return notebook.table(
            f"Success over d and goal, D = {self.ambient_dim:,}",
            ("goal", *(f"d = {dim:,}" for dim in self.dims)),
            rows,
            f"Trials that met the goal, of those that tell; {100 * self.confidence:g} % intervals "
            "in to_frame().",
        )

    def to_json(self) -> dict[str, Any]:
        """Return the surface as plain JSON data."""
        return {
            "experiment": self.experiment.to_json(),
            "confidence": self.confidence,
            "endings": self.endings.to_json(),
            **lrs_to_json({str(self.experiment.method.get("name")): self.learning_rates}),
            "cells": [_plain(cell) for cell in self.cells],
        }


def _one(cell: SurfaceCell) -> str:
    hits = f"{cell.successes}/{cell.trials}"
    return f"{hits} (+{cell.undetermined}?)" if cell.undetermined else hits


def _plain(cell: SurfaceCell) -> dict[str, Any]:
    return {**cell.__dict__, "goal": str(cell.goal)}


def refuse_undetermined(undetermined: int, goal: Goal) -> None:
    """Refuse draws that stopped early at another goal, since leaving them out biases P_s.

    Raises:
        InputError: there are any.
    """
    if undetermined:
        raise invalid(
            "trials",
            expected=f"records that tell whether they met {goal}",
            got=f"{undetermined} that stopped early at another goal",
            remedy="Leave them out by dim and seed, or run them again without stop_at.",
        )


def success_surface(
    trials: Sequence[TrialRecord],
    goals: Iterable[Goal | str] | Goal | str,
    confidence: float = 0.95,
) -> SuccessSurface:
    """Measure the success probability over training dimension and goal from finished trials.

    A goal is a criterion applied to records, so one set of trials answers any number of goals.

    Args:
        trials: records of one problem, method and training spec (`stop_at` may differ); a draw
            seen in several records counts once.
        goals: goals or their texts, or a single one.
        confidence: of the Clopper–Pearson intervals.

    Returns:
        Counts, probabilities and intervals for every goal and dim.

    Raises:
        InputError: no trials or goals, a mixture of experiments, or a goal that does not parse.
    """
    wanted = [parse_goal(g) for g in ([goals] if isinstance(goals, Goal | str) else goals)]
    if not wanted:
        raise invalid("goals", expected="at least one goal", got="none")
    with uncollected():
        return _surface(trials, list(dict.fromkeys(wanted)), confidence)


def _surface(
    trials: Sequence[TrialRecord], goals: Sequence[Goal], confidence: float
) -> SuccessSurface:
    shared, curves = experiment(trials), Curves(trials)
    cells = []
    for goal in goals:
        bests = curves.bests_for(goal)
        refuse_missing_metric(trials, goal, bests)
        for dim, won, lost, open_ in tally(trials, goal, bests):
            low, high = binomial_interval([won, won + open_], won + lost + open_, confidence)
            told = won + lost
            probability = won / told if told and not open_ else None
            cells.append(
                SurfaceCell(dim, goal, won, told, open_, probability, float(low[0]), float(high[1]))
            )
    return SuccessSurface(shared, tuple(cells), confidence, Endings.of(trials), chosen_lrs(trials))
