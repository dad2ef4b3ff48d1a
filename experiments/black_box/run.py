"""From which d on is training without gradients no match? digits-mlp, training loss at the end.

L-BFGS has gradients and needs no learning rate; SPSA and CMA-ES see losses alone. All three on the
full training set, in the same random subspaces. Losses that were computed, per trial: printed. Then
d* for a training loss of 1 by each, with as many steps.

    python experiments/black_box/run.py
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import subspan as ss
from subspan.comparison.paired import mean_interval

STEPS = {"lbfgs": 300, "spsa": 1000, "cma": 200}


def losses_per_trial(name: str, dim: int) -> int | None:
    """How many losses a search computes; None where it ends by itself."""
    import math

    if name == "spsa":
        return 1 + 2 * 10 + 3 * STEPS[name]
    return None if name == "lbfgs" else 1 + STEPS[name] * (4 + int(3 * math.log(max(dim, 2))))


def d_star(problem: ss.AbstractProblem, name: str, store: str | None) -> dict:
    spec = ss.TrainSpec(name, steps=STEPS[name])
    found = ss.threshold(problem, "random", "loss<=1", spec=spec, seed=0, store=store, workers=1)
    told = found.estimate
    ends = {"d_star": told.value, "low": told.low, "high": told.high}
    return {"optimizer": name, **ends, "status": told.status, "trials": told.samples}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dims", default="4,16,64,256")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--store", default=None)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results.json")
    options = parser.parse_args()
    problem, rows = ss.problems.load("digits-mlp"), []
    for dim in map(int, options.dims.split(",")):
        for name, steps in STEPS.items():
            spec = ss.TrainSpec(name, steps=steps, eval_every=steps)
            found = ss.run(
                problem, "random", [dim], options.repeats, spec, store=options.store, workers=1
            )
            values = [r.final_train_loss for r in found]
            cell = {"dim": dim, "optimizer": name, "train_loss": mean_interval(values)}
            rows.append({**cell, "losses": losses_per_trial(name, dim), "repeats": len(values)})
            print(json.dumps(rows[-1]), flush=True)
    thresholds = []
    for name in STEPS:
        thresholds.append(d_star(problem, name, options.store))
        print(json.dumps(thresholds[-1]), flush=True)
    command = "python experiments/black_box/run.py"
    body = {"command": command, "rows": rows, "thresholds": thresholds}
    options.out.write_text(json.dumps(body, indent=1) + "\n")


if __name__ == "__main__":
    main()
