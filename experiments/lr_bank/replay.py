"""What the design over (d, lr) costs, and whether its interval holds, replayed on a bank of trials.

python experiments/lr_bank/replay.py mnist-mlp accuracy 0.9 --width 2 --seeds 12
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "success"))


def main() -> None:
    """Print coverage and cost."""
    from lr_worlds import BankWorld, oracle
    from test_joint_design import measure

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("metric", choices=["loss", "accuracy"])
    parser.add_argument("level", type=float)
    parser.add_argument("--width", type=int, default=2, help="trials per round")
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--ratio", type=float, default=1.5)
    options = parser.parse_args()
    world = BankWorld(options.name, options.metric, options.level)
    truth, _ = oracle(world)
    found = [
        measure(world, seed, ratio=options.ratio, batch=options.width)
        for seed in range(options.seeds)
    ]
    held = sum(e.low <= truth <= (e.high or math.inf) for e in found)
    costs = [e.trainings for e in found]
    print(
        f"d* = {truth:.0f}, held by {held} of {len(found)}; trainings: median "
        f"{np.median(costs):.1f}, 90 % {np.quantile(costs, 0.9):.1f}"
    )


if __name__ == "__main__":
    main()
