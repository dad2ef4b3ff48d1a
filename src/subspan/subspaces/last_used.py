"""`last_used`: which weight matrix a forward pass uses last, whatever the order of registration."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from subspan.problems import structure
from subspan.problems.structure import Tensors


@torch.no_grad()
def last_used(module: nn.Module, rows: Tensors) -> str | None:
    """Return the name of the matrix that is used last; None where none is seen.

    Args:
        module: its weights may be anything: order is all that is looked at.
        rows: inputs of a few rows.
    """
    matrices = {id(p): n for n, p in module.named_parameters() if p.ndim > 1}
    with _Uses(matrices) as uses:
        structure.call(module, structure.mapped(torch.clone, rows))
    return uses.latest


class _Uses(TorchFunctionMode):
    """Notes the latest operation on data that takes a weight, or what was made of weights alone."""

    def __init__(self, names: dict[int, str]) -> None:
        super().__init__()
        self._names, self._made = dict(names), []  # type: ignore[var-annotated]
        self.latest: str | None = None

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        names = [self._names[id(t)] for t in given if id(t) in self._names]
        if names and len(names) == len(given):  # as by `weight.t()`: not used yet
            for made in tree_leaves(result):
                if isinstance(made, torch.Tensor) and id(made) not in self._names:
                    self._names[id(made)] = names[-1]
                    self._made.append(made)  # its id stays its own
        elif names:
            self.latest = names[-1]
        return result
