"""Rows that training does not move: an embedding's `padding_idx`."""

from __future__ import annotations

import torch
from torch import nn

from subspan.errors import invalid
from subspan.problems.layout import Layout

Held = dict[str, tuple[torch.Tensor, torch.Tensor]]
"""By name: which entries no weights move, a mask that broadcasts, and what stands there."""


def padding_rows(module: nn.Module, layout: Layout) -> dict[str, int]:
    """Return the padding row of each embedding, by the name of its weights.

    A matrix that is also used elsewhere has none: there its gradient is not zero.
    """
    rows: dict[str, set[int | None]] = {}
    names = {id(p): name for name, p in module.named_parameters() if name in layout.names}
    for part in module.modules():
        for key, value in part._parameters.items():
            if id(value) in names:
                embedding = isinstance(part, nn.Embedding | nn.EmbeddingBag) and key == "weight"
                row = part.padding_idx if embedding else None
                rows.setdefault(names[id(value)], set()).add(row)  # type: ignore[arg-type]
    single = {name: next(iter(found)) for name, found in rows.items() if len(found) == 1}
    return {name: row for name, row in single.items() if row is not None}


def held_rows(rows: dict[str, int], layout: Layout, weights: torch.Tensor) -> Held:
    """Return the padding rows as they stand in weights (D,)."""
    tensors, held = layout.split(weights), {}
    for name, row in rows.items():
        mask = torch.zeros(len(tensors[name]), 1, dtype=torch.bool, device=weights.device)
        mask[row] = True
        held[name] = (mask, tensors[name].clone())
    return held


def check_held(held: Held, layout: Layout, weights: torch.Tensor) -> None:
    """Refuse initial weights whose padding rows are others than those of seed 0.

    Raises:
        InputError: as said.
    """
    tensors = layout.split(weights) if held else {}
    for name, (mask, value) in held.items():
        if not torch.equal(torch.where(mask, tensors[name], value), value):
            raise invalid(
                "make_module",
                expected=f"the same padding row of {name!r} for every seed, which training does "
                "not move",
                got="another",
                remedy="Leave it at zero, as nn.Embedding does.",
            )
