"""Median trials of laws that any design measures, for this version of the library or another.

    git worktree add ../before cb4ac4e
    PYTHONPATH=../before/src python experiments/coverage/medians.py

cb4ac4e is the last version that believed a narrow posterior alone: no evidence above d*, no
plateaus, no falls. Nothing but `ThresholdDesign` and `uniforms` is asked of the library.
"""

from __future__ import annotations

import argparse
import statistics

import numpy as np
from scipy.stats import gumbel_l, logistic, norm

from subspan.streams import uniforms
from subspan.success.design import ThresholdDesign

FAMILIES = {"probit": norm, "logit": logistic, "weibull": gumbel_l}
MAX_DIM, THRESHOLD, ROUND, MAX_TRIALS = 10_000, 100, 8, 1000


def run(chance: np.ndarray, luck: np.ndarray) -> tuple[int, bool]:
    """Trials until the end, and whether the status is "ok" with d* in the interval."""
    design, told = ThresholdDesign(MAX_DIM, max_trials=MAX_TRIALS), 0
    while not design.done:
        for dim in design.ask(min(ROUND, MAX_TRIALS - told)):
            design.tell(int(dim), bool(luck[told] < chance[dim - 1]))
            told += 1
    found = design.estimate()
    return told, found.status == "ok" and found.low <= THRESHOLD <= found.high


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", default="0.1,0.3,0.5,1,1.5")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--seed", type=int, default=71)
    args = parser.parse_args()
    print("| width | runs | ok and d* held | median trials |\n|---|---|---|---|")
    for width in args.widths.split(","):
        found = []
        for family, law in FAMILIES.items():
            slope = (law.ppf(0.9) - law.ppf(0.1)) / float(width)
            log_dims = np.log(np.arange(1, MAX_DIM + 1) / THRESHOLD)
            chance = law.cdf(law.ppf(0.9) + slope * log_dims)
            for repeat in range(args.repeats):
                luck = uniforms(args.seed, f"{family}, width {width}", repeat, count=MAX_TRIALS)
                found.append(run(chance, luck))
        held = sum(ok for _, ok in found)
        median = statistics.median(told for told, _ in found)
        print(f"| {width} | {len(found)} | {held} | {median:g} |", flush=True)


if __name__ == "__main__":
    main()
