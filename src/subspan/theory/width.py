"""Gaussian width w(S) = E sup_{x∈S} ⟨g, x⟩, g ~ N(0, I_D): by Monte Carlo and in closed form.

Conventions: for sets symmetric about 0 or on the unit sphere this is the paper's
½ E sup_{x,y∈S} ⟨g, x − y⟩; a translation of S changes neither. Closed forms that are integrals are
evaluated by adaptive quadrature to about ten digits. The ellipsoid seen from outside is in
`ellipsoid.py`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
from scipy.integrate import quad
from scipy.special import log_ndtr
from scipy.stats import norm

from subspan.errors import check_confidence, invalid, real, whole
from subspan.streams import stream
from subspan.theory.arrays import ArrayLike, matrix, vector
from subspan.theory.gordon import mean_norm
from subspan.theory.mean import MeanEstimate

SupportFunction = Callable[[np.ndarray], np.ndarray]
_CHUNK_NUMBERS = 4_000_000


def gaussian_width(
    support_function: SupportFunction,
    ambient_dim: int,
    samples: int = 1000,
    seed: int = 0,
    *,
    confidence: float = 0.95,
) -> MeanEstimate:
    """Estimate the Gaussian width of a set from its support function, by Monte Carlo.

    Args:
        support_function: h(g) = sup_{x∈S} ⟨g, x⟩, from g (n, D) to (n,).
        ambient_dim: D.
        samples: how many g, at least 2.
        seed: of the stream that draws g.
        confidence: of the interval value ± t · standard error.

    Returns:
        A `MeanEstimate` with the mean, its interval and standard error.

    Raises:
        InputError: an argument is out of range, or the support function does not return finite
            numbers of shape (n,).
    """
    ambient_dim, samples = (
        whole("ambient_dim", ambient_dim, low=1),
        whole("samples", samples, low=2),
    )
    check_confidence(confidence)
    rng = stream(whole("seed", seed), "width")
    chunk = max(1, _CHUNK_NUMBERS // ambient_dim)
    values: list[np.ndarray] = []
    for start in range(0, samples, chunk):
        count = min(chunk, samples - start)
        heights = np.asarray(support_function(rng.standard_normal((count, ambient_dim))))
        if heights.shape != (count,):
            raise invalid(
                "support_function", expected=f"result of shape ({count},)", got=heights.shape
            )
        if not np.isfinite(heights).all():
            raise invalid("support_function", expected="finite numbers", got="NaN or infinity")
        values.append(heights)
    return MeanEstimate.of(np.concatenate(values), confidence)


# --- support functions -----------------------------------------------------------------------


def ball_support(radius: float = 1.0) -> SupportFunction:
    """Return the support function of a ball about 0: radius · ‖g‖, radius ≥ 0."""
    size = real("radius", radius, low=0)
    return lambda g: size * np.linalg.norm(matrix("g", g), axis=1)


def subspace_support(basis: ArrayLike) -> SupportFunction:
    """Return the support function of the unit sphere of the span of orthonormal columns (D, k).

    Raises:
        InputError: the columns are not orthonormal, to 1e-6.
    """
    columns = matrix("basis", basis)
    off = float(np.abs(columns.T @ columns - np.eye(columns.shape[1])).max())
    if off > 1e-6:
        raise invalid("basis", expected="orthonormal columns", got=f"products off by {off:.2g}")
    return lambda g: np.linalg.norm(matrix("g", g, columns=len(columns)) @ columns, axis=1)


def ellipsoid_support(radii: ArrayLike) -> SupportFunction:
    """Return the support function of an axis-parallel ellipsoid about 0: ‖r ∘ g‖, r ≥ 0 (D,)."""
    r = vector("radii", radii, low=0)
    return lambda g: np.linalg.norm(matrix("g", g, columns=r.size) * r, axis=1)


def l1_ball_support() -> SupportFunction:
    """Return the support function of the unit ℓ1 ball: max |gᵢ|."""
    return lambda g: np.abs(matrix("g", g)).max(axis=1)


def cap_support(axis: ArrayLike, angle: float) -> SupportFunction:
    """Return the support function of {x : ‖x‖ = 1, angle(x, axis) ≤ angle}, angle in [0, π].

    Raises:
        InputError: the angle is out of range, or the axis (D,) is 0 or not finite.
    """
    pole, angle = vector("axis", axis), _angle(angle, math.pi)
    length = float(np.linalg.norm(pole))
    if length == 0:
        raise invalid("axis", expected="a vector other than 0", got="0")
    pole = pole / length

    def support(g: np.ndarray) -> np.ndarray:
        g = matrix("g", g, columns=pole.size)
        norms = np.linalg.norm(g, axis=1)
        away = np.arccos(np.clip((g @ pole) / np.maximum(norms, 1e-300), -1, 1))
        return norms * np.cos(np.maximum(away - angle, 0))

    return support


def points_support(points: ArrayLike) -> SupportFunction:
    """Return the support function of finitely many points, the rows of (n, D), n ≥ 1."""
    rows = matrix("points", points)
    return lambda g: (matrix("g", g, columns=rows.shape[1]) @ rows.T).max(axis=1)


def project_onto_sphere(points: ArrayLike, center: ArrayLike) -> np.ndarray:
    """Return proj_{w₀}: (x − w₀)/‖x − w₀‖ for each row x of points (n, D), w₀ = center (D,).

    Raises:
        InputError: shapes differ, or a point coincides with the centre: it has no direction.
    """
    rows = matrix("points", points)
    offsets = rows - vector("center", center, size=rows.shape[1])
    norms = np.linalg.norm(offsets, axis=1, keepdims=True)
    if not (norms > 0).all():
        raise invalid("points", expected="points away from the centre", got="a point at the centre")
    return offsets / norms


# --- closed forms ----------------------------------------------------------------------------


def subspace_width(dim: int) -> float:
    """Return the width of the unit sphere of a d-dimensional subspace of any R^D: E‖g_d‖ ≈ √d."""
    return mean_norm(whole("dim", dim, low=0))


def ball_width(radius: float, ambient_dim: int) -> float:
    """Return the width of a ball of some radius in R^D: radius · E‖g_D‖."""
    return real("radius", radius, low=0) * mean_norm(whole("ambient_dim", ambient_dim, low=1))


def ellipsoid_width(radii: ArrayLike) -> float:
    """Return the width E‖r ∘ g‖ of an ellipsoid with radii r ≥ 0, shape (D,).

    E√Q = (1/2√π) ∫₀^∞ (1 − E e^{−tQ}) t^{−3/2} dt with E e^{−tQ} = Π (1 + 2 t rᵢ²)^{−1/2}.
    """
    radii = vector("radii", radii, low=0)
    scale = float(np.linalg.norm(radii / max(float(radii.max()), 1e-300))) * float(radii.max())
    if scale == 0:
        return 0.0
    squares = (radii / scale) ** 2

    def integrand(s: float) -> float:  # t = e^s
        return -math.expm1(-0.5 * float(np.log1p(2 * math.exp(s) * squares).sum())) * math.exp(
            -s / 2
        )

    value = quad(integrand, -60, 80, points=[-5, 0, 5], limit=400, epsabs=1e-12, epsrel=1e-11)[0]
    return scale * value / (2 * math.sqrt(math.pi))


def l1_ball_width(ambient_dim: int) -> float:
    """Return the width of the unit ℓ1 ball, E max |gᵢ| = ∫ 1 − (2Φ(t) − 1)^D dt ≈ √(2 ln D)."""
    ambient_dim = whole("ambient_dim", ambient_dim, low=1)

    def integrand(t: float) -> float:
        inside = math.log1p(-2 * math.exp(float(log_ndtr(-t)))) if t > 0 else -math.inf
        return -math.expm1(ambient_dim * inside)

    top = 2 * math.sqrt(2 * math.log(ambient_dim + 1)) + 10
    middle = math.sqrt(2 * math.log(ambient_dim + 1))
    return quad(integrand, 0, top, points=[middle], limit=400, epsabs=1e-12)[0]


def cap_width(angle: float, ambient_dim: int) -> float:
    """Return the width of the spherical cap of half-angle α ∈ [0, π] in R^D.

    E‖g_D‖ · E cos((ϑ − α)₊), where ϑ, the angle of a random direction, has density ∝ sin^{D−2} ϑ.
    """
    angle, ambient_dim = _angle(angle, math.pi), whole("ambient_dim", ambient_dim, low=2)
    return mean_norm(ambient_dim) * _mean_over_angle(
        lambda theta: math.cos(max(theta - angle, 0.0)), ambient_dim, angle
    )


def cap_stat_dim(angle: float, ambient_dim: int) -> float:
    """Return the statistical dimension of the circular cone of half-angle α ∈ [0, π/2] in R^D.

    D · E cos²((ϑ − α)₊) over ϑ < α + π/2; about D sin²α (Amelunxen et al. 2014, §3.4).
    """
    angle, ambient_dim = _angle(angle, math.pi / 2), whole("ambient_dim", ambient_dim, low=2)

    def projected(theta: float) -> float:
        away = max(theta - angle, 0.0)
        return math.cos(away) ** 2 if away < math.pi / 2 else 0.0

    return ambient_dim * _mean_over_angle(projected, ambient_dim, angle)


def ball_from_outside_width(radius: float, distance: float, ambient_dim: int) -> float:
    """Return the width of proj_{w₀} of a ball: the cap with sin α = radius / distance.

    A w₀ inside the ball sees it in all directions: the width of the whole sphere. Radius and
    distance of w₀ from the centre are ≥ 0, D ≥ 2.
    """
    radius, distance = real("radius", radius, low=0), real("distance", distance, low=0)
    ambient_dim = whole("ambient_dim", ambient_dim, low=2)
    if distance <= radius:
        return mean_norm(ambient_dim)
    return cap_width(math.asin(radius / distance), ambient_dim)


def l1_descent_cone_stat_dim(sparsity: int, ambient_dim: int) -> float:
    """Return the statistical dimension of the ℓ1 descent cone at an s-sparse point of R^D.

    D · inf_τ {ρ (1 + τ²) + (1 − ρ) E(|g| − τ)₊²}, ρ = s/D, exact up to O(√(D/s)) (Amelunxen et al.
    2014, Proposition 4.5): how many random equations recover an s-sparse vector.
    """
    from scipy.optimize import minimize_scalar

    ambient_dim = whole("ambient_dim", ambient_dim, low=1)
    sparsity = whole("sparsity", sparsity, low=0, high=ambient_dim)
    rho = sparsity / ambient_dim

    def value(tau: float) -> float:
        tail = 2 * ((1 + tau**2) * norm.sf(tau) - tau * norm.pdf(tau))
        return rho * (1 + tau**2) + (1 - rho) * tail

    least = float(minimize_scalar(value, bounds=(0, 20), method="bounded").fun)
    return ambient_dim * min(1.0, least)


def _mean_over_angle(f: Callable[[float], float], ambient_dim: int, kink: float) -> float:
    def density(theta: float) -> float:
        return math.sin(theta) ** (ambient_dim - 2)

    # The density is a bump of width 1/√D about π/2: integrate over ±40 of its widths.
    reach = min(math.pi / 2, 40 / math.sqrt(ambient_dim))
    low, high = math.pi / 2 - reach, math.pi / 2 + reach
    breaks = sorted({b for b in (math.pi / 2, kink, kink + math.pi / 2) if low < b < high})
    edges = [low, *breaks, high]

    def integrate(h: Callable[[float], float]) -> float:
        return sum(
            quad(h, a, b, epsabs=1e-13, epsrel=1e-12, limit=400)[0]
            for a, b in itertools.pairwise(edges)
        )

    return integrate(lambda t: f(t) * density(t)) / integrate(density)


def _angle(angle: float, high: float) -> float:
    """Return an angle in [0, high]; high itself may come rounded to single precision."""
    return min(real("angle", angle, low=0, high=high * (1 + 1e-7)), high)
