"""d* of ill-conditioned quadratic wells against R and ε: least squares and both formulas.

Measured: the mean and standard deviation, over 20 nested random subspaces, of the first dimension
whose exact least-squares minimum is at most ε.

    python experiments/theory_wells/run.py      # results.json and wells.png/svg/pdf beside itself
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from subspan.report.figure import save_figure
from subspan.report.wells import draw_wells, wells_data
from subspan.streams import stream
from subspan.theory.ellipsoid import squared_distances
from subspan.theory.statistical_dimension import Transition
from subspan.theory.wells import quadratic_threshold

DIM, DRAWS = 500, 20
HERE = Path(__file__).parent


def bases(lam: np.ndarray) -> list[np.ndarray]:
    """Orthonormal bases of H^{1/2}A, one per draw, as `wells.hitting_dims` makes them."""
    return [
        np.linalg.qr(
            np.sqrt(lam)[:, None] * stream(0, "hitting", draw).standard_normal((DIM, DIM))
        )[0]
        for draw in range(DRAWS)
    ]


def row(
    qs: list[np.ndarray], lam: np.ndarray, delta: np.ndarray, level: float, x: float
) -> dict[str, float]:
    """As `wells.hitting_dims`, with one factorisation for all levels and displacements."""
    tails = [np.append(np.cumsum((q.T @ (np.sqrt(lam) * delta))[::-1] ** 2)[::-1], 0) for q in qs]
    hits = np.array([np.argmax(tail <= 2 * level) for tail in tails])
    finite = Transition.from_distances(squared_distances(lam, delta, level, 200, seed=0))
    return {
        "x": x,
        "measured": round(float(hits.mean()), 2),
        "spread": round(float(hits.std(ddof=1)), 2),
        "exact": round(quadratic_threshold(lam, delta, level), 2),
        "paper": round(quadratic_threshold(lam, delta, level, "paper"), 2),
        "finite": round(finite.center, 2),
        "finite_spread": round(finite.spread, 2),
    }


def main() -> None:
    rng = stream(0, "wells-experiment")
    unit = rng.standard_normal(DIM)
    unit /= np.linalg.norm(unit)
    spectra = {
        "log-uniform in [1e-4, 1]": np.exp(rng.uniform(np.log(1e-4), 0, DIM)),
        "λ = i^-1.5": np.arange(1, DIM + 1) ** -1.5,
    }
    panels, results = [], {}
    for name, lam in spectra.items():
        qs = bases(lam)
        by_level = [row(qs, lam, 3 * unit, e, e) for e in np.geomspace(1e-4, 0.3, 9)]
        by_radius = [row(qs, lam, r * unit, 0.01, r) for r in np.geomspace(0.6, 20, 9)]
        results[name] = {"epsilon, R = 3": by_level, "R, epsilon = 0.01": by_radius}
        panels.append(wells_data("ε", f"{name}, D = {DIM}, R = 3", by_level))
        panels.append(wells_data("R", f"{name}, D = {DIM}, ε = 0.01", by_radius))
        print(name, flush=True)
    rows = [r for group in results.values() for part in group.values() for r in part]
    results["mean absolute error"] = {
        key: round(float(np.mean([abs(r[key] - r["measured"]) for r in rows])), 2)
        for key in ("exact", "paper", "finite")
    }
    results["within one transition width"] = {
        key: f"{sum(abs(r[key] - r['measured']) <= max(r['spread'], 1) for r in rows)}/{len(rows)}"
        for key in ("exact", "paper", "finite")
    }
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    save_figure(draw_wells(panels), HERE / "wells")
    print(results["mean absolute error"], results["within one transition width"])


if __name__ == "__main__":
    main()
