"""Statistical dimension of a convex cone: where random subspaces start to hit it, how sharply.

For a closed convex cone C ⊂ R^D, δ(C) = E‖Π_C(g)‖² with g ~ N(0, I_D), and a uniformly random
d-dimensional subspace meets C with probability near 0 below d = D − δ(C) and near 1 above
(Amelunxen, Lotz, McCoy, Tropp 2014, "Living on the edge"). Equivalently the transition stands at
D − δ(C) = E dist²(g, C). The width w of C ∩ sphere obeys w² ≤ δ ≤ w² + 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from subspan.errors import invalid, real, whole
from subspan.theory.arrays import ArrayLike, vector


def miss_dim(stat_dim: float, ambient_dim: int, eta: float) -> float:
    """Return the d below which a random subspace hits the cone with probability at most η.

    D − δ − a_η√D with a_η = √(8 ln(4/η)) (Amelunxen et al. 2014, Theorem I). May be negative:
    then nothing is certified.

    Raises:
        InputError: δ is not in [0, D] or η not in (0, 1).
    """
    return _center(stat_dim, ambient_dim) - _deviation(ambient_dim, eta)


def hit_dim(stat_dim: float, ambient_dim: int, eta: float) -> float:
    """Return the d above which a random subspace hits the cone with probability at least 1 − η.

    D − δ + a_η√D. Holds for convex cones only: this is the side that Gordon's theorem lacks.

    Raises:
        InputError: δ is not in [0, D] or η not in (0, 1).
    """
    return _center(stat_dim, ambient_dim) + _deviation(ambient_dim, eta)


def _center(stat_dim: float, ambient_dim: int) -> float:
    ambient_dim = whole("ambient_dim", ambient_dim, low=1)
    return ambient_dim - real("stat_dim", stat_dim, low=0, high=ambient_dim)


def _deviation(ambient_dim: int, eta: float) -> float:
    eta = real("eta", eta, low=0, high=1, strict=True)
    return math.sqrt(8 * math.log(4 / eta)) * math.sqrt(ambient_dim)


@dataclass(frozen=True)
class Transition:
    """The predicted success curve of a convex cone: P(hit) ≈ Φ((d − center) / spread).

    Args:
        center: E dist²(g, C) = D − δ(C).
        spread: standard deviation of the intrinsic volumes of C, the transition's width in d.
    """

    center: float
    spread: float

    def __post_init__(self) -> None:
        """Refuse a centre that is not finite and a spread below 0."""
        real("center", self.center)
        real("spread", self.spread, low=0)

    @classmethod
    def from_distances(cls, squared_distances: ArrayLike) -> Transition:
        """Estimate it from samples of dist²(g, C), shape (n,), n ≥ 2.

        The variance of the intrinsic volumes is Var(dist²) − 2 E(dist²) (McCoy and Tropp 2014,
        "From Steiner formulas for cones to concentration of intrinsic volumes", Proposition 4.4).
        With few samples this difference is noise; it is clipped to [0, 2 E(dist²)], where the
        upper end is their Theorem 4.5.

        Raises:
            InputError: fewer than two samples, or one that is negative or not finite.
        """
        samples = vector("squared_distances", squared_distances, low=0)
        if samples.size < 2:
            raise invalid("squared_distances", expected="shape (n,), n ≥ 2", got=samples.shape)
        center = float(samples.mean())
        variance = float(samples.var(ddof=1)) - 2 * center
        return cls(center, math.sqrt(min(max(variance, 0.0), 2 * center)))

    @classmethod
    def from_stat_dim(cls, stat_dim: float, ambient_dim: int) -> Transition:
        """Bound it from δ alone: spread ≤ √(2 min(δ, D − δ)) (McCoy, Tropp 2014, Theorem 4.5).

        Raises:
            InputError: δ is not in [0, D].
        """
        center = _center(stat_dim, ambient_dim)
        return cls(center, math.sqrt(2 * min(float(stat_dim), center)))

    def probability(self, dims: np.ndarray | Sequence[float] | float) -> np.ndarray:
        """Return the predicted P(hit) at each d, in the shape of `dims`.

        Raises:
            InputError: a d is not a number.
        """
        try:
            offsets = np.asarray(dims, dtype=np.float64) - self.center
        except (TypeError, ValueError) as error:
            raise invalid("dims", expected="numbers", got=repr(dims)) from error
        if np.isnan(offsets).any():
            raise invalid("dims", expected="numbers", got="NaN")
        if self.spread == 0:
            return (offsets >= 0).astype(np.float64)
        return ndtr(offsets / self.spread)

    def dim_at(self, probability: float) -> float:
        """Return the d at which P(hit) reaches a probability in (0, 1), at least 0.

        Raises:
            InputError: the probability is not in (0, 1).
        """
        probability = real("probability", probability, low=0, high=1, strict=True)
        return max(0.0, self.center + self.spread * float(ndtri(probability)))

    def threshold(self, ambient_dim: int, delta: float = 0.1) -> float:
        """Return the d at which P(hit) = 1 − δ, at most D: what `threshold` measures.

        Raises:
            InputError: δ is not in (0, 1), or D not an integer of 1 or more.
        """
        delta = real("delta", delta, low=0, high=1, strict=True)
        return min(float(whole("ambient_dim", ambient_dim, low=1)), self.dim_at(1 - delta))
