"""What "ok" is worth at slow rises, and what any design could know of d* there.

    python experiments/coverage/widths.py [--widths 1,1.25,1.5,1.75,2] [--repeats 40] [--seed 0]

A law's slope at d*, dP/d(log d), bounds what trials can tell: of n trials the best are all at d*,
and a design that knew the slope would there find log d* to within a standard deviation of
√(δ(1 − δ)/n) / slope. Where an interval of that is about as wide as the ratio, no design comes to
the ratio but by luck: "ok" is rare there, and a larger share of it is wrong. So two shares are
printed: of "ok", and of all runs.
"""

from __future__ import annotations

import argparse
import math
import time

import numpy as np
from scipy.stats import norm

from subspan.intervals import binomial_interval
from subspan.success.design import ThresholdDesign
from subspan.testing.design_conformance import LawTally, run_law
from subspan.testing.success_laws import Law, rise

FAMILIES = ("probit", "logit", "weibull", "gumbel", "student-t")
WIDTHS = (1.0, 1.25, 1.5, 1.75, 2.0)
STEP = 1e-4  # in log d, for the slope
THRESHOLD = 10**6  # large, so that dims next to it are close in log d


def least_ratio(family: str, width: float, trials: int, delta: float = 0.1) -> float:
    """The ratio of a 95 % interval of d* from all trials at d*, by a design that knew the slope."""
    curve = rise(family, THRESHOLD, width, delta=delta)
    below, above = curve(THRESHOLD * np.exp([-STEP, STEP]))
    sd = math.sqrt(delta * (1 - delta) / trials) / ((above - below) / (2 * STEP))
    return math.exp(2 * norm.ppf(0.975) * sd)


def share(count: int, total: int) -> str:
    """Per cent with the Clopper–Pearson interval of 95 %."""
    low, high = binomial_interval(count, total)
    return f"{100 * count / max(total, 1):.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def row(name: str, tallies: list[LawTally], ratio: str = "") -> str:
    runs, ok, missed = (
        sum(getattr(t, field) for t in tallies) for field in ("repeats", "ok", "missed")
    )
    trials = np.median([n for t in tallies for n in t.trials])
    held = share(ok - missed, ok) if ok else "–"
    return f"| {name} | {ratio} | {runs} | {ok} | {held} | {share(missed, runs)} | {trials:g} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--families", default=",".join(FAMILIES))
    parser.add_argument("--widths", default=",".join(map(str, WIDTHS)))
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-trials", type=int, default=1000)
    args = parser.parse_args()
    start = time.process_time()
    print(
        '| law | least ratio of any | runs | ok | d* held, % of ok | false "ok", % of runs '
        "| trials |\n|---|---|---|---|---|---|---|"
    )
    for width in map(float, args.widths.split(",")):
        tallies = []
        for family in args.families.split(","):
            name = f"{family}, width {width:g}"
            law = Law(name, "curve", rise(family, 100, width), max_trials=args.max_trials)
            tallies.append(run_law(ThresholdDesign, law, args.repeats, args.seed))
            ratio = f"{least_ratio(family, width, args.max_trials):.2f}"
            print(row(name, tallies[-1:], ratio), flush=True)
        print(row(f"**width {width:g}**", tallies), flush=True)
    print(f"\n{args.repeats} repeats, seed {args.seed}: {time.process_time() - start:.0f} s of CPU")


if __name__ == "__main__":
    main()
