"""The cone over an ellipsoid seen from outside: distances of Gaussian vectors to it, at finite D.

The sub-level set of a quadratic well ½ Σ λᵢ (wᵢ − w*ᵢ)² ≤ ε is an ellipsoid with radii
rᵢ = √(2ε/λᵢ). A random subspace through w₀ hits it exactly when it meets the closed convex cone
C = {t (x − w₀) : t ≥ 0, x in the ellipsoid}, so d* ≈ E dist²(g, C). Here that expectation is
sampled exactly, without the large-D limit in which `wells.quadratic_threshold` evaluates it.
"""

from __future__ import annotations

import numpy as np

from subspan.errors import invalid
from subspan.streams import stream

_BISECTIONS = 80


def squared_distances(
    eigenvalues: np.ndarray, displacement: np.ndarray, level: float, samples: int, seed: int
) -> np.ndarray:
    """Return dist²(g, C) for independent standard normal g, shape (samples,).

    Args:
        eigenvalues: λ ≥ 0, shape (D,).
        displacement: w₀ − w* in the eigenbasis, shape (D,).
        level: ε > 0.
        samples: how many g.
        seed: of the stream that draws them.
    """
    rng = stream(seed, "ellipsoid")
    dim = np.asarray(eigenvalues).size
    parts, done, chunk = [], 0, max(1, 4_000_000 // max(dim, 1))
    while done < samples:
        count = min(chunk, samples - done)
        g = rng.standard_normal((count, dim))
        parts.append(distances_to_cone(g, eigenvalues, displacement, level))
        done += count
    return np.concatenate(parts)


def distances_to_cone(
    g: np.ndarray, eigenvalues: np.ndarray, displacement: np.ndarray, level: float
) -> np.ndarray:
    """Return dist²(g, C) of each row of g, shape (n, D) → (n,).

    The nearest point is u = p g − T q Δ with p = 2ε/(2ε + κλ), q = 1 − p and multipliers T > 0
    (scale) and κ ≥ 0: T solves a quadratic equation at given κ, and κ is found by bisection of
    Σ p² (Δ + g/T)² λ/2ε = 1. Rows inside C have distance 0, rows in its polar ‖g‖².
    """
    lam, delta = (np.asarray(a, dtype=np.float64) for a in (eigenvalues, displacement))
    if lam.ndim != 1 or lam.shape != delta.shape or g.shape[1:] != lam.shape:
        raise invalid(
            "g, eigenvalues, displacement",
            expected="shapes (n, D), (D,), (D,)",
            got=f"{g.shape}, {lam.shape}, {delta.shape}",
        )
    if not level > 0:
        raise invalid("level", expected="a number > 0", got=repr(level))
    two_eps = 2 * level
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
    return np.where(inside, 0.0, np.where(polar, (g**2).sum(1), distances))
