"""Measured thresholds of quadratic wells against the exact formula and the paper's.

Success is decided by least squares, so nothing but geometry is measured. The threshold is taken
at success probability one half (δ = 0.5), where the formulas put it; the transition width is that
of the fitted curve between 10 % and 90 %.

    python experiments/quadratic/run.py
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

import subspan as ss
from subspan.streams import normals

HERE = Path(__file__).parent
D = 300
SPECTRA = {
    "log-uniform [1e-4, 1]": np.logspace(-4, 0, D),
    "i^-1.5": np.arange(1, D + 1.0) ** -1.5,
    "two scales": np.r_[np.full(60, 1.0), np.full(D - 60, 1e-3)],
    "nearly flat": np.linspace(0.5, 1.5, D),
}
LEVELS = {"log-uniform [1e-4, 1]": 0.01, "i^-1.5": 0.001, "two scales": 0.01, "nearly flat": 1.0}


def displacements(lam: np.ndarray) -> dict[str, np.ndarray]:
    z = normals(0, "displacement", count=D)
    soft = z / np.sqrt(lam + 1e-2)  # further out along flat directions
    return {"isotropic": 3 * z / np.linalg.norm(z), "soft": 3 * soft / np.linalg.norm(soft)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=160)
    args = parser.parse_args()
    rows = []
    for spectrum, lam in SPECTRA.items():
        for name, start in displacements(lam).items():
            level = LEVELS[spectrum]
            problem = ss.problems.load("quadratic", eigenvalues=lam, displacement=start)
            found = ss.threshold(
                problem, ss.RandomAffine("gaussian"), ss.LossBelow(level), delta=0.5, seed=0,
                ratio=1.02, max_trials=args.trials, workers=1,
            )  # fmt: skip
            predicted = {
                formula: float(ss.theory.quadratic_threshold(lam, start, level, formula=formula))
                for formula in ("exact", "paper")
            }
            row = {
                "spectrum": spectrum,
                "displacement": name,
                "level": level,
                "measured": found.value,
                "low": found.low,
                "high": found.high,
                "status": found.status,
                **{k: round(v, 1) for k, v in predicted.items()},
            }
            rows.append(row)
            print(json.dumps(row), flush=True)
    (HERE / "results.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
