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
from subspan.streams import normals
from subspan.training.outcome import CurvePoint, Outcome
from subspan.trials.function import LoopSpec
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


def make(path: Path) -> Path:
    """Write the store, with a note of a command as the command line leaves it."""
    with ss.Store(path) as store:
        for one in records():
            store.add(one)
        note = {"argv": ["threshold", "digits", "--goal", "loss<=0.1"], "folder": "secret/place"}
        store.claim("command:1", "command:", 0.0, {**note, "done": True})
        argv = ["surface", EVIL, "--store", "postgresql+psycopg://me:password1@host/runs"]
        store.claim("command:2", "command:", 0.0, {"argv": argv, "folder": "/", "done": True})
    return path
