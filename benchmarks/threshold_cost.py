"""Training steps of the binary design against the paper's grid, at the same interval width.

    python benchmarks/threshold_cost.py [--curves 100]            synthetic success curves
    python benchmarks/threshold_cost.py --problem digits-mlp      real training

The grid is the paper's: every power of two up to 2^12 (or D), 10 runs each, trained to the end.
Its interval of d* comes from the same estimator; the binary design then runs until its own
interval is as narrow. It was to take at most a fifth of the steps, before verdicts had to be shown
without a model of the curve and before the learning rate was searched with d; the aim of the
default design is in full trainings (`whole.py`), and this has none.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from table import Row

import subspan
from subspan.goals import parse_goal
from subspan.streams import uniforms
from subspan.success import (
    Count,
    Range,
    ThresholdDesign,
    estimate_from_counts,
    fit_threshold,
)

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments" / "coverage"))
from curves import FAMILIES, draw_curve

REPEATS = 10
LAW = 0.2


def grid_dims(ambient_dim: int) -> list[int]:
    return [2**i for i in range(13) if 2**i <= ambient_dim]


def rows(quick: bool) -> Iterator[Row]:
    """Yield the share of the grid's steps that the adaptive design takes, curve by curve."""
    for stopped in (1.0, 0.5):
        shares, _, _ = synthetic(10 if quick else 100, 0, stopped, 8)
        what = f"threshold: steps of the binary design / the grid's, successes stop at {stopped:g}"
        yield Row(what, tuple(shares))


def synthetic(
    curves: int, seed: int, stopped: float, width: int
) -> tuple[list[float], list[float], int]:
    """Return the shares of steps over synthetic curves whose threshold the grid brackets.

    Beside them the widths high/low of the grid's intervals, and how many curves were left out.
    A trial that succeeds stops early, at the fraction `stopped` of its steps.
    """
    shares, ratios, skipped = [], [], 0
    for index in range(curves):
        curve = draw_curve(FAMILIES[index % len(FAMILIES)], seed, index)
        dims = grid_dims(curve.ambient_dim)
        luck = uniforms(seed, "grid", index, count=len(dims) * REPEATS).reshape(len(dims), REPEATS)
        counts = [
            Count(d, int((row < curve.probability[d - 1]).sum()), REPEATS)
            for d, row in zip(dims, luck, strict=True)
        ]
        grid = estimate_from_counts(
            counts,
            parse_goal("loss<=0.1"),
            Range(1, curve.ambient_dim, 0.1),
            ambient_dim=curve.ambient_dim,
        )
        if grid.status != "ok" or grid.ratio is None or grid.high - grid.low < 2:
            skipped += 1
            continue
        design = ThresholdDesign(
            curve.ambient_dim,
            ratio=grid.ratio,
            max_trials=len(dims) * REPEATS,
            cost=lambda dim, success: stopped if success else 1.0,
        )
        draws = uniforms(seed, "adaptive", index, count=2 * len(dims) * REPEATS)
        spent = 0.0
        while not design.done:
            for dim in design.ask(width):
                success = draws[design.trials] < curve.probability[dim - 1]
                design.tell(dim, success)
                spent += stopped if success else 1.0
        shares.append(spent / (len(dims) * REPEATS))
        ratios.append(grid.ratio)
    return shares, ratios, skipped


def print_synthetic(curves: int, seed: int, stopped: float, width: int) -> None:
    shares, ratios, skipped = synthetic(curves, seed, stopped, width)
    shares_sorted = np.sort(shares)
    print(
        f"{len(shares)} synthetic curves ({skipped} left out: the grid's interval is unbounded or "
        f"a single step), successes stop at {stopped:g} of their steps, rounds of {width}:\n"
        f"  grid's interval high/low: median {statistics.median(ratios):.2f}\n"
        f"  steps adaptive / grid: mean {np.mean(shares):.3f}, median {np.median(shares):.3f}, "
        f"90th percentile {shares_sorted[int(0.9 * len(shares))]:.3f}\n"
        f"  law (mean at most {LAW}): {'held' if np.mean(shares) <= LAW else 'BROKEN'}"
    )


def real(name: str, goal: str, seed: int, store: str | None) -> None:
    """Print the share of steps on a registered problem; both measured in this run."""
    problem = subspan.problems.load(name)
    dims = grid_dims(problem.ambient_dim)
    grid_trials = subspan.run(problem, "random", dims=dims, repeats=REPEATS, seed=seed, store=store)
    grid = fit_threshold(grid_trials, goal, min_dim=1, max_dim=problem.ambient_dim)
    grid_steps = sum(t.steps for t in grid_trials)
    print(f"grid:     {grid}  ratio {grid.ratio}  {len(grid_trials)} trials, {grid_steps} steps")
    if grid.ratio is None:
        sys.exit("the grid's interval is unbounded: nothing to compare with")
    found = subspan.threshold(
        problem,
        "random",
        goal,
        seed=seed,
        store=store,
        ratio=max(grid.ratio, 1.01),
        design="binary",
    )
    steps = sum(t.steps for t in found.records)
    print(f"adaptive: {found}  ratio {found.ratio}  {found.trials} trials, {steps} steps")
    share = steps / grid_steps
    print(
        f"steps adaptive / grid: {share:.3f}  law ({LAW}): {'held' if share <= LAW else 'BROKEN'}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problem", help="a registered problem; synthetic curves if not given")
    parser.add_argument("--goal", default="loss<=0.1")
    parser.add_argument("--curves", type=int, default=100)
    parser.add_argument("--width", type=int, default=8, help="trials per round")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--store", help="keep the trials here")
    args = parser.parse_args()
    if args.problem:
        real(args.problem, args.goal, args.seed, args.store)
        return
    for stopped in (1.0, 0.5):
        print_synthetic(args.curves, args.seed, stopped, args.width)


if __name__ == "__main__":
    main()
