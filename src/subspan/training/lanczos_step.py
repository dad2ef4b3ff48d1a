"""One step of the Lanczos recursion with full re-orthogonalisation.

Source: Lanczos (1950); Parlett (1998), The Symmetric Eigenvalue Problem, §13.
"""

from __future__ import annotations

from collections.abc import Callable

import torch


def lanczos_step(
    product: Callable[[torch.Tensor], torch.Tensor], now: torch.Tensor, basis: torch.Tensor
) -> tuple[float, torch.Tensor, float]:
    """Multiply the last Lanczos vector by H, and take out all that came before.

    Args:
        product: v (D,) → H v (D,).
        now: the last Lanczos vector, (D,).
        basis: all of them, it included, orthonormal rows (m, D).

    Returns:
        (α, w, β): the next entry ⟨now, H now⟩ on the diagonal of T; w, orthogonal to the basis; and
        β = ‖w‖, the next entry beside it. The next Lanczos vector is w / β.
    """
    image = product(now)
    alpha = float(image @ now)
    w = orthogonalised(image, basis)
    return alpha, w, float(w.norm())


def orthogonalised(w: torch.Tensor, basis: torch.Tensor) -> torch.Tensor:
    """Return w (D,) less its part in the span of orthonormal rows (m, D), taken out twice."""
    for _ in range(2):
        w = w - basis.T @ (basis @ w)
    return w
