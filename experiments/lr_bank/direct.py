"""Success counted at d near d* and at the best learning rates: an oracle finer than a bank's grid.

Trials end at the goal. Goes on where it was cut off.

    python experiments/lr_bank/direct.py digits-mlp "loss<=0.1" --dims 140 148 156 164 \
        --rhos 1.6 3.2 --store runs.db
"""

from __future__ import annotations

import math

from run import loaded, training_parser

import subspan as ss


def main() -> None:
    """Train at each d and ρ, and print how many trials met the goal."""
    parser = training_parser(__doc__)
    parser.add_argument("goal")
    parser.add_argument("--dims", type=int, nargs="+", required=True)
    parser.add_argument("--rhos", type=float, nargs="+", required=True)
    parser.add_argument("--repeats", type=int, default=40)
    options = parser.parse_args()
    problem, spec = loaded(options)
    goal = ss.goals.parse_goal(options.goal)
    spec = spec.replace(stop_at=goal)
    norm = float(problem.init(0).norm())
    for dim in options.dims:
        for rho in options.rhos:
            lr = float(f"{rho * norm / math.sqrt(dim):.3g}")
            records = ss.run(
                problem,
                "random",
                [dim],
                options.repeats,
                spec.replace(lr=lr),
                seed=1000,  # no seed of a measurement
                store=options.store,
                workers=1,
            )
            won = sum(record.meets(goal) is True for record in records)
            print(f"d = {dim}, rho = {rho:g}: {won} of {len(records)}", flush=True)


if __name__ == "__main__":
    main()
