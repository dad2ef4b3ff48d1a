"""Predictions and spectra that a store notes, a prediction beside what was measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from subspan.canonical import canonical_json
from subspan.errors import InputError, StoreError
from subspan.goals import Goal, parse_goal
from subspan.report.stored import StoredExperiment, experiments
from subspan.success import noted as estimates
from subspan.success.estimate import ThresholdEstimate
from subspan.theory.cone import CONE, ConeEstimate
from subspan.theory.prediction import PREDICTION, Prediction
from subspan.theory.spectra import Spectra, noted_spectra
from subspan.trials.stores.base import RecordStore
from subspan.trials.stores.notes import Note, notes
from subspan.trials.stores.registry import open_store

MEASURED = 4  # thresholds beside a prediction


@dataclass(frozen=True, eq=False)
class StoredPrediction:
    """What was predicted for a problem and a goal, and what trials of the same store say.

    Args:
        problem: its identity.
        goal: that was asked about.
        seed: of the prediction.
        prediction: from curvature; None where the cone alone was asked.
        cone: the cone of the same level, weights and rows; None where it was not asked.
        measured: thresholds of the random subspace at the goal, the surest first.
    """

    problem: dict[str, Any]
    goal: Goal
    seed: int
    prediction: Prediction | None
    cone: ConeEstimate | None
    measured: tuple[ThresholdEstimate, ...] = ()

    @property
    def name(self) -> str:
        """The problem's name."""
        return str(self.problem.get("name", "problem"))

    @property
    def ambient_dim(self) -> int:
        """D."""
        found = self.cone if self.prediction is None else self.prediction
        assert found is not None
        return found.ambient_dim


def predictions(store: RecordStore | str | Path) -> tuple[StoredPrediction, ...]:
    """Return the predictions that a store notes, with the thresholds measured in it.

    Args:
        store: a store, its file or URL.

    Raises:
        StoreError: it cannot be read, or a note is damaged.
    """
    with open_store(store, readonly=True) as opened:
        return measured(opened, experiments(opened), tuple(estimates.noted(opened)))


def spectra(store: RecordStore | str | Path) -> tuple[Spectra, ...]:
    """Return the singular values of full-space runs that a store notes.

    Args:
        store: a store, its file or URL.

    Raises:
        StoreError: it cannot be read, or a note is damaged.
    """
    with open_store(store, readonly=True) as opened:
        return tuple(noted_spectra(opened))


def measured(
    store: RecordStore,
    stored: Sequence[StoredExperiment],
    found: Sequence[estimates.NotedEstimate] = (),
) -> tuple[StoredPrediction, ...]:
    """Return `predictions` beside experiments that have been read already."""
    try:
        joined = tuple(_joined(list(notes(store, PREDICTION)), list(notes(store, CONE))))
    except (InputError, KeyError, TypeError, ValueError) as error:
        raise StoreError(
            "store: expected notes of predictions, got one that does not say what was asked. "
            "Restore the store, or work into another."
        ) from error
    return tuple(
        dataclasses.replace(o, measured=tuple(e for e in told if e.value)[:MEASURED])
        for o in joined
        for told in [measured_at(o.problem, o.goal, stored, found)]
    )


def _joined(
    predicted: Sequence[Note[Prediction]], cones: Sequence[Note[ConeEstimate]]
) -> Iterator[StoredPrediction]:
    """Yield each prediction with the cone searched longest; then cones that stand alone."""
    longest: dict[str, Note[ConeEstimate]] = {}
    for each in sorted(cones, key=lambda c: (c.asked["directions"], c.asked["steps"])):
        longest[_where(each.asked, each.asked["goal"], "at")] = each
    joined = set()
    for note in predicted:
        where = _where(note.asked, str(note.found.goal), "start")
        cone = longest.get(where)
        joined.add(where)
        yield _stored(note.asked, note.found, None if cone is None else cone.found)
    for where, alone in longest.items():
        if where not in joined:
            yield _stored(alone.asked, None, alone.found)


def _where(asked: Mapping[str, Any], level: str, start: str) -> str:
    shared = [asked["problem"], asked["dtype"], asked["seed"], asked["rows"]]
    return canonical_json([*shared, asked[start], level])


def _stored(
    asked: Mapping[str, Any], prediction: Prediction | None, cone: ConeEstimate | None
) -> StoredPrediction:
    goal = parse_goal(asked["goal"])
    return StoredPrediction(asked["problem"], goal, asked["seed"], prediction, cone)


def measured_at(
    problem: Mapping[str, Any],
    goal: Goal,
    stored: Sequence[StoredExperiment],
    found: Sequence[estimates.NotedEstimate],
) -> tuple[ThresholdEstimate, ...]:
    """Thresholds at a goal of the random subspace through w₀, which a prediction is about.

    First those with a value: at the best learning rate, then what is sure and rests on many trials.
    """
    told: list[ThresholdEstimate] = []
    for other in stored:
        e = other.experiment
        if e.problem != problem or e.method.get("name") != "random":
            continue
        searched = other.found_by(found)
        if searched is not None:
            if searched.estimate.goal == goal and searched.estimate not in told:
                told.append(searched.estimate)
            continue
        try:
            told.append(other.estimate(goal))
        except InputError:  # none of its trials tells
            continue
    told.sort(key=lambda e: (not e.value, e.design != "joint", not e.estimate.ok, -e.trials))
    return tuple(told)
