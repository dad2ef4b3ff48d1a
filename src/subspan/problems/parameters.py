"""What of a module's parameters a flat vector of weights cannot be: refused by name."""

from __future__ import annotations

import torch
from torch import nn

from subspan.errors import InputError, invalid


def refuse_shared(module: nn.Module) -> None:
    """Refuse two parameters in one memory, which plain training moves together.

    One `Parameter` at two places is a tie and is right; two that were given one memory, as by
    `a.data = b.data`, cannot be told from it by the module.

    Raises:
        InputError: as said.
    """
    seen: dict[tuple[int, str], tuple[str, nn.Parameter]] = {}
    for name, value in module.named_parameters():
        if nn.parameter.is_lazy(value) or value.layout is not torch.strided:
            continue
        if not value.numel() or not value.data_ptr():
            continue
        key = (value.data_ptr(), str(value.device))
        first, other = seen.setdefault(key, (name, value))
        if other is not value:
            raise invalid(
                "make_module",
                expected="parameters with memory of their own, or one Parameter at two places",
                got=f"{first!r} and {name!r} in one memory",
                remedy=f"Tie them: make {name!r} the same Parameter as {first!r}; or clone its "
                "data.",
            )


def explained(error: InputError, kinds: set[torch.dtype], dtype: torch.dtype) -> InputError:
    """Return an error that says that several dtypes run as one, where that broke the module."""
    if len(kinds) < 2 or "dtype" not in str(error.__cause__):
        return error
    named = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
    one = str(dtype).removeprefix("torch.")
    return invalid(
        "make_module",
        expected=f"a forward pass that runs with all parameters in {one}, the widest of theirs, "
        "since one vector of weights has one dtype",
        got=f"parameters of {named}, and {error.__cause__}",
        remedy="Make the parts of one dtype, or have forward cast to the dtype of their weights: "
        "x.to(self.part.weight.dtype).",
    )
