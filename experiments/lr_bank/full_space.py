"""Accuracy with all D numbers at the learning rate that `lr="auto"` chooses, beside a grid's best.

The grid is that of the banks: nine ρ, factor 2. Goes on where it was cut off.

    nice python experiments/lr_bank/full_space.py mnist-conv2 --store runs.db --data-dir data/mnist
"""

from __future__ import annotations

import math

import numpy as np
from run import RHOS, loaded, training_parser

import subspan as ss


def main() -> None:
    """Train at the chosen rate and at each of the grid, and print the best training accuracies."""
    parser = training_parser(__doc__)
    parser.add_argument("--goal", default="accuracy>=0.9", help="what the rate is chosen for")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rhos", default=",".join(map(str, RHOS)), help="of the grid")
    options = parser.parse_args()
    problem, spec = loaded(options)
    dim = problem.ambient_dim

    def accuracies(spec: ss.TrainSpec) -> list[ss.TrialRecord]:
        return ss.run(
            problem,
            "random",
            [dim],
            options.repeats,
            spec,
            store=options.store,
            goal=options.goal,
            workers=1,
        )

    chosen = accuracies(spec.replace(lr="auto"))
    print(f"chosen, lr {chosen[0].trial.spec['lr']:.3g}: {_shown(chosen)}", flush=True)
    norm = float(problem.init(0).norm())
    means = []
    for rho in map(float, options.rhos.split(",")):
        records = accuracies(spec.replace(lr=float(f"{rho * norm / math.sqrt(dim):.3g}")))
        means.append(_mean(records))
        print(f"rho {rho:.3g}: {_shown(records)}", flush=True)
    print(f"chosen {_mean(chosen):.4f}, the grid's best {max(means):.4f}")


def _best(records: list[ss.TrialRecord]) -> list[float]:
    """The best training accuracy of each trial; one without any counts as 0."""
    return [0.0 if math.isnan(r.best_train_accuracy) else r.best_train_accuracy for r in records]


def _mean(records: list[ss.TrialRecord]) -> float:
    return float(np.mean(_best(records)))


def _shown(records: list[ss.TrialRecord]) -> str:
    return ", ".join(f"{value:.4f}" for value in _best(records))


if __name__ == "__main__":
    main()
