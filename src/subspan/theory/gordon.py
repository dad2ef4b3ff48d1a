"""Gordon's escape theorem: below which dimension a random subspace misses a set, and how surely.

A random d-dimensional affine subspace through w₀ hits a set S exactly when the d-dimensional
linear subspace spanned by its directions meets proj_{w₀}(S), the projection of S onto the unit
sphere about w₀. Gordon's theorem bounds the probability that it does not.
"""

from __future__ import annotations

import math
from typing import Literal

from scipy.optimize import brentq

from subspan.errors import check_confidence, real, unknown, whole

Constants = Literal["gordon", "sharp"]


_SERIES_FROM = 100  # where seven terms leave 2e-15
_SERIES = (1.0, -1 / 4, 1 / 32, 5 / 128, -21 / 2048, -399 / 8192, 869 / 65536)


def mean_norm(dim: float) -> float:
    """Return E‖g‖ = √2 Γ((k+1)/2) / Γ(k/2) for a standard normal vector g in R^k, to 1e-13.

    From k = 100 on by the series of that ratio in 1/k (Tricomi and Erdélyi 1951): the difference of
    two log-gammas cancels, and was off by 2 at k = 2·10¹⁰, where a certificate needs 2.4.
    """
    if dim <= 0:
        return 0.0
    if dim >= _SERIES_FROM:
        return math.sqrt(dim) * sum(term / dim**i for i, term in enumerate(_SERIES))
    return math.sqrt(2.0) * math.exp(math.lgamma((dim + 1) / 2) - math.lgamma(dim / 2))


def local_angular_dim(width: float) -> float:
    """Return d_local = w², from the Gaussian width w of proj_{w₀}(S).

    Larsen et al. 2022: below d = D − d_local a random subspace through w₀ misses S with high
    probability.

    Raises:
        InputError: the width is not a number ≥ 0.
    """
    return real("width", width, low=0) ** 2


def escape_probability(
    width: float, dim: int, ambient_dim: int, *, constants: Constants = "gordon"
) -> float:
    """Return Gordon's lower bound on the probability that a random subspace misses a set.

    With k = D − d the codimension of the subspace and w the Gaussian width of the (closed) subset
    of the unit sphere, k > w²:

    - `"gordon"`: 1 − 3.5 exp(−(k/√(k+1) − w)² / 18), the form that the paper quotes.
    - `"sharp"`: 1 − exp(−(E‖g_k‖ − w)² / 2), the same theorem with the concentration of the
      1-Lipschitz function G ↦ min_{x∈S} ‖Gx‖ used directly (Chandrasekaran, Recht, Parrilo,
      Willsky 2012, Corollary 3.3). It certifies misses about three times closer to w².

    Args:
        width: w ≥ 0, Gaussian width of proj_{w₀}(S).
        dim: d, 0 … D.
        ambient_dim: D.
        constants: which form of the bound.

    Returns:
        A number in [0, 1]; 0 where the theorem says nothing (k ≤ w², or a negative bound).

    Raises:
        InputError: an argument is out of range.
    """
    width, ambient_dim = real("width", width, low=0), whole("ambient_dim", ambient_dim, low=1)
    codim = ambient_dim - whole("dim", dim, low=0, high=ambient_dim)
    _check_constants(constants)
    if codim <= width**2:
        return 0.0
    if constants == "gordon":
        bound = 1 - 3.5 * math.exp(-((codim / math.sqrt(codim + 1) - width) ** 2) / 18)
    else:
        gap = mean_norm(codim) - width
        bound = 1 - math.exp(-(gap**2) / 2) if gap > 0 else 0.0
    return max(0.0, bound)


