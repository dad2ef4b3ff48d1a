"""A store that shows all of the page: three problems, methods, burn-ins, learning rates, names.

One of the problems is a user's function, whose name would be markup if it were not escaped.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "success"))
from synthetic import SPEC, curve_of, grid, record

import subspan as ss
from subspan.goals import parse_goal
from subspan.streams import normals
from subspan.theory.cone import CONE, ConeEstimate
from subspan.theory.mean import MeanEstimate
from subspan.theory.prediction import PREDICTION, LevelPrediction, Prediction
from subspan.theory.spectra import SPECTRUM, Run
from subspan.training.outcome import CurvePoint, Outcome
from subspan.trials.function import LoopSpec
from subspan.trials.stores.notes import keep
from subspan.trials.trial import Trial, TrialRecord

EVIL = '<script>window.evil = 1</script><img src=x onerror="window.evil = 2"> %{x} </script>'
DIMS = (16, 32, 64, 128, 256)


def of_method(method: dict[str, object], factor: float, lr: float = 0.05) -> list[TrialRecord]:
    """Trials of a method that needs `factor` times the random subspace's dims."""
    found = []
    for base in grid(DIMS, 8):
        noise = normals(1, "page", str(method), base.dim, base.trial.repeat, count=1)[0]
        loss = 2.3 * math.exp(-((base.dim * math.exp(0.13 * noise) / (60 * factor)) ** 1.2))
        spec = SPEC.replace(lr=lr).to_json()
        trial = dataclasses.replace(
            base.trial, problem={"name": "digits"}, method=method, spec=spec
        )
        curve = curve_of((2.3, (2.3 * loss) ** 0.5, loss))
        found.append(dataclasses.replace(base, trial=trial, curve=curve))
    return found


def of_function() -> list[TrialRecord]:
    """Trials of a user's function with a metric that nobody registered."""
    identity = {"name": EVIL, "kind": "trainable", "version": "1", "max_dim": 500}
    spec = LoopSpec(stop_at="val:reward>=20").to_json()
    found = []
    for dim in DIMS:
        for repeat in range(4):
            reward = dim / 4 + repeat - 3.0
            outcome = Outcome.STOPPED if reward >= 20 else Outcome.FINISHED
            curve = (CurvePoint(1, {"val:reward": 0.0}), CurvePoint(9, {"val:reward": reward}))
            trial = Trial(identity, {"name": "trainable"}, dim, spec, 0, repeat)
            found.append(TrialRecord(trial, 500, outcome, 9, curve, math.nan, 0.1))
    return found


def records() -> list[TrialRecord]:
    """All trials."""
    random = {"name": "random", "map": "hadamard"}
    return [
        *of_method(random, 1.0),
        *of_method(random, 1.6, lr=0.2),
        *of_method(random, 2.5, lr=0.01),
        *of_method({"name": "burn-in", "steps": 16, "map": "hadamard"}, 0.5),
        *of_method({"name": "burn-in", "steps": 64, "map": "hadamard"}, 0.25),
        *of_function(),
        record(16, 0, (2.3, math.nan), problem="lonely", outcome=Outcome.DIVERGED),
    ]


def note_theory(store: ss.Store) -> None:
    """Note predictions, one of them with a cone and a command, and the spectrum of two runs."""
    identity, shared = {"name": "digits"}, {"dtype": "torch.float32", "seed": 0, "rows": None}
    for name, goal, band in (
        ("digits", "loss<=0.1", MeanEstimate(96.0, 81.0, 111.0, 0.95, 6)),
        (EVIL, "loss<=0.5", None),
    ):
        level = parse_goal(goal)
        notes = ("w₀ lies beyond the well", EVIL)
        spectrum = tuple((4.0 / i, 1.0) for i in range(1, 501))
        numbers = (level.level, band, 0.03, 5.0, 0.3, 2.4, 0.0, 0.0)
        at = LevelPrediction(*numbers, notes, spectrum if band else ())
        found = Prediction(level, level, (at,), 500, 2.4, "gauss-newton", "exact", 0.25)
        asked = {**shared, "problem": {"name": name}, "goal": goal, "start": None}
        keep(store, PREDICTION, asked, found)
    values, asked = (50.0, 70.0, 60.0), {**shared, "problem": identity, "goal": "loss<=0.1"}
    cone = ConeEstimate(*(60.0, 47.0, 73.0, 0.95, 3, "ok", 5.0, 0.0), values, (60.0, 60.0), 500)
    keep(store, CONE, {**asked, "at": None, "directions": 3, "steps": 9}, cone)
    keep(store, CONE, {**asked, "goal": "loss<=0.4", "at": None, "directions": 3, "steps": 9}, cone)
    for repeat in range(2):
        run = Run(tuple(9.0 / i**1.5 for i in range(1, 301)), 500, 600)
        method = {"name": "lottery-subspace", "snapshots": 300, "every": 2}
        more = {"dtype": "torch.float32", "seed": 4, "repeat": repeat}
        keep(store, SPECTRUM, {"problem": identity, "method": method, **more}, run)


def make(path: Path) -> Path:
    """Write the store, with notes of commands as the command line leaves them."""
    with ss.Store(path) as store:
        for one in records():
            store.add(one)
        note_theory(store)
        argv = ["predict", "digits", "--goal", "loss<=0.1", "--store", "runs.db"]
        store.claim("command:3", "command:", 0.0, {"argv": argv, "folder": "/", "done": True})
        note = {"argv": ["threshold", "digits", "--goal", "loss<=0.1"], "folder": "secret/place"}
        store.claim("command:1", "command:", 0.0, {**note, "done": True})
        argv = ["surface", EVIL, "--store", "postgresql+psycopg://me:password1@host/runs"]
        store.claim("command:2", "command:", 0.0, {"argv": argv, "folder": "/", "done": True})
    return path
