"""Predictions and spectra, noted in a store beside its trials, and read again for its page."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from subspan.canonical import digest
from subspan.errors import InputError, StoreError
from subspan.goals import Goal, parse_goal
from subspan.problems.base import AbstractProblem
from subspan.subspaces.lottery_subspace import LotterySubspace, Trajectory
from subspan.theory.cone import ConeEstimate
from subspan.theory.predict import Prediction
from subspan.trials.stores.base import RecordStore

PREDICTION, SPECTRUM = "prediction:", "spectrum:"  # before a note of one
CERTIFICATES: tuple[Literal["gordon", "sharp", "polar"], ...] = ("gordon", "sharp", "polar")
_CENTRE = ("value", "low", "high", "at_90_percent")
_Noted = TypeVar("_Noted")


@dataclass(frozen=True)
class NotedPrediction:
    """What `predict` found, as a store has it.

    Args:
        problem: identity, plain JSON data.
        ambient_dim: D.
        goal: that was asked about.
        seed: of the initial weights and of the search.
        found: as `prediction_json` gives it.
        argv: arguments of the command that found it; empty where Python did.
    """

    problem: dict[str, Any]
    ambient_dim: int
    goal: Goal
    seed: int
    found: dict[str, Any]
    argv: tuple[str, ...]


@dataclass(frozen=True)
class NotedSpectrum:
    """What `spectroscopy` found, as a store has it.

    Args:
        problem: identity, plain JSON data.
        ambient_dim: D.
        method: configuration of the lottery subspace.
        seed: of the runs.
        singular_values: of each run, falling.
        argv: arguments of the command that found it; empty where Python did.
    """

    problem: dict[str, Any]
    ambient_dim: int
    method: dict[str, Any]
    seed: int
    singular_values: tuple[tuple[float, ...], ...]
    argv: tuple[str, ...]


def prediction_json(prediction: Prediction, cone: ConeEstimate) -> dict[str, Any]:
    """Return what curvature and the cone say, as plain JSON data."""
    at = prediction.at_goal
    return {
        "goal": str(prediction.asked),
        "level": prediction.goal.level,
        "value": prediction.value,
        "low": prediction.low,
        "high": prediction.high,
        "at_90_percent": prediction.at_delta(),
        "status": prediction.status,
        "notes": list(at.notes),
        "ambient_dim": prediction.ambient_dim,
        "curvature": prediction.curvature,
        "formula": prediction.formula,
        "center_loss": at.center_loss,
        "distance": at.distance,
        "negative_mass": at.negative_mass,
        "initial_loss": prediction.initial_loss,
        "cone": {**cone.to_json(), "at_90_percent": cone.at_delta()},
        "certified_miss": {form: cone.certified_miss_dim(form) for form in CERTIFICATES},
    }


def note_prediction(
    store: RecordStore,
    problem: AbstractProblem,
    prediction: Prediction,
    cone: ConeEstimate,
    seed: int = 0,
    argv: Sequence[str] = (),
) -> None:
    """Note a prediction; one of the same problem, goal, seed and command takes its place.

    Args:
        store: where.
        problem: that was predicted.
        prediction: from `theory.predict_threshold`.
        cone: from `theory.cone_threshold`.
        seed: of both.
        argv: arguments of the command, where one found them.

    Raises:
        StoreError: the store cannot be written.
    """
    found = prediction_json(prediction, cone)
    about = [problem.identity, found["goal"], seed, list(argv)]
    data = {"problem": problem.identity, "seed": seed, "found": found, "argv": list(argv)}
    store.claim(f"{PREDICTION}{digest(about)}", PREDICTION, 0.0, data)


def note_spectrum(
    store: RecordStore,
    problem: AbstractProblem,
    method: LotterySubspace,
    trajectories: Sequence[Trajectory],
    seed: int = 0,
    argv: Sequence[str] = (),
) -> None:
    """Note a spectrum; one of the same problem, method, seed and command takes its place.

    Args:
        store: where.
        problem: that was trained.
        method: the lottery subspace.
        trajectories: from its `trajectories`, one per repeat.
        seed: of the runs.
        argv: arguments of the command, where one found them.

    Raises:
        StoreError: the store cannot be written.
    """
    about = [problem.identity, method.config(), seed, list(argv)]
    data = {
        "problem": problem.identity,
        "ambient_dim": problem.ambient_dim,
        "method": method.config(),
        "seed": seed,
        "singular_values": [path.singular_values.tolist() for path in trajectories],
        "argv": list(argv),
    }
    store.claim(f"{SPECTRUM}{digest(about)}", SPECTRUM, 0.0, data)


def noted_predictions(store: RecordStore) -> Iterator[NotedPrediction]:
    """Iterate over the predictions that a store notes.

    Raises:
        StoreError: one is not what was noted.
    """
    return _read(store, PREDICTION, "predictions", "predict", _prediction)


def noted_spectra(store: RecordStore) -> Iterator[NotedSpectrum]:
    """Iterate over the spectra that a store notes.

    Raises:
        StoreError: one is not what was noted.
    """
    return _read(store, SPECTRUM, "spectra", "spectroscopy", _spectrum)


def _read(
    store: RecordStore, prefix: str, what: str, command: str, made: Callable[[Any], _Noted]
) -> Iterator[_Noted]:
    for claim in store.claims(prefix):
        try:
            yield made(claim.data)
        except (InputError, KeyError, TypeError, ValueError) as error:
            raise StoreError(
                f"store: expected notes of {what}, got one that is damaged ({claim.key}). Give "
                f"`subspan {command} --store` again, which notes it anew."
            ) from error


def _prediction(data: dict[str, Any]) -> NotedPrediction:
    found = _dict(data["found"])
    for centre in (found, _dict(found["cone"])):
        for name in _CENTRE:
            _dim(centre[name])
        _text(centre["status"])
    for form in CERTIFICATES:
        _dim(found["certified_miss"][form])
    for line in found["notes"]:
        _text(line)
    return NotedPrediction(
        _dict(data["problem"]),
        _count(found["ambient_dim"]),
        parse_goal(_text(found["goal"])),
        _whole(data["seed"]),
        found,
        tuple(map(_text, data["argv"])),
    )


def _spectrum(data: dict[str, Any]) -> NotedSpectrum:
    runs = tuple(tuple(map(_positive, run)) for run in data["singular_values"])
    if not runs or not all(run and run[0] > 0 for run in runs):
        raise ValueError("no singular values")
    return NotedSpectrum(
        _dict(data["problem"]),
        _count(data["ambient_dim"]),
        _dict(data["method"]),
        _whole(data["seed"]),
        runs,
        tuple(map(_text, data["argv"])),
    )


def _dict(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("no object")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError("no integer")
    return value


def _count(value: Any) -> int:
    if _whole(value) < 1:
        raise ValueError("no count")
    return int(value)


def _positive(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value < math.inf:
        raise ValueError("no number that is 0 or more")
    return float(value)


def _dim(value: Any) -> None:
    if value is not None:
        _positive(value)