def certified_miss_dim(
    width: float, ambient_dim: int, confidence: float = 0.95, *, constants: Constants = "gordon"
) -> int:
    """Return the largest d whose random subspaces miss with at least `confidence`.

    The bound falls as d grows, so every smaller d is certified too.

    Returns:
        d in 0 … D; 0 means that no d ≥ 1 is certified.

    Raises:
        InputError: an argument is out of range.
    """
    check_confidence(confidence)
    real("width", width, low=0)
    _check_constants(constants)
    ambient_dim = whole("ambient_dim", ambient_dim, low=1)
    low, high = 0, ambient_dim + 1  # certified (0 by convention), not certified
    while high - low > 1:
        middle = (low + high) // 2
        if escape_probability(width, middle, ambient_dim, constants=constants) >= confidence:
            low = middle
        else:
            high = middle
    return low


def polar_escape_probability(polar_width: float, dim: int) -> float:
    """Return a lower bound on the probability of a miss that stays sharp when d ≪ D.

    `escape_probability` certifies no miss at all once d* is below about 5√D, whatever its
    constants, since it measures against √(D − d); this form loses only about 5√d*. It holds for
    any set, with the distance to the closed convex hull C of the cone over S − w₀; for a convex S
    that is the cone itself. (Own derivation from Gordon 1985; the paper does not state it.)

    Proof. Let G be Gaussian, D×d, and u run over the unit vectors of the polar cone of C. A unit θ
    with max_u ⟨u, Gθ⟩ > 0 has Gθ outside C, so the range of G misses S where
    m(G) = min_θ max_u ⟨u, Gθ⟩ > 0. With γ, g, h standard normal put X(θ, u) = ⟨u, Gθ⟩ + γ and
    Y(θ, u) = ⟨g, u⟩ + ⟨h, θ⟩: both have variance 2, and E XX′ − E YY′ =
    (1 − ⟨u, u′⟩)(1 − ⟨θ, θ′⟩) is never negative, and 0 where θ = θ′. Gordon's comparison then gives
    E min_θ max_u X ≥ E min_θ max_u Y, that is E m(G) ≥ w° − E‖h‖, with w° = E max_u ⟨g, u⟩ the
    width of the polar cone. As m is 1-Lipschitz in G, P(m ≤ 0) ≤ exp(−(w° − E‖h‖)²/2). Last,
    dist(g, C) = max(0, M) for M = max_u ⟨g, u⟩, itself 1-Lipschitz, so E dist(g, C) − w° =
    ∫ P(M < −t) dt ≤ ∫ exp(−(w° + t)²/2) dt over t ≥ 0: this much, below 10⁻⁴ from 4 on, is taken
    off.

    Args:
        polar_width: E dist(g, C), about √d*.
        dim: d ≥ 0.

    Raises:
        InputError: an argument is out of range.
    """
    width = _width_of_polar(real("polar_width", polar_width, low=0))
    gap = width - mean_norm(whole("dim", dim, low=0))
    return 1 - math.exp(-(gap**2) / 2) if gap > 0 else 0.0


def _width_of_polar(distance: float) -> float:
    """Return the w ≥ 0 with w + ∫ exp(−(w + t)²/2) dt = E dist(g, C), or 0 if there is none."""

    def excess(w: float) -> float:
        return w + math.sqrt(math.pi / 2) * math.erfc(w / math.sqrt(2)) - distance

    return 0.0 if excess(0.0) >= 0 else float(brentq(excess, 0.0, distance))


def polar_certified_miss_dim(polar_width: float, confidence: float = 0.95) -> int:
    """Return the largest d that `polar_escape_probability` certifies to miss; 0 if none.

    Raises:
        InputError: an argument is out of range.
    """
    check_confidence(confidence)
    low, high = 0, math.ceil(real("polar_width", polar_width, low=0) ** 2) + 2
    while high - low > 1:
        middle = (low + high) // 2
        if polar_escape_probability(polar_width, middle) >= confidence:
            low = middle
        else:
            high = middle
    return low


def _check_constants(constants: str) -> None:
    if constants not in ("gordon", "sharp"):
        raise unknown("constants", str(constants), ["gordon", "sharp"])
