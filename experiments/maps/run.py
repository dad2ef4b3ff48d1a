"""Does the map matter? d* with every map, of digits-mlp and of an ill-conditioned well.

The network is trained at each map's best learning rate. The well's axes are those of the weights,
and its success is decided by least squares (d where half the subspaces hit). The exact formula
stands beside it.

    python experiments/maps/run.py
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import subspan as ss

HERE = Path(__file__).parent


CASES = (
    ("digits-mlp", "loss<=1", 0.1, 1.25),
    ("digits-mlp", "loss<=0.1", 0.1, 1.25),
    ("quadratic", "loss<=0.1", 0.5, 1.1),
    ("quadratic", "loss<=0.01", 0.5, 1.1),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, help="processes; one per core")
    args = parser.parse_args()
    rows = []
    for name in ss.maps.names():
        for problem, goal, delta, ratio in CASES:
            trained = problem == "digits-mlp"
            loaded = ss.problems.load(problem)
            found = ss.threshold(
                loaded,
                ss.RandomAffine(name),
                goal,
                spec=loaded.default_spec.replace(lr="auto") if trained else None,
                design=None if trained else "binary",
                seed=0,
                delta=delta,
                ratio=ratio,
                store=HERE / "runs.db",
                max_dim=600 if trained else None,
                workers=args.workers,
            )
            told = ("value", "low", "high", "status", "trials", "lr")
            numbers = {k: getattr(found, k) for k in told}
            rows.append({"map": name, "problem": problem, "goal": goal, "delta": delta, **numbers})
            print(json.dumps(rows[-1]), flush=True)
    well = ss.problems.load("quadratic")
    for goal in ("loss<=0.1", "loss<=0.01"):
        exact = ss.theory.quadratic_threshold(
            well.eigenvalues.numpy(), well.displacement.numpy(), ss.parse_goal(goal).level
        )
        rows.append({"map": "exact formula", "problem": "quadratic", "goal": goal, "value": exact})
    (HERE / "results.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
