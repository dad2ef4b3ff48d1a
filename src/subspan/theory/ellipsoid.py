"""An ellipsoid seen from outside: its width, and the distances of Gaussian vectors to its cone.

The sub-level set of a quadratic well ½ Σ λᵢ (wᵢ − w*ᵢ)² ≤ ε is an ellipsoid with radii
rᵢ = √(2ε/λᵢ). A random subspace through w₀ hits it exactly when it meets the closed convex cone
C = {t (x − w₀) : t ≥ 0, x in the ellipsoid}, so d* ≈ E dist²(g, C). Here that expectation is
sampled exactly, without the large-D limit in which `wells.quadratic_threshold` evaluates it.
"""

from __future__ import annotations

import math

import numpy as np

from subspan.errors import invalid, whole
from subspan.streams import stream
from subspan.theory.arrays import ArrayLike, matrix, vector
from subspan.theory.gordon import mean_norm
from subspan.theory.wells import check_level, check_well, solve_kappa
from subspan.theory.width import SupportFunction

_BISECTIONS = 80


def squared_distances(
    eigenvalues: ArrayLike, displacement: ArrayLike, level: float, samples: int, seed: int
) -> np.ndarray:
    """Return dist²(g, C) for independent standard normal g, shape (samples,).

    Args:
        eigenvalues: λ ≥ 0, shape (D,).
        displacement: w₀ − w* in the eigenbasis, shape (D,).
        level: ε > 0.
        samples: how many g, at least 1.
        seed: of the stream that draws them.

    Raises:
        InputError: shapes differ, or an argument is out of range.
    """
    lam, _ = check_well(eigenvalues, displacement)
    samples, rng = whole("samples", samples, low=1), stream(whole("seed", seed), "ellipsoid")
    parts, done, chunk = [], 0, max(1, 4_000_000 // lam.size)
    while done < samples:
        count = min(chunk, samples - done)
        g = rng.standard_normal((count, lam.size))
        parts.append(distances_to_cone(g, lam, displacement, level))
        done += count
    return np.concatenate(parts)


def distances_to_cone(
    g: ArrayLike, eigenvalues: ArrayLike, displacement: ArrayLike, level: float
) -> np.ndarray:
    """Return dist²(g, C) of each row of g, shape (n, D) → (n,).

    The nearest point is u = p g − T q Δ with p = 2ε/(2ε + κλ), q = 1 − p and multipliers T > 0
    (scale) and κ ≥ 0: T solves a quadratic equation at given κ, and κ is found by bisection of
    Σ p² (Δ + g/T)² λ/2ε = 1. Rows inside C have distance 0. Where λ = 0 the cone holds
    the whole axis; rows whose other entries lie in the polar have the distance ‖those‖².

    Raises:
        InputError: shapes differ, an eigenvalue is negative, or ε is not above 0.
    """
    lam, delta = check_well(eigenvalues, displacement)
    lam, g = vector("eigenvalues", lam, low=0), matrix("g", g, columns=lam.size)
    two_eps = 2 * check_level(level)
    if float(lam @ delta**2) <= two_eps:
        return np.zeros(len(g))  # w₀ lies in the ellipsoid: the cone is everything
    scale = two_eps / lam.max()
    low = np.full(len(g), np.log(scale) - 40.0)
    high = np.full(len(g), np.log(scale + delta @ delta + 1) + 40.0)

    def solve(log_kappa: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        k_lam = np.exp(log_kappa)[:, None] * lam
        p, q = two_eps / (two_eps + k_lam), k_lam / (two_eps + k_lam)
        a = (q**2) @ delta**2
        b = ((p - q) * q * g) @ delta
        c = (p * q * g**2).sum(1)
        root = np.sqrt(b**2 + 4 * a * c)
        t = np.where(b >= 0, (b + root) / (2 * a), 2 * c / np.maximum(root - b, 1e-300))
        t = np.maximum(t, 1e-300)[:, None]
        excess = ((p * (delta + g / t)) ** 2) @ lam / two_eps - 1
        return excess, ((q * (t * delta + g)) ** 2).sum(1)

    inside = solve(low)[0] < 0
    polar = solve(high)[0] > 0
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        above = solve(middle)[0] > 0
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    distances = solve(0.5 * (low + high))[1]
    apex = (g[:, lam > 0] ** 2).sum(1)
    return np.where(inside, 0.0, np.where(polar, apex, distances))


def ellipsoid_from_outside_support(radii: ArrayLike, displacement: ArrayLike) -> SupportFunction:
    """Return the support function of proj_{w₀} of an axis-parallel ellipsoid about w*.

    The exact sup ⟨g, u⟩ over the unit directions u from w₀ into the ellipsoid: √(‖g‖² − dist²) with
    the distance to the cone over it, whose multiplier κ is solved for each g; negative where every
    such direction leads away from g.

    Args:
        radii: r > 0, shape (D,); infinite along flat directions. Of a well: √(2ε/λ).
        displacement: w₀ − w* along the ellipsoid's axes, shape (D,). A w₀ inside sees the
            ellipsoid in all directions: the whole sphere.

    Raises:
        InputError: shapes differ, a radius is not above 0 or a displacement not finite.
    """
    lam, delta = _inverse_squares(radii, displacement)

    def support(g: np.ndarray) -> np.ndarray:
        squares = (matrix("g", g, columns=lam.size) ** 2).sum(1)
        heights = np.sqrt(np.maximum(squares - distances_to_cone(g, lam, delta, 0.5), 0))
        if lam @ delta**2 > 1 and (lam > 0).all():
            # ⟨g, x − w₀⟩ is at most ‖r ∘ g‖ − ⟨g, Δ⟩ over the ellipsoid
            polar = np.linalg.norm(g / np.sqrt(lam), axis=1) < g @ delta
            heights[polar] = _polar_heights(g[polar], lam, delta)
        return heights

    return support


def ellipsoid_from_outside_width(radii: ArrayLike, displacement: ArrayLike) -> float:
    """Return the width of proj_{w₀} of an axis-parallel ellipsoid about w*, by the κ formula.

    The statistical dimension of its cone is δ = D − d* with d* = Σ κ/(rᵢ² + κ),
    Σ w̃ᵢ²/(rᵢ² + κ) = 1 (`wells.quadratic_threshold`), in the limit of large D. To this are added
    the next terms of the expansion about that limit: of E dist², whose saddle point in the
    multipliers (T, κ) moves with g, and of E‖Π g‖ = E √(chi-squared with V degrees of freedom),
    V the intrinsic volumes with mean δ and variance v: E‖g_δ‖ − v/(8 δ^{3/2}). (Own derivation.)

    The error is of the order of 1/δ. Below a width of about 3 it is a tenth and more (a ball in
    R⁵⁰ of true width 1.56 comes out as 1.62, of 0.38 as 0.84): take the mean of
    `ellipsoid_from_outside_support` there, which is exact but for its noise.

    Args:
        radii: r > 0, shape (D,), infinite along flat directions.
        displacement: w₀ − w* along the ellipsoid's axes, shape (D,). A w₀ inside sees the
            ellipsoid in all directions: the width of the whole sphere.

    Raises:
        InputError: shapes differ, a radius is not above 0 or a displacement not finite.
    """
    lam, delta = _inverse_squares(radii, displacement)
    squares = delta**2
    if lam @ squares <= 1:
        return mean_norm(lam.size)
    kappa = solve_kappa(lam, squares, 1.0)
    p = 1 / (1 + kappa * lam)
    q = kappa * lam * p
    first, second = p**2 * lam, -2 * p**3 * lam**2  # derivatives of q in κ
    gap = (p * q * lam) @ squares  # 1 − Σ p² λ Δ²
    scale = first.sum() / gap  # T²
    # L = Σ q (g + TΔ)² − κT² is dist² at its saddle point, to second order in the fluctuations
    # of its gradient: mean Σ q − ½ tr(Hessian⁻¹ Cov), with these entries.
    mixed = -2 * math.sqrt(scale) * gap
    curved = float(second @ (1 + scale * squares))
    moved = 0.5 * curved * 4 * (q**2 @ squares) / mixed**2
    moved -= 4 * math.sqrt(scale) * (q * first @ squares) / mixed
    stat_dim = max(0.5, lam.size - float(q.sum() + moved))  # a ray has ½
    variance = 4 * scale * (q**2 @ squares) - 2 * (p @ q)
    return max(0.0, mean_norm(stat_dim) - float(variance) / (8 * stat_dim**1.5))


def _polar_heights(g: np.ndarray, lam: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """Return max ⟨g, u⟩ over unit u in C for rows of g in its polar, where it is negative.

    C is one sheet of uᵀMu ≤ 0, M = s Λ − bbᵀ, b = ΛΔ, s = Δᵀ ΛΔ − 1, and its boundary holds the
    maximum: u ∝ (M − ρ)⁻¹ g with ρ between 0 and the least positive eigenvalue of M, such that
    uᵀMu, which rises in ρ, is 0. Where g has no part along that eigenvalue's vector, no ρ below it
    may do: so u is found for a g moved by 1e-9 of its norm, which moves the maximum by no more.
    """
    exact, off = g, np.cos(1.0 + np.arange(g.shape[1]))
    g = g + 1e-9 * np.linalg.norm(g, axis=1, keepdims=True) * off / np.linalg.norm(off)
    b, diagonal = lam * delta, (lam @ delta**2 - 1) * lam
    low, high = np.zeros(len(g)), np.full(len(g), _least_positive(diagonal, b))
    for _ in range(50):  # the middle stays off the ends, where M − ρ may be singular
        middle = 0.5 * (low + high)
        u = _resolvent(g, diagonal, b, middle)
        above = u**2 @ diagonal > (u @ b) ** 2
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    u = _resolvent(g, diagonal, b, low)
    return (exact * u).sum(1) / np.linalg.norm(u, axis=1)


def _resolvent(g: np.ndarray, diagonal: np.ndarray, b: np.ndarray, rho: np.ndarray) -> np.ndarray:
    """Return (diag − bbᵀ − ρ)⁻¹ g per row (Sherman, Morrison), up to a positive factor."""
    inverse = 1 / (diagonal - rho[:, None])
    pull = (inverse * g) @ b / (1 - inverse @ b**2)
    u = inverse * (g + pull[:, None] * b)
    return u / np.abs(u).max(axis=1, keepdims=True)


def _least_positive(diagonal: np.ndarray, b: np.ndarray) -> float:
    """Return the second eigenvalue of diag − bbᵀ, between the two least of the diagonal."""
    first, second = np.sort(diagonal)[:2]
    if first == second or b[np.argmin(diagonal)] == 0:
        return float(first)
    low, high = float(first), float(second)
    diagonal, b = diagonal[b != 0], b[b != 0]
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        if (b**2 / (diagonal - middle)).sum() < 1:
            low = middle
        else:
            high = middle
    return low


def _inverse_squares(radii: ArrayLike, displacement: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return λ = 1/r² and Δ, so that the ellipsoid is Σ λ e² ≤ 1."""
    r = vector("radii", radii, infinite=True)
    if r.size < 2:
        raise invalid("radii", expected="shape (D,), D ≥ 2", got=f"shape {r.shape}")
    if r.min() <= 0:
        raise invalid("radii", expected="numbers > 0", got=f"{r.min():g}")
    return check_well(r**-2.0, displacement)
