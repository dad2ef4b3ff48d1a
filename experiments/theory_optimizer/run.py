"""How the measured threshold moves towards cone_threshold as the optimiser gets better.

digits-mlp; the same subspaces (the default map, seed 0) trained by Adam on the full batch for 600
and for 4,000 steps, and by Levenberg–Marquardt. The threshold of a repeat is the smallest d of
the grid from which on every larger d of it succeeds; the table gives the mean over repeats.

    python experiments/theory_optimizer/run.py       # writes results.json beside itself

diagnosis.json, beside it, is what `subspan threshold --diagnose` prints:

    subspan threshold digits-mlp --goal "loss<=0.1" --design binary --diagnose --json
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import numpy as np
import torch

import subspan as ss

DIMS = [24, 32, 40, 48, 56, 64, 72, 80, 96, 112, 128, 144, 160, 192, 224, 256, 320]
REPEATS = 3
LEVELS = [1.0, 0.5, 0.25, 0.1, 0.05, 0.01]


def adam(steps: int) -> ss.TrainSpec:
    return ss.TrainSpec(
        lr=0.05, steps=steps, batch_size=None, schedule="linear", eval_every=max(50, steps // 40)
    )


RUNS = {
    "adam, 600 full-batch steps": (DIMS, adam(600)),
    "l-bfgs, 1000 iterations": (
        DIMS,
        ss.TrainSpec("lbfgs", stop_at=ss.LossBelow(min(LEVELS))),
    ),
    "levenberg-marquardt, 60 steps": (
        [48, 56, 64, 80, 96, 112, 128, 144, 160, 192],
        ss.TrainSpec("levenberg_marquardt", steps=60, stop_at=ss.LossBelow(min(LEVELS))),
    ),
    "adam, 4000 full-batch steps": (DIMS, adam(4000)),
}


def best_losses(problem: ss.Problem, dims: list[int], spec: ss.TrainSpec) -> dict[int, list[float]]:
    trials = ss.run(problem, "random", dims, repeats=REPEATS, spec=spec, workers=1)
    losses: dict[int, list[float]] = {d: [] for d in dims}
    for trial in trials:
        losses[trial.dim].append(trial.best_train_loss)
    return losses


def thresholds(losses: dict[int, list[float]]) -> dict[str, float | None]:
    """Mean over repeats of the smallest d from which on all larger ones reach each level."""
    table = np.array([losses[d] for d in sorted(losses)])  # (dims, repeats)
    dims = sorted(losses)
    found = {}
    for level in LEVELS:
        firsts = []
        for column in table.T:
            failed = np.flatnonzero(~(column <= level))
            last = failed[-1] + 1 if failed.size else 0
            firsts.append(dims[last] if last < len(dims) else math.nan)
        mean = float(np.mean(firsts))
        found[f"{level:g}"] = None if math.isnan(mean) else round(mean, 1)
    return found


def main() -> None:
    torch.set_num_threads(1)
    problem = ss.problems.load("digits-mlp")
    path = Path(__file__).with_name("results.json")
    results = json.loads(path.read_text()) if path.exists() else {}
    for name, (dims, spec) in RUNS.items():
        if name in results:  # continue where an earlier run was cut off
            continue
        start = time.perf_counter()
        losses = best_losses(problem, dims, spec)
        results[name] = {
            "thresholds": thresholds(losses),
            "losses": {str(d): [round(v, 5) for v in row] for d, row in losses.items()},
            "seconds": round(time.perf_counter() - start, 1),
        }
        print(name, results[name]["thresholds"], results[name]["seconds"], "s", flush=True)
        path.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
