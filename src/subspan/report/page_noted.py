"""What the page shows of noted predictions and spectra, as plain JSON data: words are made here."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from subspan.errors import InputError
from subspan.goals import Goal, parse_goal
from subspan.report.noted import StoredPrediction
from subspan.report.page_trials import short
from subspan.report.words import d_star, goal_in_words
from subspan.success.estimate import ThresholdEstimate
from subspan.theory.cone import ConeEstimate
from subspan.theory.spectra import Spectra

RUNS = 20  # lines of a spectrum
POINTS = 150  # of a line
SHARES = (0.9, 0.99, 0.999)
_DECADES = 3  # below the largest eigenvalue, which is how far down Lanczos runs resolve a spectrum
_DELTA = 0.1

Argv = Sequence[str]


def predictions_json(
    predicted: Sequence[StoredPrediction], store: str, commands: Sequence[Argv] = ()
) -> list[dict[str, Any]]:
    """Return each prediction as rows: curvature, cone, thresholds that were measured.

    Args:
        predicted: from `noted.measured`.
        store: how commands name the store.
        commands: the arguments of commands that the store notes.
    """
    return [_prediction(i, one, store, commands) for i, one in enumerate(predicted)]


def spectra_json(
    found: Sequence[Spectra],
    predicted: Sequence[StoredPrediction],
    store: str,
    commands: Sequence[Argv] = (),
) -> list[dict[str, Any]]:
    """Return each spectrum as lines over the index: of trajectories, then of curvature.

    Args:
        found: from `noted.spectra`.
        predicted: whose wells have a spectrum of curvature.
        store: how commands name the store.
        commands: the arguments of commands that the store notes.
    """
    paths = [_trajectories(i, one, store, commands) for i, one in enumerate(found)]
    wells = [_curvature(i, one, store, commands) for i, one in enumerate(predicted)]
    return [*paths, *(well for well in wells if well is not None)]


def _prediction(
    i: int, one: StoredPrediction, store: str, commands: Sequence[Argv]
) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    doubts: list[str] = []
    if one.prediction is not None:
        found = one.prediction
        name = f"curvature ({found.curvature} well)"
        rows.append(_row(name, found.value, found.low, found.high, found.at_delta(), found.status))
        doubts += found.at_goal.notes
    if one.cone is not None:
        cone = one.cone
        row = _row("cone", cone.value, cone.low, cone.high, cone.at_delta(), cone.status)
        rows.append({**row, "samples": cone.samples})
        doubts += _certificates(cone)
    measured = [_measured(estimate) for estimate in one.measured]
    level = None if one.prediction is None else one.prediction.goal
    return {
        "problem": one.name,
        "ambient": one.ambient_dim,
        "goal": str(one.goal),
        "words": goal_in_words(one.goal),
        "level": None if level is None or level == one.goal else str(level),
        "seed": one.seed,
        "rows": [*rows, *measured],
        "told": _told(one),
        "notes": doubts,
        "again": _prediction_again(i, one, store, commands),
    }


def _row(
    name: str,
    value: float | None,
    low: float | None,
    high: float | None,
    at_90: float | None,
    status: str,
) -> dict[str, Any]:
    numbers = [None if v is None else short([v])[0] for v in (value, low, high, at_90)]
    keys = ("value", "low", "high", "at90")
    return {"name": name, **dict(zip(keys, numbers, strict=True)), "status": status, "told": ""}


def _measured(estimate: ThresholdEstimate) -> dict[str, Any]:
    spec = {} if estimate.experiment is None else estimate.experiment.spec
    lr = spec.get("lr")
    name = ["measured", str(spec.get("optimizer") or "its own training")]
    name += ["best lr"] if estimate.at_best_lr else []
    name += [f"lr {lr:g}"] if not estimate.at_best_lr and isinstance(lr, int | float) else []
    numbers = (None, estimate.low, estimate.high, estimate.value)
    told = f"d* = {d_star(estimate)}, {estimate.trials:,} trials"
    return {**_row(", ".join(name), *numbers, estimate.status), "told": told, "measured": True}


def _certificates(cone: ConeEstimate) -> list[str]:
    told = []
    for form, condition in (
        ("gordon", "if the search found the width"),
        ("polar", "if the cone is convex and its angles were found"),
    ):
        dim = cone.certified_miss_dim(form)  # type: ignore[arg-type]
        if dim:
            told.append(f"Gordon's theorem ({form}) certifies that d ≤ {dim:,} misses, {condition}")
    if told:
        return told
    why = "each direction has initial weights of its own" if cone.ok else "the cone is not ok"
    return [f"no miss is certified by Gordon's theorem: {why}"]


def _told(one: StoredPrediction) -> str:
    """Return both predictions of the d of 90 % success in words, and what was measured."""
    parts = []
    for name, found in (("curvature predicts", one.prediction), ("the cone", one.cone)):
        if found is None:
            continue
        at = found.at_delta(_DELTA)
        doubt = "" if found.status == "ok" else f" ({found.status})"
        parts.append(f"{name} {'nothing' if at is None else f'{at:,.0f}'}{doubt}")
    said = f"{goal_in_words(one.goal)} in nine trials of ten, d: {', '.join(parts)}"
    if one.measured:
        best = one.measured[0]
        doubt = "" if best.status == "ok" else f" ({best.status})"
        said += f"; measured {d_star(best)}{doubt}"
    else:
        said += "; not measured in this store"
    return f"{said}, of {one.ambient_dim:,}."


def _prediction_again(i: int, one: StoredPrediction, store: str, commands: Sequence[Argv]) -> str:
    lines = ["import subspan as ss", "", f"one = ss.report.predictions({json.dumps(store)})[{i}]"]
    if one.prediction is None or one.cone is None:
        lines += ["print(one.prediction, one.cone, *one.measured)"]
    else:
        lines += [
            "measured = one.measured[0] if one.measured else None",
            "data = ss.report.prediction_data(one.prediction, one.cone, measured)",
            'ss.report.save_figure(ss.report.draw_prediction(data), "prediction")',
        ]

    def asked(argv: Argv) -> bool:
        return argv[0] == "predict" and one.goal in _goals(argv)

    return _with_command(lines, one.name, one.seed, commands, asked)


def _trajectories(i: int, one: Spectra, store: str, commands: Sequence[Argv]) -> dict[str, Any]:
    values = [np.array(run) for run in one.singular_values]
    energy = [np.cumsum(v**2) / np.sum(v**2) for v in values]
    lines = [
        _line(f"repeat {repeat}", np.arange(1, len(v) + 1), v / v[0], e)
        for repeat, v, e in zip(one.repeats, values, energy, strict=True)
    ][:RUNS]
    settings = {k: v for k, v in one.method.items() if k in ("snapshots", "every")}
    told = ", ".join(f"{v} {k}" if k == "snapshots" else f"{k} {v}" for k, v in settings.items())
    again = [
        "import subspan as ss",
        "",
        f"data = ss.report.spectroscopy_data(ss.report.spectra({json.dumps(store)})[{i}])",
        'ss.report.save_figure(ss.report.draw_spectroscopy(data), "spectrum")',
    ]
    name = str(one.problem.get("name", "problem"))
    return {
        "problem": name,
        "name": f"{name}: singular values of training, {told}, seed {one.seed}",
        "axis": "singular value σᵢ / σ₁",
        "symbol": "σ",
        "energy": "Σσ²",
        "ambient": one.ambient_dim,
        "lines": lines,
        "marks": _marks([np.arange(1, len(v) + 1) for v in values], energy),
        "told": f"{len(values)} full-space runs of {one.search_steps:,} steps",
        "again": _with_command(
            again, name, one.seed, commands, lambda argv: argv[0] == "spectroscopy"
        ),
    }


def _curvature(
    i: int, one: StoredPrediction, store: str, commands: Sequence[Argv]
) -> dict[str, Any] | None:
    if one.prediction is None:
        return None
    nodes, weights = one.prediction.at_goal.measure
    if len(nodes) == 0 or nodes[0] <= 0:
        return None
    kept = nodes > nodes[0] / 10**_DECADES
    values, index = nodes[kept], np.cumsum(weights[kept])
    positive = np.maximum(nodes, 0)
    energy = np.cumsum(values * weights[kept]) / float(positive @ weights)
    shown = index >= 0.5  # the first of them, spread over probes, is less than one eigenvalue
    if not shown.any():
        return None
    curvature = one.prediction.curvature
    again = [
        "import subspan as ss",
        "",
        f"one = ss.report.predictions({json.dumps(store)})[{i}].prediction",
        f"data = ss.report.spectrum_data({{{json.dumps(curvature)}: [one.at_goal.measure]}})",
        'figure = ss.report.draw_spectrum(data, "Curvature at the centre of the well")',
        'ss.report.save_figure(figure, "spectrum")',
    ]

    def asked(argv: Argv) -> bool:
        return argv[0] == "predict" and one.goal in _goals(argv)

    index, values, energy = index[shown], values[shown], energy[shown]
    where = f"near {goal_in_words(one.goal)}, seed {one.seed}"
    return {
        "problem": one.name,
        "name": f"{one.name}: {curvature} curvature {where}",
        "axis": "eigenvalue λᵢ",
        "symbol": "λ",
        "energy": "Σλ",
        "ambient": one.ambient_dim,
        "lines": [_line("eigenvalues", index, values, energy)],
        "marks": _marks([index], [energy]),
        "told": f"Lanczos quadrature at loss {one.prediction.at_goal.center_loss:.3g}; what is "
        f"{10**_DECADES:,} times smaller than the largest is not resolved and left out",
        "again": _with_command(again, one.name, one.seed, commands, asked),
    }


def _line(name: str, index: np.ndarray, values: np.ndarray, energy: np.ndarray) -> dict[str, Any]:
    """Return a line thinned to what a log axis shows; values of 0 are no longer on it."""
    kept = np.flatnonzero(values > 0)
    wanted = np.geomspace(1, len(kept), POINTS).round().astype(int) - 1
    kept = kept[np.unique(wanted)] if len(kept) > POINTS else kept
    return {
        "name": name,
        "i": short(index[kept]),
        "value": short(values[kept]),
        "energy": short(energy[kept]),
    }


def _marks(index: Sequence[np.ndarray], energy: Sequence[np.ndarray]) -> list[dict[str, Any]]:
    """Return for each share the d that holds it in at least half of the runs."""
    found = []
    for share in SHARES:
        dims = [
            float(i[np.searchsorted(e, share)])
            for i, e in zip(index, energy, strict=True)
            if e[-1] >= share
        ]
        if 2 * len(dims) >= len(energy) and dims:
            found.append({"share": share, "d": round(sorted(dims)[(len(energy) - 1) // 2])})
    return found


def _goals(argv: Argv) -> list[Goal]:
    found = []
    for word, following in zip(argv, [*argv[1:], ""], strict=True):
        text = following if word == "--goal" else word.removeprefix("--goal=")
        if word == "--goal" or text != word:
            try:
                found.append(parse_goal(text))
            except InputError:
                continue
    return found


def _with_command(
    lines: Sequence[str],
    problem: str,
    seed: int,
    commands: Sequence[Argv],
    fits: Callable[[Argv], bool],
) -> str:
    """Return Python, with the command that noted it on top where the store knows it."""
    for argv in commands:
        if argv and problem in argv and fits(argv) and _seed(argv) == str(seed):
            return "\n".join([f"# {shlex.join(['subspan', *argv])}", "", *lines])
    return "\n".join(lines)


def _seed(argv: Argv) -> str:
    for word, following in zip(argv, [*argv[1:], ""], strict=True):
        if word == "--seed":
            return following
        if word.startswith("--seed="):
            return word.removeprefix("--seed=")
    return "0"
