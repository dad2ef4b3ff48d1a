"""Interval coverage of the adaptive threshold on synthetic success curves.

    python experiments/coverage/run.py [--curves 500] [--width 1] [--ratio 1.5]

Each curve is measured by the adaptive design from start to stop; the table tells how often the
95 % interval held the true threshold, where the status is "ok" and in all. The law: at least 93 %
over 500 curves, in both, with at most 200 trials each. `laws.py` beside this file has fixed laws,
plateaus and falls among them.
"""

from __future__ import annotations

import argparse
import collections
import math
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from curves import FAMILIES, SyntheticCurve, draw_curve

from subspan.streams import uniforms
from subspan.success.design import ThresholdDesign


@dataclass(frozen=True)
class Case:
    family: str
    status: str
    trials: int
    ratio: float | None
    covered: bool


def measure(
    curve: SyntheticCurve,
    seed: int,
    index: int,
    *,
    width: int = 1,
    ratio: float = 1.5,
    max_trials: int = 200,
) -> Case:
    """Run the design to its end on a curve and judge its interval."""
    design = ThresholdDesign(curve.ambient_dim, ratio=ratio, max_trials=max_trials)
    luck = uniforms(seed, "outcomes", curve.family, index, count=max_trials + width)
    while not design.done:
        for dim in design.ask(width):
            design.tell(dim, luck[design.trials] < curve.probability[dim - 1])
    found = design.estimate()
    above = found.low is not None and found.low <= curve.threshold
    covered = above and (found.high is None or curve.threshold <= found.high)
    return Case(curve.family, found.status, design.trials, found.ratio, covered)


def case(index: int, seed: int, width: int, ratio: float, widest: float = 4.6) -> Case:
    curve = draw_curve(FAMILIES[index % len(FAMILIES)], seed, index, widest=widest)
    return measure(curve, seed, index, width=width, ratio=ratio)


def table(cases: list[Case]) -> str:
    groups = collections.defaultdict(list)
    for c in cases:
        groups[c.family].append(c)
    groups["all"] = cases
    lines = [
        "| family | curves | ok | d* held, of ok | of all | median high/low | mean trials |",
        "|---|---|---|---|---|---|---|",
    ]
    for family, found in groups.items():
        ok = [c for c in found if c.status == "ok"]
        ratios = [c.ratio for c in found if c.ratio] or [math.nan]
        lines.append(
            f"| {family} | {len(found)} | {len(ok)} | {sum(c.covered for c in ok)} of {len(ok)} "
            f"| {sum(c.covered for c in found)} of {len(found)} "
            f"| {statistics.median(ratios):.3f} "
            f"| {sum(c.trials for c in found) / len(found):.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--curves", type=int, default=500)
    parser.add_argument("--width", type=int, default=1, help="dims per round")
    parser.add_argument("--ratio", type=float, default=1.5, help="stop at this high/low")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    start = time.perf_counter()
    job = partial(case, seed=args.seed, width=args.width, ratio=args.ratio)
    with ProcessPoolExecutor(args.workers) as pool:
        cases = list(pool.map(job, range(args.curves), chunksize=4))
    print(table(cases))
    seconds = time.perf_counter() - start
    print(
        f"\n{args.curves} curves, rounds of {args.width}, target ratio {args.ratio}, "
        f"seed {args.seed}: {seconds:.0f} s on {args.workers} workers"
    )


if __name__ == "__main__":
    main()
