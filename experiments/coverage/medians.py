"""Median trials of laws that any design measures, for this version of the library or another.

    git worktree add ../before cb4ac4e
    PYTHONPATH=../before/src python experiments/coverage/medians.py --save before.json
    python experiments/coverage/medians.py --before before.json

cb4ac4e is the last version that believed a narrow posterior alone: no evidence above d*, no
plateaus, no falls. Nothing but `ThresholdDesign` and `uniforms` is asked of the library; the laws
are this version's. They are those that were measured well before: steps, probit, logit and Weibull
up to a width of 1.5, d* at 1, 2, 3 and near D, D = 10⁹, a lapse up to 5 %.
"""

from __future__ import annotations

import argparse
import json
import runpy
import statistics
from pathlib import Path
from typing import Any

import numpy as np

from subspan.streams import uniforms
from subspan.success.design import ThresholdDesign

ROUND, MAX_TRIALS = 8, 1000
WIDTHS = (0.1, 0.3, 0.5, 1.0, 1.5)
_LAWS = runpy.run_path(
    str(Path(__file__).parents[2] / "src" / "subspan" / "testing" / "success_laws.py")
)


def measured_well() -> list[Any]:
    """The laws, in the order of the table."""
    law, rise = _LAWS["Law"], _LAWS["rise"]
    curves = [
        law(f"{family}, width {width:g}", "curve", rise(family, 100, width))
        for width in WIDTHS
        for family in ("probit", "logit", "weibull")
    ]
    names = ("step at", "logit at", "logit near D", "step near D")
    kept = [each for each in _LAWS["LAWS"] if each.name.startswith(names)]
    kept += [each for each in _LAWS["LAWS"] if each.max_dim == 10**9 or each.group == "lapse"]
    return curves + kept


def run(law: Any, luck: np.ndarray) -> tuple[int, bool]:
    """Trials until the end, and whether the status is "ok" with d* in the interval."""
    design, told = ThresholdDesign(law.max_dim, max_trials=MAX_TRIALS), 0
    while not design.done:
        dims = design.ask(min(ROUND, MAX_TRIALS - told))
        for dim, chance in zip(dims, law.probability(np.array(dims, float)), strict=True):
            design.tell(int(dim), bool(luck[told] < chance))
            told += 1
    found = design.estimate()
    return told, found.status == "ok" and found.low <= law.threshold <= found.high


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--seed", type=int, default=71)
    parser.add_argument("--save", type=Path, help="write what was found, for --before")
    parser.add_argument("--before", type=Path, help="what --save wrote, to stand beside it")
    args = parser.parse_args()
    before = json.loads(args.before.read_text()) if args.before else {}
    print("| law | ok and d* held | median trials | before: held | median | ratio |")
    print("|---|---|---|---|---|---|")
    all_found: dict[str, list[tuple[int, bool]]] = {}
    ratios = []
    for law in measured_well():
        found = [
            run(law, uniforms(args.seed, law.name, repeat, count=MAX_TRIALS))
            for repeat in range(args.repeats)
        ]
        all_found[law.name] = found
        held, median = told_of(found)
        row = f"| {law.name} | {held} of {len(found)} | {median:g} |"
        if law.name in before:
            was_held, was = told_of(before[law.name])
            ratios.append(median / was)
            row += f" {was_held} of {len(before[law.name])} | {was:g} | {ratios[-1]:.2f} |"
        print(row, flush=True)
    if ratios:
        most = sum(ratio <= 1.1 for ratio in ratios)
        print(
            f"\nmedian ratio {statistics.median(ratios):.2f}; at most 1.1: {most} of {len(ratios)}"
        )
        everything = [
            statistics.median(told for runs in each.values() for told, _ in runs)
            for each in (all_found, before)
        ]
        print(f"all runs together: median {everything[0]:g}, before {everything[1]:g}")
    count, held, mean = steps()
    print(f"steps at {count} dims from 2 to 9,000: held at {held}, mean trials {mean:.1f}")
    if args.save:
        args.save.write_text(json.dumps(all_found))


def steps() -> tuple[int, int, float]:
    """Steps at many dims, run once each as nothing is random: how many, held, mean trials."""
    dims = np.unique(np.round(np.geomspace(2, 9000, 100)).astype(int))
    step = _LAWS["rise"]
    found = [
        run(_LAWS["Law"](f"step at {d}", "curve", step("step", d, 0)), np.full(MAX_TRIALS, 0.5))
        for d in dims
    ]
    return len(found), sum(ok for _, ok in found), statistics.mean(told for told, _ in found)


def told_of(found: list[tuple[int, bool]]) -> tuple[int, float]:
    """How often d* was held and "ok", and the median trials."""
    return sum(ok for _, ok in found), statistics.median(told for told, _ in found)


if __name__ == "__main__":
    main()
