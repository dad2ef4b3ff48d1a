"""What a module must be for `attach`, `load` and `fine_tuning`."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from subspan.adapters.plain import ROOT, own_parameters
from subspan.errors import InputError, invalid

_WRAPPERS: list[tuple[type | tuple[type, ...], str]] = [
    ((DistributedDataParallel, DataParallel), "Attach to the module inside, then wrap it."),
    (torch.jit.ScriptModule, "Attach to the module before scripting it."),
]


def check_module(module: nn.Module) -> None:
    """Refuse what no subspace can be attached to.

    Raises:
        InputError: as said.
    """
    if not isinstance(module, nn.Module):
        raise invalid("module", expected="a torch.nn.Module", got=type(module).__name__)
    for kind, remedy in _WRAPPERS:
        if isinstance(module, kind):
            raise invalid(
                "module", expected="a plain module", got=type(module).__name__, remedy=remedy
            )
    if hasattr(module, "_orig_mod"):
        raise invalid(
            "module",
            expected="a module that is not compiled yet",
            got=type(module).__name__,
            remedy="Attach first, then call torch.compile.",
        )
    for name, part in module.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            raise invalid(
                name,
                expected="modules that are not scripted or traced",
                got=f"one that is ({part.original_name})",
                remedy="Attach to the module before scripting or tracing parts of it.",
            )
        for key, value in own_parameters(part).items():
            if isinstance(value, nn.UninitializedParameter):
                raise invalid(
                    f"{name}.{key}",
                    expected="weights with a shape",
                    got="a lazy parameter",
                    remedy="Run one batch through the module first.",
                )


def check_plain(module: nn.Module) -> None:
    """Refuse a module with a subspace on it, or on a part of it.

    Raises:
        InputError: as said.
    """
    if any(ROOT in part.__dict__ for part in module.modules()):
        raise InputError(
            "module: expected one without a subspace, got one with a subspace attached. "
            "Call handle.merge() or handle.detach() first."
        )
