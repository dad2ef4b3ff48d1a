"""Coverage of d* from a fixed grid of dims, where nothing was designed: as it is, and held back.

    python experiments/coverage/grids.py [--repeats 200] [--seed 0]

Between two tested dims only the shape of a curve speaks. "Held back" moves the ends of an interval
outward to tested dims: low to the one after the largest tested dim below it, high to the smallest
tested dim from it on.
"""

from __future__ import annotations

import argparse

import numpy as np

from subspan.goals import LossBelow
from subspan.intervals import binomial_interval
from subspan.streams import stream
from subspan.success import Count, Range, ThresholdEstimate, estimate_from_counts
from subspan.testing.success_laws import LAWS, Law

NAMES = (
    "gumbel, width 1",
    "shelf at 0.6, 1 before",
    "shelf at 0.3, 1.5 before",
    "cauchit, width 0.3",
    "logit, width 0.3",
    "student-t, width 0.3",
)
GRIDS = ((12, 20), (14, 50))  # dims and trials at each


def held_back(found: ThresholdEstimate, dims: np.ndarray) -> tuple[float, float]:
    """The ends of an interval, moved outward to tested dims."""
    assert found.low is not None
    assert found.high is not None
    low, high = dims[dims < found.low], dims[dims >= found.high]
    return (
        int(low[-1]) + 1 if len(low) else found.span.min_dim,
        int(high[0]) if len(high) else found.span.max_dim,
    )


def row(law: Law, size: int, trials: int, repeats: int, seed: int) -> str:
    dims = np.unique(np.round(np.geomspace(1, law.max_dim, size)).astype(int))
    ok = held = back = 0
    widths = []
    for repeat in range(repeats):
        wins = stream(seed, "grid", law.name, size, repeat).binomial(trials, law.probability(dims))
        counts = [Count(int(d), int(won), trials) for d, won in zip(dims, wins, strict=True)]
        found = estimate_from_counts(
            counts, LossBelow(0), Range(1, law.max_dim, law.delta), ambient_dim=law.max_dim
        )
        if found.status != "ok":
            continue
        assert law.threshold is not None
        low, high = held_back(found, dims)
        ok += 1
        held += (found.low or 0) <= law.threshold <= (found.high or 0)
        back += low <= law.threshold <= high
        widths.append((found.ratio or 1, high / low))
    as_it_is, then = np.median(widths, 0) if widths else (np.nan, np.nan)
    return (
        f"| {law.name} | {len(dims)} × {trials} | {ok} of {repeats} | {share(held, ok)} "
        f"| {as_it_is:.2f} | {share(back, ok)} | {then:.2f} |"
    )


def share(count: int, total: int) -> str:
    """Per cent with the Clopper–Pearson interval of 95 %."""
    low, high = binomial_interval(count, total)
    return f"{100 * count / max(total, 1):.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    laws = {law.name: law for law in LAWS}
    print("| law | dims × trials | ok | d* held, % of ok | median ratio | held back | ratio |")
    print("|---|---|---|---|---|---|---|")
    for size, trials in GRIDS:
        for name in NAMES:
            print(row(laws[name], size, trials, args.repeats, args.seed), flush=True)


if __name__ == "__main__":
    main()
