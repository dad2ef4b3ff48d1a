"""The losses by name, and what a trial's key calls a loss of the user's own."""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

OutputLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def _cross_entropy(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy with the classes before the rows: the same numbers, four times as fast on a
    CPU, whose log-softmax runs along rows instead of across a few classes."""
    if outputs.ndim != 2 or targets.ndim != 1:
        return nn.functional.cross_entropy(outputs, targets)
    return nn.functional.cross_entropy(outputs.T[None], targets[None])


LOSSES: dict[str, OutputLoss] = {
    "cross_entropy": _cross_entropy,
    "mse": nn.functional.mse_loss,
}
_F = nn.functional
# Those that compare each output with a target of its own, and take (n,) with (n, 1) as n² pairs.
_REGRESSION = ("mse", _F.mse_loss, _F.l1_loss, _F.smooth_l1_loss, _F.huber_loss)
_REGRESSION_MODULES = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss)


def is_regression(loss: str | OutputLoss) -> bool:
    """Return whether a loss compares each output with a target of its own."""
    if isinstance(loss, functools.partial):
        return is_regression(loss.func)
    return loss in _REGRESSION or isinstance(loss, _REGRESSION_MODULES)


def loss_on(loss: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """Return a loss whose tensors (class weights) are on a device and in a dtype: a module's, and
    those that a `functools.partial` keeps. Any other loss is returned as it is."""
    if isinstance(loss, nn.Module):
        return copy.deepcopy(loss).to(device, dtype)
    if isinstance(loss, torch.Tensor):
        return loss.to(device, dtype) if loss.is_floating_point() else loss.to(device)
    if isinstance(loss, functools.partial):
        held = {name: loss_on(value, device, dtype) for name, value in loss.keywords.items()}
        arguments = [loss_on(value, device, dtype) for value in loss.args]
        return functools.partial(loss_on(loss.func, device, dtype), *arguments, **held)
    return loss


def loss_name(loss: str | Callable[..., Any]) -> str:
    """Return a name of a loss that is the same in every run: a function's qualified name, that of
    the function in a `functools.partial`, else the type's, with the `repr` of a module."""
    if isinstance(loss, str):
        return loss
    if isinstance(loss, functools.partial):
        return loss_name(loss.func)
    if isinstance(loss, nn.Module):
        return f"{type(loss).__qualname__} {without_addresses(loss)}"
    return str(getattr(loss, "__qualname__", type(loss).__qualname__))


def without_addresses(value: Any) -> str:
    """Return the `repr` of a value less the memory addresses in it, which differ between runs."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))
