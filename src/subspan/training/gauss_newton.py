"""Products with the (generalised) Gauss–Newton matrix G = Jᵀ B J of a loss of outputs.

Source: Schraudolph (2002).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.func import grad, jvp, vjp


def product_at(
    outputs: Callable[[torch.Tensor], Any],
    loss_of_outputs: Callable[[Any], torch.Tensor],
    point: torch.Tensor,
    z: Any,
    pullback: Callable[..., tuple[torch.Tensor, ...]],
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return v → G v, with J the Jacobian of the outputs and B the Hessian of the loss in them.

    Args:
        outputs: of what is differentiated by, (d,).
        loss_of_outputs: the loss as a function of them.
        point: where, (d,).
        z: the outputs there, as `torch.func.vjp(outputs, point)` gives them.
        pullback: u → Jᵀ u, which it gives too.
    """

    def product(v: torch.Tensor) -> torch.Tensor:
        tangent = jvp(outputs, (point,), (v,))[1]
        # Reverse over reverse: forward mode through mse_loss's gradient fails in PyTorch 2.13.
        result: torch.Tensor = pullback(vjp(grad(loss_of_outputs), z)[1](tangent)[0])[0]
        return result

    return product
