"""Coverage of d* from a fixed grid of dims, where nothing was designed, beside the posterior's own.

    python experiments/coverage/grids.py [--repeats 200] [--seed 0]

Between two tested dims only the shape of a curve speaks, so the ends of the interval are moved
outward to tested dims. "Of the posterior alone" is the interval before that.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import numpy as np

from subspan.intervals import binomial_interval
from subspan.streams import stream
from subspan.success.posterior import Count, Range, posterior
from subspan.success.verdict import judge
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


class Tally(NamedTuple):
    """What came of the runs of a law on a grid whose status is "ok".

    Args:
        ratios: of each interval as it is told and of the posterior's alone, shape (ok, 2).
        held: whether each holds d*, shape (ok, 2).
    """

    ratios: np.ndarray
    held: np.ndarray


def tally(law: Law, size: int, trials: int, repeats: int, seed: int) -> Tally:
    """Draw a grid again and again, and fit d* to it."""
    dims, truth = grid(law, size), law.threshold
    ratios, held = [], []
    for repeat in range(repeats):
        wins = stream(seed, "grid", law.name, size, repeat).binomial(trials, law.probability(dims))
        counts = [Count(int(d), int(won), trials) for d, won in zip(dims, wins, strict=True)]
        belief = posterior(counts, Range(1, law.max_dim, law.delta))
        # The interval of a design is the posterior's alone.
        both = [judge(belief, counts, 0.95, designed=d).estimate for d in (False, True)]
        if both[0].ok:
            ratios.append([found.ratio for found in both])
            held.append([found.low <= truth <= found.high for found in both])
    return Tally(np.reshape(ratios, (-1, 2)), np.reshape(held, (-1, 2)))


def grid(law: Law, size: int) -> np.ndarray:
    """Dims of a law's range, geometric: at most `size`, fewer where they round to the same."""
    return np.unique(np.round(np.geomspace(1, law.max_dim, size)).astype(int))


def share(held: np.ndarray) -> str:
    """Per cent with the Clopper–Pearson interval of 95 %."""
    low, high = binomial_interval(int(held.sum()), len(held))
    return f"{100 * held.sum() / max(len(held), 1):.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def row(name: str, what: str, repeats: int, found: Tally) -> str:
    told, alone = np.median(found.ratios, 0) if len(found.ratios) else (np.nan, np.nan)
    return (
        f"| {name} | {what} | {len(found.held)} of {repeats} | {share(found.held[:, 0])} "
        f"| {told:.2f} | {share(found.held[:, 1])} | {alone:.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    laws = {law.name: law for law in LAWS}
    print(
        "| law | dims × trials | ok | d* held, % of ok | median ratio "
        "| of the posterior alone | ratio |"
    )
    print("|---|---|---|---|---|---|---|")
    every = []
    for size, trials in GRIDS:
        for name in NAMES:
            every.append(tally(laws[name], size, trials, args.repeats, args.seed))
            what = f"{len(grid(laws[name], size))} × {trials}"
            print(row(name, what, args.repeats, every[-1]), flush=True)
    pooled = Tally(*(np.concatenate(part) for part in zip(*every, strict=True)))
    print(row("all", "", args.repeats * len(every), pooled))


if __name__ == "__main__":
    main()
