"""The least number of trials that tell a step from a plateau just below 1 − δ, and what ours takes.

    python experiments/coverage/least_trials.py

Outcomes above a step are successes all, so what a design does there is one fixed path, and a
plateau of some level below gives the same n successes with a chance of levelⁿ. A design that says
"ok" on the step, and on the plateau in at most 5 % of cases, needs levelⁿ ≤ 0.05. (For one that
draws lots Wald's bound, 1945, says the same: the mean log likelihood ratio is at least ln 20.)
Likewise below d*: where success has already come to 1 − δ, k failures have a chance of δᵏ, which
must be at most 5 % for an interval that leaves that d out. And the outcomes must tell apart as many
intervals of the ratio as cover the range. Rounds of w trials end at a multiple of w.

Where trials fail above d* too, the number is random, and its mean is bounded: whatever is asked
and whenever it stops, the trials spent at each d times the information that one gives there, summed
over d, are at least the information between two answers, one given in 95 % of runs and the other in
5 % (Garivier and Kaufmann, 2016, "Optimal best arm identification with fixed confidence", lemma 1).
The least sum that does so against a ceiling of 0.88 and against the same law moved by the ratio to
either side is a linear program.
"""

from __future__ import annotations

import math
import runpy
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linprog
from scipy.special import rel_entr

from subspan.success.design import ThresholdDesign

DELTA, ERROR, RATIO, MAX_DIM = 0.1, 0.05, 1.5, 10_000
LEVELS = (0.8, 0.85, 0.88, 0.89)
STEPS = (7, 60, 300, 1000, 3000)
CEILING = 0.88  # of the plateau that "ok" is said of in at most ERROR
HELD = 0.95  # of runs that are "ok" and hold d*
_MOST = 50.0  # nats that a trial is taken to give where one of the laws is certain
_BEYOND = 1.01 * RATIO  # so that no interval of the ratio holds both thresholds


def least_above(level: float) -> int:
    """Successes above d* that any design needs, so that a plateau seldom passes."""
    return math.ceil(math.log(ERROR) / math.log(level))


def least_below() -> int:
    """Failures below d* that any design needs: a rate of 1 − δ there gives them with δ each."""
    return math.ceil(math.log(ERROR) / math.log(DELTA))


def least_to_find(above: int, below: int) -> int:
    """The least n for which outcomes of n trials, with so many of each, tell all places apart."""
    places = math.ceil(math.log(MAX_DIM) / math.log(RATIO))
    n = above + below
    while sum(math.comb(n, k) for k in range(below, n - above + 1)) < places:
        n += 1
    return n


def information(p: np.ndarray | float, q: np.ndarray | float) -> np.ndarray:
    """Nats that a trial gives for a success probability p against q."""
    p, q = np.asarray(p), np.asarray(q)
    return np.minimum(rel_entr(p, q) + rel_entr(1 - p, 1 - q), _MOST)


def least_mean(law: Any) -> tuple[float, float]:
    """The least mean number of trials on a law, and that against the ceiling alone."""
    near = np.round(law.threshold * np.geomspace(0.3, 3, 60))
    dims = np.unique(np.concatenate([np.round(np.geomspace(1, law.max_dim, 400)), near]))
    dims = dims[(dims >= 1) & (dims <= law.max_dim)]
    chance = law.probability(dims)
    others = [np.minimum(chance, CEILING)]
    for moved in (_BEYOND, 1 / _BEYOND):
        if 1 <= law.threshold * moved <= law.max_dim:
            others.append(law.probability(dims / moved))
    told = np.stack([information(chance, other) for other in others])
    wanted = float(information(HELD, ERROR))
    least = linprog(np.ones(len(dims)), A_ub=-told, b_ub=-np.full(len(told), wanted))
    return least.fun, wanted / told[0].max()


def ours(step: int, width: int) -> tuple[int, int, str]:
    """Trials, failures among them and status of a step, measured in rounds of a width."""
    design = ThresholdDesign(MAX_DIM, delta=DELTA, ratio=RATIO)
    while not design.done:
        for dim in design.ask(width):
            design.tell(dim, dim >= step)
    failures = sum(count.total - count.successes for count in design.counts)
    return design.trials, failures, design.estimate().status


def main() -> None:
    print("| plateau that passes in at most 5 % | successes above d* | with failures, and found |")
    print("|---|---|---|")
    for level in LEVELS:
        above = least_above(level)
        print(f"| {level:g} | {above} | {least_to_find(above, least_below())} |")
    print("\n| step at | one at a time: trials (failures) | rounds of 8 | status |")
    print("|---|---|---|---|")
    for step in STEPS:
        single, failures, status = ours(step, 1)
        rounds, lost, other = ours(step, 8)
        said = status if status == other else f"{status}, {other}"
        print(f"| {step} | {single} ({failures}) | {rounds} ({lost}) | {said} |", flush=True)
    print("\n| law | least mean number of trials | of which against the ceiling |")
    print("|---|---|---|")
    laws = runpy.run_path(str(Path(__file__).parent / "medians.py"))["measured_well"]()
    for law in laws:
        least, ceiling = least_mean(law)
        print(f"| {law.name} | {least:.0f} | {ceiling:.0f} |", flush=True)


if __name__ == "__main__":
    main()
