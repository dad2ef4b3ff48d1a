"""ε × {measured d*, curvature prediction, cone, certified misses, linearised}, for one problem.

    python experiments/theory_table/run.py digits-mlp
    python experiments/theory_table/run.py mnist-mlp --data-dir FOLDER

Results go to PROBLEM.json beside this file, one quantity at a time; what is there is not done
again, so that the command continues where it was cut off. `--only NAME` does one quantity.
`--restate` computes nothing: it writes the statuses of stored predictions anew, from their notes.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import subspan as ss
from subspan.streams import derive
from subspan.theory.cone import ConeEstimate, cone_threshold
from subspan.theory.linearize import linearize
from subspan.theory.predict import predict_threshold

HERE = Path(__file__).parent
SETTINGS: dict[str, dict[str, Any]] = {
    "digits-mlp": {
        "load": {},
        "levels": [1.0, 0.5, 0.25, 0.1, 0.05, 0.01],
        "method": "random",
        "spec": None,  # the problem's default: Adam, lr 0.05 to 0 linearly, 50 epochs of 128
        "cone": {"directions": 8, "steps": 1000},
        "linear_cone": {"directions": 8, "steps": 1500},
        "predict": {"probes": 24},
    },
    "mnist-mlp": {
        "load": {"subset": 1000},
        "levels": [0.5, 0.1],
        "method": "random:partition",
        "spec": {"lr": 0.05, "steps": 400, "batch_size": 128, "schedule": "linear"},
        "cone": {"directions": 4, "steps": 600},
        "linear_cone": {"directions": 2, "steps": 1500},
        "predict": {"probes": 12, "lanczos_steps": 40},
    },
}
STRONG = ss.TrainSpec("lbfgs", steps=2000)
VARIANTS = {
    "prediction": {},
    "prediction, center 0.5": {"center": 0.5},
    "prediction, paper formula": {"formula": "paper"},
    "prediction, hessian": {"curvature": "hessian"},
}


def interval(estimate: Any) -> dict[str, Any]:
    if estimate is None:
        return {"value": None, "low": None, "high": None, "status": "not reached"}
    return {
        "value": round(estimate.value, 2) if estimate.value is not None else None,
        "low": round(estimate.low, 2) if estimate.low is not None else None,
        "high": round(estimate.high, 2) if estimate.high is not None else None,
        "status": estimate.status,
    }


def measured(
    problem: Any, settings: dict[str, Any], name: str, spec: ss.TrainSpec | None = None
) -> dict[str, Any]:
    usual = ss.TrainSpec(**settings["spec"]) if settings["spec"] else problem.default_spec
    spec = spec or usual
    method = ss.parse_method(settings["method"])
    return {
        f"{level:g}": interval(
            ss.threshold(
                problem, method, ss.LossBelow(level), spec=spec, store=HERE / f"{name}.db",
                workers=1, max_trials=96, design="binary",
            )
        )
        for level in settings["levels"]
    }  # fmt: skip


def measured_at_best(problem: Any, settings: dict[str, Any], name: str) -> dict[str, Any]:
    """d* at the best learning rate, by the joint design."""
    usual = ss.TrainSpec(**settings["spec"]) if settings["spec"] else problem.default_spec
    found = {}
    for level in settings["levels"]:
        e = ss.threshold(
            problem,
            settings["method"],
            ss.LossBelow(level),
            spec=usual.replace(lr="auto"),
            store=HERE / f"{name}.db",
            workers=1,
        )
        found[f"{level:g}"] = {**interval(e), "lr": e.lr, "trainings": e.trainings}
        print("  ", level, e, flush=True)
    return found


def predictions(problem: Any, settings: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    levels = settings["levels"]
    result = predict_threshold(
        problem, ss.LossBelow(levels[-1]), levels=levels, **settings["predict"], **options
    )
    return restated(
        {f"{p.level:g}": {**interval(p.estimate), "notes": list(p.notes)} for p in result.levels}
    )


def restated(by_level: dict[str, Any]) -> dict[str, Any]:
    """Give predictions the status that `Prediction.status` has: noted ones are doubtful."""
    return {
        level: {**found, "status": "doubtful" if found["notes"] else found["status"]}
        for level, found in by_level.items()
    }


def cones(problem: Any, levels: list[float], options: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for level in levels:
        cone: ConeEstimate = cone_threshold(problem, ss.LossBelow(level), **options)
        found[f"{level:g}"] = {
            **interval(cone),
            "by_radius": [round(v, 2) for v in cone.by_radius],
            "values": list(cone.values),  # certificates follow from these, the status and D
            "residual": round(cone.residual, 4),
            "at_0.9": round(cone.transition.dim_at(0.9), 1),
            **{
                f"certified_miss_{form}": cone.certified_miss_dim(form)
                for form in ("gordon", "sharp", "polar")
            },
        }
        print("  ", level, cone, flush=True)
    return found


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser()
    parser.add_argument("problem", choices=list(SETTINGS))
    parser.add_argument("--data-dir")
    parser.add_argument("--only")
    parser.add_argument("--restate", action="store_true")
    arguments = parser.parse_args()
    name, settings = arguments.problem, SETTINGS[arguments.problem]
    path = HERE / f"{name}.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    if arguments.restate:
        for key in VARIANTS.keys() & results.keys():
            results[key]["by_level"] = restated(results[key]["by_level"])
        path.write_text(json.dumps(results, indent=1) + "\n")
        return
    load = dict(settings["load"])
    if arguments.data_dir:
        load["data_dir"] = arguments.data_dir
    problem = ss.problems.load(name, **load)
    linear = linearize(problem)
    levels = settings["levels"]
    jobs: dict[str, Callable[[], dict[str, Any]]] = {
        "measured": lambda: measured(problem, settings, name),
        "measured by L-BFGS": lambda: measured(problem, settings, name, STRONG),
        "measured, best lr": lambda: measured_at_best(problem, settings, name),
        **{
            key: lambda o=options: predictions(problem, settings, o)
            for key, options in VARIANTS.items()
        },
        "cone": lambda: cones(problem, levels, settings["cone"]),
        # certificates are about one w₀: that of trial 0, at which the network is linearised too
        "cone at one start": lambda: cones(
            problem, levels, settings["cone"] | {"at": problem.init(derive(0, "init", 0))}
        ),
        "linearized, cone": lambda: cones(linear, levels, settings["linear_cone"]),
        "linearized, measured": lambda: measured(linear, settings, f"{name}-linearized"),
        "linearized, measured by L-BFGS": lambda: measured(
            linear, settings, f"{name}-linearized", STRONG
        ),
        "linearized, measured, best lr": lambda: measured_at_best(
            linear, settings, f"{name}-linearized"
        ),
    }
    for key, job in jobs.items():
        if key in results or (arguments.only and key != arguments.only):
            continue
        start = time.perf_counter()
        results[key] = {"by_level": job(), "seconds": round(time.perf_counter() - start, 1)}
        results["ambient_dim"], results["settings"] = problem.ambient_dim, settings
        path.write_text(json.dumps(results, indent=1) + "\n")
        values = {k: v["value"] for k, v in results[key]["by_level"].items()}
        print(key, values, results[key]["seconds"], "s", flush=True)


if __name__ == "__main__":
    main()
