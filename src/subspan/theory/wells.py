"""Threshold training dimension of a quadratic well, from its spectrum and the displacement.

L(w) = ½ Σ λᵢ (wᵢ − w*ᵢ)², level ε, radii rᵢ² = 2ε/λᵢ, displacement w̃ = w₀ − w* in the eigenbasis.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from subspan.errors import real, unknown, whole
from subspan.streams import stream
from subspan.theory.arrays import ArrayLike, vector

Formula = Literal["exact", "paper"]


def quadratic_threshold(
    eigenvalues: ArrayLike, displacement: ArrayLike, level: float, formula: Formula = "exact"
) -> float:
    """Return d* of a quadratic well: where a random subspace through w₀ starts to hit S(ε).

    - `"exact"`: solve Σ w̃ᵢ²/(rᵢ² + κ) = 1 for κ ≥ 0; d* = Σ κ/(rᵢ² + κ). This is
      E dist²(g, cone) of the cone over the ellipsoid in the limit of large D (the sums over g
      replaced by their means); `ellipsoid.squared_distances` samples it at finite D.
    - `"paper"`: d* = Σ R²/(R² + rᵢ²), R = ‖w̃‖ (Larsen et al. 2022): κ = R². An upper bound on the
      exact one, since rᵢ² ≥ 0 makes κ ≤ R².

    Args:
        eigenvalues: λ, shape (D,). A zero is a flat direction and costs nothing. A negative one
            is taken as zero: the caller decides whether such a well means anything.
        displacement: w₀ − w* in the eigenbasis, shape (D,).
        level: ε, above the well's minimum, > 0.
        formula: which.

    Returns:
        d* in [0, D]; 0 if w₀ lies inside S(ε).

    Raises:
        InputError: shapes differ, numbers are not finite, ε ≤ 0 or the formula is unknown.
    """
    lam, delta = check_well(eigenvalues, displacement)
    lam = np.maximum(lam, 0.0)
    return threshold_from_measures((lam, np.ones_like(lam)), (lam, delta**2), level, formula)


def threshold_from_measures(
    density: tuple[np.ndarray, np.ndarray],
    displacement: tuple[np.ndarray, np.ndarray],
    level: float,
    formula: Formula = "exact",
    total: float | None = None,
) -> float:
    """Return d* from two discrete measures on the spectrum, each (nodes λ ≥ 0, weights ≥ 0).

    Args:
        density: Σ weight · f(λ) stands for tr f(H); explicit spectra have weights 1.
        displacement: Σ weight · f(λ) stands for w̃ᵀ f(H) w̃; explicit ones have weights w̃².
        level: ε > 0, above the well's minimum.
        formula: as in `quadratic_threshold`.
        total: ‖w̃‖² for the paper's analytic bound, if the weights do not sum to it.
    """
    level = check_level(level)
    if formula not in ("exact", "paper"):
        raise unknown("formula", str(formula), ["exact", "paper"])
    nodes, weights = displacement
    if nodes @ weights <= 2 * level:
        return 0.0
    if formula == "paper":
        kappa = float(weights.sum()) if total is None else total
    else:
        kappa = solve_kappa(nodes, weights, 2 * level)
    return float((kappa * density[0] / (2 * level + kappa * density[0])) @ density[1])


def solve_kappa(nodes: np.ndarray, weights: np.ndarray, two_eps: float) -> float:
    """Solve Σ weight λ/(2ε + κλ) = 1 for κ ≥ 0, given nodes λ ≥ 0 with Σ weight λ > 2ε.

    The left side falls in κ: above 1 at 0, below at Σ weight.
    """
    low, high = 0.0, float(weights.sum())
    positive = nodes > 0
    nodes, weights = nodes[positive], weights[positive]
    for _ in range(200):
        # Geometric steps once off zero: κ spans many orders of magnitude.
        middle = math.sqrt(low * high) if low > 0 else high * 1e-3
        if (nodes / (two_eps + middle * nodes)) @ weights > 1:
            low = middle
        else:
            high = middle
        if low > 0 and high - low <= 1e-14 * high:
            break
        if high < 1e-300:
            return 0.0
    return 0.5 * (low + high)


def hitting_dims(
    eigenvalues: ArrayLike, displacement: ArrayLike, level: float, draws: int, seed: int
) -> np.ndarray:
    """Measure by exact least squares: the first d that hits, per draw of a nested random subspace.

    Draw a Gaussian D×D matrix; the spans of its first d columns are nested and each is uniformly
    random. min_θ ½‖H^{1/2}(w̃ + A_d θ)‖² for all d at once is one QR factorisation of [H^{1/2}A].
    P_s(d) is the share of draws with hitting dimension ≤ d.

    Returns:
        Hitting dimensions in 0 … D, shape (draws,).

    Raises:
        InputError: shapes differ, numbers are not finite, ε is not above 0 or draws below 1.
    """
    lam, delta = check_well(eigenvalues, displacement)
    level, draws, seed = check_level(level), whole("draws", draws, low=1), whole("seed", seed)
    root = np.sqrt(np.maximum(lam, 0.0))
    target = root * delta
    hits = np.empty(draws, dtype=np.int64)
    for draw in range(draws):
        a = stream(seed, "hitting", draw).standard_normal((lam.size, lam.size))
        q, _ = np.linalg.qr(root[:, None] * a)
        tail = np.cumsum((q.T @ target)[::-1] ** 2)[::-1]  # residual before column d is added
        residual = np.append(tail, 0.0)  # residual[d] = ‖b‖² − Σ_{j<d}(q_jᵀb)², without cancelling
        hits[draw] = int(np.argmax(residual <= 2 * level))
    return hits


def check_level(level: float) -> float:
    """Return ε as a float.

    Raises:
        InputError: it is not a finite number above 0.
    """
    return real("level", level, low=0, strict=True)


def check_well(eigenvalues: ArrayLike, displacement: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return λ and w₀ − w* as float64 arrays (D,).

    Raises:
        InputError: shapes differ, or numbers are not finite.
    """
    lam = vector("eigenvalues", eigenvalues)
    return lam, vector("displacement", displacement, size=lam.size)
