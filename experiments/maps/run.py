"""Does the map matter? d* of digits-mlp at one goal with every map.

python experiments/maps/run.py
"""

from __future__ import annotations

import json
from pathlib import Path

import subspan as ss

HERE = Path(__file__).parent


def main() -> None:
    problem = ss.problems.load("digits-mlp")
    rows = []
    for name in ss.maps.names():
        for goal in ("loss<=0.1", "loss<=1"):
            found = ss.threshold(
                problem,
                ss.RandomAffine(name),
                goal,
                seed=0,
                ratio=1.15,
                store=HERE / "runs.db",
                max_dim=600,
            )
            rows.append(
                {
                    "map": name,
                    "goal": goal,
                    **{k: getattr(found, k) for k in ("value", "low", "high", "status", "trials")},
                }
            )
            print(json.dumps(rows[-1]), flush=True)
    (HERE / "results.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
