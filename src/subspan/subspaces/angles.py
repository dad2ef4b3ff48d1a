"""Principal angles: how far apart the spans of two maps lie."""

from __future__ import annotations

import torch

from subspan.errors import invalid
from subspan.maps.base import LinearMap
from subspan.subspaces.base import Subspace


def principal_angles(one: LinearMap, other: LinearMap) -> torch.Tensor:
    """Return the principal angles between the spans of two maps, in radians, rising.

    From orthonormal bases Q₁, Q₂ in float64: cosines are the singular values of Q₁ᵀQ₂; angles
    below 45° come from the sines instead, which cosines cannot resolve (Björck and Golub, 1973).

    Args:
        one: of dimension d₁.
        other: of dimension d₂, into the same R^D.

    Returns:
        Shape (min(d₁, d₂),), float64.

    Raises:
        InputError: an argument is no map, or the ambient dimensions differ.
    """
    for name, given in (("one", one), ("other", other)):
        if not isinstance(given, LinearMap):
            remedy = f"Pass {name}.map." if isinstance(given, Subspace) else ""
            raise invalid(name, expected="a map", got=f"a {type(given).__name__}", remedy=remedy)
    if one.ambient_dim != other.ambient_dim:
        raise invalid(
            "other", expected=f"a map into R^{one.ambient_dim}", got=f"R^{other.ambient_dim}"
        )
    small, large = sorted((one, other), key=lambda m: m.dim)
    q_small, q_large = (torch.linalg.qr(m.dense().double().cpu())[0] for m in (small, large))
    cross = q_large.T @ q_small
    cosines = torch.linalg.svdvals(cross).clamp(max=1.0)
    sines = torch.linalg.svdvals(q_small - q_large @ cross).clamp(max=1.0).flip(0)
    return torch.where(cosines**2 > 0.5, sines.asin(), cosines.acos())
