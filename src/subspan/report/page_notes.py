"""What the page shows of predictions and spectra that a store notes, as plain JSON data."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import numpy as np

from subspan.errors import InputError
from subspan.report.notes import NotedPrediction, NotedSpectrum
from subspan.report.page_trials import short
from subspan.report.stored import StoredExperiment
from subspan.report.words import goal_in_words
from subspan.success.estimate import ThresholdEstimate
from subspan.success.noted import NotedEstimate

MEASURED = 8  # thresholds beside one prediction
POINTS = 200  # singular values of a run that are drawn
SHARES = (0.9, 0.99, 0.999)  # of the energy


def predictions_of(
    predicted: Sequence[NotedPrediction],
    stored: Sequence[StoredExperiment],
    noted: Sequence[NotedEstimate],
) -> list[dict[str, Any]]:
    """Return each prediction, and what trials of the same problem measured at its goal."""
    return [
        {
            "problem": str(one.problem.get("name", "problem")),
            "ambient": one.ambient_dim,
            "goal": str(one.goal),
            "words": goal_in_words(one.goal),
            "seed": one.seed,
            "notes": one.found["notes"],
            "again": _again(one.argv),
            "rows": [
                _predicted("curvature", one.found),
                _predicted("cone, the geometric lower bound", one.found["cone"]),
                *_measured(one, stored, noted),
            ],
        }
        for one in predicted
    ]


def spectra_of(spectra: Sequence[NotedSpectrum]) -> list[dict[str, Any]]:
    """Return each spectrum, thinned: singular values to the first, and energy up to each."""
    found = []
    for one in spectra:
        runs: list[dict[str, Any]] = []
        needed: dict[float, list[int]] = {share: [] for share in SHARES}
        for run in one.singular_values:
            values = np.asarray(run)
            energy = np.cumsum(values**2) / np.sum(values**2)
            for share, dims in needed.items():
                dims.append(min(1 + int(np.searchsorted(energy, share)), len(values)))
            ranks = np.unique(np.geomspace(1, len(values), POINTS).round().astype(int))
            relative = values[ranks - 1] / values[0]
            runs.append(
                {"i": ranks.tolist(), "s": short(relative), "energy": short(energy[ranks - 1])}
            )
        found.append(
            {
                "problem": str(one.problem.get("name", "problem")),
                "ambient": one.ambient_dim,
                "seed": one.seed,
                "method": ", ".join(
                    f"{name} {one.method[name]}"
                    for name in ("snapshots", "every")
                    if name in one.method
                ),
                "runs": runs,
                "dims": [
                    [100 * share, sorted(dims)[(len(dims) - 1) // 2]]
                    for share, dims in needed.items()
                ],
                "again": _again(one.argv),
            }
        )
    return found


def _again(argv: Sequence[str]) -> str:
    return shlex.join(["subspan", *argv]) if argv else ""


def _predicted(name: str, centre: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "measured": False,
        "at": centre["at_90_percent"],
        "value": centre["value"],
        "low": centre["low"],
        "high": centre["high"],
        "status": centre["status"],
    }


def _measured(
    one: NotedPrediction, stored: Sequence[StoredExperiment], noted: Sequence[NotedEstimate]
) -> list[dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for trials in stored:
        if len(rows) == MEASURED:
            break
        if trials.experiment.problem != one.problem:
            continue
        if trials.found_by(noted) is None:
            name = f"{trials.method}, {trials.training}"
            try:
                estimate = trials.estimate(one.goal)
            except InputError:  # no trial of these tells
                continue
        else:
            name = f"{trials.method}, at the best learning rate"
            found = trials.found_by([n for n in noted if n.estimate.goal == one.goal])
            if found is None:
                continue
            estimate = found.estimate
        rows.setdefault(name, _row(name, estimate))
    return list(rows.values())


def _row(name: str, estimate: ThresholdEstimate) -> dict[str, Any]:
    return {
        "name": name,
        "measured": True,
        "at": estimate.value,
        "value": None,
        "low": estimate.low,
        "high": estimate.high,
        "status": estimate.status,
    }
