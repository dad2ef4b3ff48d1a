"""Which second-order optimiser ends lower in the same subspace, and at what price?

digits-mlp, subspaces of the map `hadamard` through the initial weights of the same seed: L-BFGS,
Levenberg–Marquardt, and Levenberg–Marquardt started where L-BFGS ended. Losses are those of the
full training set; seconds are of one core, those of the last column without L-BFGS's own.

    python experiments/theory_optimizer/optimizers.py      # writes optimizers.json beside itself
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import torch

import subspan as ss
from subspan.training.lbfgs import minimize_by_lbfgs
from subspan.training.levenberg_marquardt import StrongResult, minimize_in_subspace

DIMS = (96, 128, 160)
SEEDS = range(4)


def timed(search: Callable[[], StrongResult]) -> tuple[StrongResult, dict[str, object]]:
    start = time.process_time()
    found = search()
    seconds = time.process_time() - start
    row = {"loss": found.loss, "steps": found.steps, "status": found.status, "seconds": seconds}
    return found, {**row, "products": found.products, "evaluations": found.evaluations}


def main() -> None:
    torch.set_num_threads(1)
    problem = ss.problems.load("digits-mlp")
    rows: list[dict[str, object]] = []
    for dim in DIMS:
        for seed in SEEDS:
            a = ss.maps.make("hadamard", dim=dim, ambient_dim=problem.ambient_dim, seed=seed)
            w0 = problem.init(seed)
            found, first = timed(lambda a=a, w0=w0: minimize_by_lbfgs(problem, w0, a))
            _, second = timed(lambda a=a, w0=w0: minimize_in_subspace(problem, w0, a, steps=60))
            _, third = timed(
                lambda a=a, w0=w0, end=found.theta: minimize_in_subspace(
                    problem, w0, a, start=end, steps=60
                )
            )
            names = ("lbfgs", "levenberg_marquardt", "levenberg_marquardt from lbfgs")
            runs = dict(zip(names, (first, second, third), strict=True))
            rows.append({"dim": dim, "seed": seed, **runs})
            cells = (f"{r['loss']:.4f} ({r['seconds']:.1f} s)" for r in runs.values())
            print(f"d = {dim}, seed {seed}: " + "   ".join(cells), flush=True)
            text = json.dumps({"problem": problem.identity, "rows": rows}, indent=1)
            Path(__file__).with_name("optimizers.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
