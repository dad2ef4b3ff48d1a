"""How often `compare` tells methods apart that are alike: the familywise error of its test.

    python experiments/coverage/familywise.py [--families 4000]

A family is a table of cells, methods by dims, all held against the same null, with outcomes of one
law for all. The share of families with any false "better" or "worse" may be 5 %. A family of 40
cells has no verdict with fewer than eleven repeats, so smaller ones stand beside it.
"""

from __future__ import annotations

import argparse
import math

import numpy as np

from subspan.comparison.paired import bounded, can_tell, p_values
from subspan.streams import stream

LAWS = ("normal", "binomial", "bimodal", "rare", "heavy-tailed", "skewed", "failing")
TABLES = ((6, 1, 1), (7, 3, 1), (8, 2, 3), (9, 4, 3), (10, 5, 5), (11, 8, 5), (12, 8, 5))
"""Repeats, methods and dims: as many cells as the repeats can test, at most 40."""


def outcomes(rng: np.random.Generator, law: str, shape: tuple[int, ...]) -> np.ndarray:
    """Outcomes of one method, from a law that two equal methods share."""
    match law:
        case "normal":
            return rng.normal(size=shape)
        case "binomial":  # test accuracy over 100 rows
            return rng.binomial(100, 0.95, shape) / 100
        case "bimodal":  # near d*: a trial reaches .5 or stays at .1
            return np.where(rng.random(shape) < 0.5, 0.5, 0.1)
        case "rare":  # one trial in ten gets anywhere
            return np.where(rng.random(shape) < 0.1, 0.9, 0.1)
        case "heavy-tailed":
            return rng.standard_cauchy(shape)
        case "skewed":
            return rng.lognormal(0, 2, shape)
        case _:  # one loss in ten is not finite
            return np.where(rng.random(shape) < 0.1, np.inf, rng.exponential(size=shape))


def false_verdicts(law: str, methods: int, dims: int, repeats: int, families: int) -> float:
    """How often some of `methods` equal to the null is told from it at any of `dims`.

    A repeat's start moves all of its outcomes, and all methods are held against the same null.
    """
    cells = methods * dims
    if not all(can_tell([repeats] * cells)):
        return 0.0
    rng = stream(0, "equal methods", law, cells, repeats)
    start = rng.normal(size=(families, 1, 1, repeats)) * (law in ("normal", "skewed"))
    null = outcomes(rng, law, (families, 1, dims, repeats)) + start
    others = outcomes(rng, law, (families, methods, dims, repeats)) + start
    with np.errstate(invalid="ignore"):
        gaps = np.where(others == null, 0.0, others - null).reshape(-1, repeats)
    p = np.concatenate(
        [
            p_values(np.array([bounded(gap) for gap in part]) if law == "failing" else part)
            for part in np.array_split(gaps, -(-len(gaps) // 4000))
        ]
    )
    # Holm rejects something where the least p, times the number of cells, is at most 5 %.
    return float(np.mean(p.reshape(families, cells).min(1) * cells <= 0.05 + 1e-12))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--families", type=int, default=4000)
    families = parser.parse_args().families
    silent = [n for n in range(3, 13) if not any(can_tell([n] * 40))]
    print(
        f"40 cells have no verdict, hence no false one, with {silent[0]} to {silent[-1]} repeats.\n"
    )
    print(f"| law | {' | '.join(f'n = {n}, {m * d} cells' for n, m, d in TABLES)} |")
    print("|---" * (len(TABLES) + 1) + "|")
    for law in LAWS:
        rates = [false_verdicts(law, m, d, n, families) for n, m, d in TABLES]
        print(f"| {law} | {' | '.join(f'{100 * rate:.1f}' for rate in rates)} |", flush=True)
    error = 100 * math.sqrt(0.05 * 0.95 / families)
    print(f"\nin % of {families} tables; Monte Carlo standard error at 5 %: {error:.2f}")


if __name__ == "__main__":
    main()
