"""A module's own buffers: which they are, and how they stood when a subspace was attached."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from subspan.adapters import plain
from subspan.adapters.plain import SITE

Snapshot = dict[str, torch.Tensor]


def own_buffers(
    module: nn.Module, *, persistent: bool = False
) -> Iterator[tuple[str, nn.Module, str, torch.Tensor]]:
    """Yield (dotted name, owner, name, value), weights that a subspace hides left out.

    Args:
        module: of which.
        persistent: only those that stand in its state_dict.
    """
    for path, part in module.named_modules():
        for name, value in plain.own_buffers(part).items():
            if (
                value is not None
                and not (persistent and name in part._non_persistent_buffers_set)
                and name not in part.__dict__.get(SITE, {})
                and not isinstance(value, nn.Parameter)
            ):
                yield f"{path}.{name}" if path else name, part, name, value


def persistent_buffers(module: nn.Module) -> Snapshot:
    """Return the buffers that stand in the module's state_dict."""
    return {name: value for name, _, _, value in own_buffers(module, persistent=True)}


def snapshot(module: nn.Module) -> Snapshot:
    """Return copies of all buffers, those outside the state_dict too."""
    return {name: value.detach().clone() for name, _, _, value in own_buffers(module)}


def put_back(module: nn.Module, before: Snapshot) -> None:
    """Make the buffers what they were."""
    with torch.no_grad():
        for full, owner, name, value in list(own_buffers(module)):
            old = before.get(full)
            if old is None:
                continue
            if old.shape == value.shape and old.dtype == value.dtype:
                value.copy_(old)
            else:  # the module has put another tensor in its place
                plain.own_buffers(owner)[name] = old.clone()


def follow(module: nn.Module, before: Snapshot) -> None:
    """Bring a snapshot to the device and dtype that the module was moved to, rounded alike."""
    for name, _, _, value in own_buffers(module):
        if name in before and before[name].is_floating_point() == value.is_floating_point():
            before[name] = before[name].to(value.device, value.dtype)
