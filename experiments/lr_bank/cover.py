"""How often the interval over (d, lr) holds the truth, and at what cost: in worlds and banks.

Goes on where it was cut off: one line of JSON per measurement.

    nice python experiments/lr_bank/cover.py cover.jsonl --ratio 1.5 --seeds 8
    python experiments/lr_bank/cover.py cover.jsonl --show
    python experiments/lr_bank/cover.py cover.jsonl --misses    # and what is true at their ends
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "success"))
BANKED = [
    "bank:digits-mlp:loss:0.1",
    "bank:mnist-conv2:accuracy:0.9",
    "bank:mnist-mlp:accuracy:0.9",
]


def main() -> None:
    """Measure what the file does not hold yet, or show what it holds."""
    from lr_worlds import FAMILIES

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--ratio", type=float, default=1.5)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--only", nargs="+", metavar="KIND", help="families or banks, not all")
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--misses", action="store_true")
    options = parser.parse_args()
    rows = [json.loads(line) for line in options.out.open()] if options.out.exists() else []
    if options.show:
        return _show(rows)
    if options.misses:
        return _show_misses(rows)
    known = {(row["kind"], row["seed"], row["ratio"]) for row in rows}
    for seed in range(options.seeds):
        for kind in options.only or [*FAMILIES, *BANKED]:
            if (kind, seed, options.ratio) not in known:
                with options.out.open("a") as file:
                    file.write(json.dumps(_measured(kind, seed, options.ratio)) + "\n")
    return None


def _world(kind: str, seed: int) -> Any:
    from lr_worlds import BankWorld, Family

    if kind in BANKED:
        _, name, metric, level = kind.split(":")
        return BankWorld(name, metric, float(level))
    return Family(kind, seed)


def _measured(kind: str, seed: int, ratio: float) -> dict[str, Any]:
    from lr_worlds import oracle
    from test_joint_design import measure

    world = _world(kind, seed)
    truth, _ = oracle(world)
    e = measure(world, seed, ratio=ratio, most=100)
    row = {"kind": kind, "seed": seed, "ratio": ratio, **against(truth, e)}
    return {
        **row,
        "cost": e.trainings,
        "held": e.high is None if math.isinf(truth) else row["held"],
    }


def against(truth: float, e: Any) -> dict[str, Any]:
    """Return what was estimated of a d* that is known, and whether the interval holds it."""
    return {
        "truth": truth,
        "low": e.low,
        "value": e.value,
        "high": e.high,
        "status": e.status,
        "trials": e.trials,
        "held": bool(e.low - 1 <= truth <= (e.high or math.inf) + 1),
    }


def _show(rows: list[dict[str, Any]]) -> None:
    groups = defaultdict(list)
    for row in rows:
        groups[row["ratio"], row["kind"]].append(row)
        groups[row["ratio"], "all banks" if row["kind"] in BANKED else "all synthetic"].append(row)
    for (ratio, kind), own in sorted(groups.items()):
        costs = [row["cost"] for row in own]
        fine = [row["held"] for row in own if row["status"] == "ok"]
        print(
            f"{ratio} {kind}: held by {sum(row['held'] for row in own)} of {len(own)}, "
            f'of "ok" by {sum(fine)} of {len(fine)}; '
            f"trainings: median {np.median(costs):.1f}, 90 % {np.quantile(costs, 0.9):.1f}; "
            f"{dict(Counter(row['status'] for row in own))}"
        )


def _show_misses(rows: list[dict[str, Any]]) -> None:
    rhos = np.log(0.0125) + np.log(2) * np.arange(0, 8.01, 0.05)
    for row in sorted(rows, key=lambda row: (row["ratio"], row["kind"], row["seed"])):
        if row["held"]:
            continue
        world = _world(row["kind"], row["seed"])
        ends = (row["low"], row["high"] or world.max_dim)
        chances = [max(world.probability(dim, rho) for rho in rhos) for dim in ends]
        print(
            f"{row['ratio']} {row['kind']}, seed {row['seed']}: d* {row['truth']:.1f}, found "
            f"[{row['low']}, {row['high']}], {row['status']}, {row['cost']:.0f} trainings; success "
            f"at the best lr {chances[0]:.3f} and {chances[1]:.3f} at the ends"
        )


if __name__ == "__main__":
    main()
