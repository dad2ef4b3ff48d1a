"""How the measured threshold moves towards cone_threshold as the optimiser gets better.

digits-mlp; the same subspaces (dense Gaussian, seed 0) trained by Adam on the full batch for 600
and for 4,000 steps, and by Levenberg–Marquardt. The threshold of a repeat is the smallest d of
the grid from which on every larger d of it succeeds; the table gives the mean over repeats.

    python experiments/theory_optimizer/run.py       # writes results.json beside itself
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import numpy as np
import torch

import subspan as ss
from subspan import maps
from subspan.subspaces.base import Draw
from subspan.training.strong import minimize_in_subspace

DIMS = [24, 32, 40, 48, 56, 64, 72, 80, 96, 112, 128, 144, 160, 192, 224, 256, 320]
LM_DIMS = [40, 48, 56, 64, 80, 96, 112, 128, 144]
REPEATS, LM_REPEATS = 3, 2
LEVELS = [1.0, 0.5, 0.25, 0.1, 0.05, 0.01]


def adam_losses(problem: ss.Problem, steps: int) -> dict[int, list[float]]:
    spec = ss.TrainSpec(
        lr=0.05, steps=steps, batch_size=None, schedule="linear", eval_every=max(50, steps // 40)
    )
    trials = ss.run(problem, ss.RandomAffine(), DIMS, repeats=REPEATS, spec=spec, workers=1)
    losses: dict[int, list[float]] = {d: [] for d in DIMS}
    for trial in trials:
        losses[trial.dim].append(trial.best_train_loss)
    return losses


def strong_losses(problem: ss.Problem) -> dict[int, list[float]]:
    losses: dict[int, list[float]] = {d: [] for d in LM_DIMS}
    for dim in LM_DIMS:
        for repeat in range(LM_REPEATS):
            draw = Draw(dim, 0, repeat)
            linear_map = maps.make(
                "gaussian", dim=dim, ambient_dim=problem.ambient_dim, seed=draw.map_seed
            )
            result = minimize_in_subspace(
                problem, problem.init(draw.init_seed), linear_map, level=min(LEVELS), steps=60
            )
            losses[dim].append(result.loss)
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
    for name, make in (
        ("adam, 600 full-batch steps", lambda: adam_losses(problem, 600)),
        ("levenberg-marquardt, 60 steps", lambda: strong_losses(problem)),
        ("adam, 4000 full-batch steps", lambda: adam_losses(problem, 4000)),
    ):
        if name in results:  # continue where an earlier run was cut off
            continue
        start = time.perf_counter()
        losses = make()
        results[name] = {
            "thresholds": thresholds(losses),
            "losses": {str(d): [round(v, 5) for v in row] for d, row in losses.items()},
            "seconds": round(time.perf_counter() - start, 1),
        }
        print(name, results[name]["thresholds"], results[name]["seconds"], "s", flush=True)
        path.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
