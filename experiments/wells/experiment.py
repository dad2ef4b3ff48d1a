"""Does a formula tell the threshold training dimension of an ill-conditioned quadratic well?

Measured: the first dimension, in each of 20 nested random subspaces, whose exact least-squares
minimum is at most ε. Nothing is trained, so that the geometry is seen without an optimiser.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from subspan.estimate import Estimate
from subspan.report.wells import draw_wells, wells_data
from subspan.reproduction import Lab, Step, Trials
from subspan.streams import stream
from subspan.theory.ellipsoid import squared_distances
from subspan.theory.statistical_dimension import Transition
from subspan.theory.wells import quadratic_threshold

SCALES = {"cpu": {"dim": 500, "draws": 20}, "full": {"dim": 2000, "draws": 50}}
SPECTRA = ("log-uniform in [1e-4, 1]", "λ = i^-1.5")
FORMULAS = ("exact", "paper", "finite")
CONFIDENCE = 0.95


def steps(lab: Lab) -> Iterator[Step]:
    """Two spectra, each over ε and over R."""
    for name in SPECTRA:
        yield Step(name, lambda name=name: lab.once(name, lambda: wells(lab, name)))


def numbers(trials: Trials) -> dict[str, Estimate]:
    """d* of each well, and how far the formulas are from it in the mean."""
    panels = [(name, panel) for name in SPECTRA for panel in trials.result(name)]
    every = [row for _, panel in panels for row in panel["rows"]]
    found = {
        f"d*, {name}, {panel['fixed']}, {panel['axis']} = {row['x']:.3g}": Estimate(
            *row["interval"], CONFIDENCE, row["draws"]
        )
        for name, panel in panels
        for row in panel["rows"]
    }
    for formula in FORMULAS:
        away = np.array([abs(row[formula] - row["measured"]) for row in every])
        found[f"mean distance from d*, {formula} formula"] = mean(away)
        near = sum(abs(r[formula] - r["measured"]) <= max(r["spread"], 1) for r in every)
        found[f"within a transition's width, {formula} formula"] = Estimate(
            near, None, None, CONFIDENCE, len(every)
        )
    return found


def draw(trials: Trials) -> Figure:
    """d* over ε and R, measured and by both formulas."""
    return draw_wells(
        [
            wells_data(panel["axis"], f"{name}, {panel['fixed']}", panel["rows"])
            for name in SPECTRA
            for panel in trials.result(name)
        ]
    )


def wells(lab: Lab, name: str) -> list[dict[str, object]]:
    """One spectrum: a row for each ε at R = 3, and for each R at ε = 0.01."""
    dim, rng = lab["dim"], stream(0, "wells-experiment")
    unit = rng.standard_normal(dim)
    unit /= np.linalg.norm(unit)
    uniform = np.exp(rng.uniform(np.log(1e-4), 0, dim))
    lam = dict(zip(SPECTRA, (uniform, np.arange(1, dim + 1) ** -1.5), strict=True))[name]
    qs = [basis(lam, draw) for draw in range(lab["draws"])]
    by_level = [row(qs, lam, 3 * unit, e, e) for e in np.geomspace(1e-4, 0.3, 9)]
    by_radius = [row(qs, lam, r * unit, 0.01, r) for r in np.geomspace(0.6, 20, 9)]
    return [
        {"axis": "ε", "fixed": "R = 3", "rows": by_level},
        {"axis": "R", "fixed": "ε = 0.01", "rows": by_radius},
    ]


def basis(lam: np.ndarray, draw: int) -> np.ndarray:
    """An orthonormal basis of H^{1/2}A, as `wells.hitting_dims` makes it."""
    gauss = stream(0, "hitting", draw).standard_normal((lam.size, lam.size))
    return np.linalg.qr(np.sqrt(lam)[:, None] * gauss)[0]


def row(
    qs: list[np.ndarray], lam: np.ndarray, delta: np.ndarray, level: float, x: float
) -> dict[str, object]:
    """As `wells.hitting_dims`, with one factorisation for all levels and displacements."""
    tails = [np.append(np.cumsum((q.T @ (np.sqrt(lam) * delta))[::-1] ** 2)[::-1], 0) for q in qs]
    hits = np.array([float(np.argmax(tail <= 2 * level)) for tail in tails])
    finite = Transition.from_distances(squared_distances(lam, delta, level, 200, seed=0))
    measured = mean(hits)
    return {
        "x": float(x),
        "measured": measured.value,
        "interval": [measured.value, measured.low, measured.high],
        "draws": len(hits),
        "spread": float(hits.std(ddof=1)),
        "exact": quadratic_threshold(lam, delta, level),
        "paper": quadratic_threshold(lam, delta, level, "paper"),
        "finite": finite.center,
    }


def mean(values: np.ndarray) -> Estimate:
    """The mean, with Student's interval."""
    centre = float(values.mean())
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, values.size - 1))
    half *= float(values.std(ddof=1)) / math.sqrt(values.size)
    return Estimate(centre, centre - half, centre + half, CONFIDENCE, values.size)
