"""d* at the best learning rate from real trials, beside the oracle of the bank: no lr given.

The bank's problem and training; its oracle is the best of a grid of nine learning rates at each d.
Goes on where it was cut off.

    nice python experiments/lr_bank/threshold.py mnist-conv2 "accuracy>=0.9" --seeds 5 \
        --store runs.db --data-dir data/mnist
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
from run import loaded, training_parser

import subspan as ss

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "success"))


def main() -> None:
    """Measure with each seed, and print what was found and what it cost."""
    from lr_worlds import BankWorld, oracle

    parser = training_parser(__doc__)
    parser.add_argument("goal")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--ratio", type=float, default=1.5)
    parser.add_argument("--banks", type=Path, help="a folder of banks other than the tests'")
    options = parser.parse_args()
    goal = ss.goals.parse_goal(options.goal)
    folder = {} if options.banks is None else {"folder": options.banks}
    world = BankWorld(options.name, goal.metric, goal.level, **folder)
    truth, log_rho = oracle(world)
    print(f"oracle: {truth:.0f} at rho = {math.exp(log_rho):.2g}", flush=True)
    problem, spec = loaded(options)
    spec = spec.replace(lr="auto")
    costs, held = [], 0
    for seed in range(options.first, options.first + options.seeds):
        found = ss.threshold(
            problem,
            "random",
            goal,
            spec=spec,
            ratio=options.ratio,
            seed=seed,
            store=options.store,
            workers=1,
        )
        inside = (found.low or 0) <= truth <= (found.high or math.inf)
        held += inside
        costs.append(found.trainings or math.nan)
        print(
            f"seed {seed}: d* = {found.value} [{found.low}, {found.high}], {found.status}, lr "
            f"{found.lr:.2g}, {found.trials} trials, {found.trainings:.1f} trainings, off by "
            f"{(found.value or math.inf) / truth - 1:+.0%}{'' if inside else ', outside'}",
            flush=True,
        )
    print(f"held by {held} of {len(costs)}; trainings: median {np.median(costs):.1f}")


if __name__ == "__main__":
    main()
