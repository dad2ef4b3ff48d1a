"""The adaptive threshold on fixed success laws, in and out of its model, "ok" apart from the rest.

    python experiments/coverage/laws.py [--groups curve,plateau] [--only PATTERN] [--repeats 20]

Each law is measured from start to stop, again and again; the rows are written as they are done.
"""

from __future__ import annotations

import argparse
import re
import time

from subspan.intervals import binomial_interval
from subspan.success.design import ThresholdDesign
from subspan.testing.design_conformance import LawTally, law_table, run_law
from subspan.testing.success_laws import LAWS

GROUPS = ("curve", "lapse", "plateau", "fall", "end", "setting")


def rate(count: int, total: int) -> str:
    """A share in per cent with its Clopper–Pearson interval of 95 %."""
    low, high = binomial_interval(count, total)
    return f"{100 * count / max(total, 1):.1f} % [{100 * low:.1f}, {100 * high:.1f}] of {total}"


def summary(tallies: list[LawTally]) -> str:
    ok, missed = sum(t.ok for t in tallies), sum(t.missed for t in tallies)
    runs, wrong = sum(t.repeats for t in tallies), sum(t.wrong for t in tallies)
    return f'd* held where the status is "ok": {rate(ok - missed, ok)}; false: {rate(wrong, runs)}'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--groups", default=",".join(GROUPS))
    parser.add_argument("--only", default="", help="a regular expression that the name matches")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    start = time.process_time()
    for group in args.groups.split(","):
        print(f"\n## {group}\n")
        tallies = []
        for law in LAWS:
            if law.group == group and re.search(args.only, law.name):
                tallies.append(run_law(ThresholdDesign, law, args.repeats, args.seed))
                rows = law_table(tallies).splitlines()
                print("\n".join(rows if len(tallies) == 1 else rows[-1:]), flush=True)
        usual = [t for t in tallies if t.law.confidence == 0.95]
        print(f"\n{summary(usual)} (laws of 95 %)", flush=True)
    print(f"\n{args.repeats} repeats, seed {args.seed}: {time.process_time() - start:.0f} s of CPU")


if __name__ == "__main__":
    main()
