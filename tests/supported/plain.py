"""Plain PyTorch on the same weights: the right values of every cell.

Nothing here comes from the library. A module is made anew for each value, so that no value depends
on an earlier one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn

from .case import Case, cast, run


class Value(NamedTuple):
    """A loss, its gradient in the trainable weights (D,), and the module's output."""

    loss: torch.Tensor
    gradient: torch.Tensor
    output: Any


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that ask for gradients, ties once, in the module's order."""
    return {n: p for n, p in module.named_parameters() if p.requires_grad}


def flat(module: nn.Module) -> torch.Tensor:
    """Return the trainable weights as one vector (D,)."""
    return torch.cat([p.detach().reshape(-1) for p in trainable(module).values()])


def write(module: nn.Module, weights: torch.Tensor) -> None:
    """Write a vector (D,) into a module; an embedding's padding row keeps its numbers."""
    parameters = trainable(module)
    rows = {
        id(part.weight): part.padding_idx
        for part in module.modules()
        if isinstance(part, nn.Embedding | nn.EmbeddingBag) and part.padding_idx is not None
    }
    still = {name: rows[id(p)] for name, p in parameters.items() if id(p) in rows}
    with torch.no_grad():
        parts = weights.split([p.numel() for p in parameters.values()])
        for (name, parameter), part in zip(parameters.items(), parts, strict=True):
            new = part.reshape(parameter.shape).to(parameter.dtype)
            if name in still:
                new = new.clone()
                new[still[name]] = parameter[still[name]]
            parameter.copy_(new)


def settle(module: nn.Module, *, batch_statistics: bool) -> nn.Module:
    """Put a module into evaluation mode, BatchNorm into training mode if asked."""
    module.eval()
    for part in module.modules():
        if batch_statistics and isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.train()
    return module


def prepared(case: Case, dtype: torch.dtype, *, batch_statistics: bool) -> nn.Module:
    """Return the case's module, with every weight in place and no statistics of its start."""
    module = lived_in(case, case.make())
    return settle(module.to(dtype) if case.exact else module, batch_statistics=batch_statistics)


def lived_in(case: Case, module: nn.Module) -> nn.Module:
    """Give lazy weights their shapes, and running statistics values that are not the first."""
    norms = [m for m in module.modules() if hasattr(m, "running_mean")]
    norms = [m for m in norms if m.running_mean is not None]
    lazy = any(isinstance(p, nn.UninitializedParameter) for p in module.parameters())
    if lazy:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            run(module, case.data()[0])
    for norm in norms:
        if not isinstance(norm.running_mean, nn.UninitializedBuffer):
            count = norm.running_mean.numel()
            norm.running_mean.copy_(torch.linspace(-0.3, 0.4, count))
            norm.running_var.copy_(torch.linspace(0.6, 1.5, count))
    return module


def value(case: Case, module: nn.Module, dtype: torch.dtype) -> Value:
    """Return loss, gradient and output of a module, whose weights have none yet, on all rows."""
    inputs, targets = data(case, dtype)
    output = run(module, inputs)
    loss = case.plain_loss(output, targets)
    loss.backward()
    return Value(loss.detach(), gradient(module), output)


def gradient(module: nn.Module) -> torch.Tensor:
    """Return what a backward pass left in the weights, as one vector (D,)."""
    found = [
        torch.zeros_like(p) if p.grad is None else p.grad.to_dense()
        for p in trainable(module).values()
    ]
    return torch.cat([g.reshape(-1) for g in found])


def data(case: Case, dtype: torch.dtype) -> tuple[Any, torch.Tensor]:
    """Return the inputs and targets that plain PyTorch takes."""
    inputs, targets = case.data()
    return (cast(inputs, dtype) if case.exact else inputs), cast(case.targets(targets), dtype)


def value_at(
    case: Case, weights: torch.Tensor, dtype: torch.dtype, *, batch_statistics: bool
) -> Value:
    """Return the same with weights (D,) written into a fresh module."""
    module = prepared(case, dtype, batch_statistics=batch_statistics)
    write(module, weights)
    return value(case, module, dtype)


def training_value(
    case: Case,
    weights: torch.Tensor,
    dtype: torch.dtype,
    *,
    batch_statistics: bool,
    transform_seed: int,
    dropout_seed: int,
) -> Value:
    """Return the same in a step of training: rows transformed, the module in training mode."""
    module = prepared(case, dtype, batch_statistics=batch_statistics)
    write(module, weights)
    if case.options.get("dropout") == "train":
        modes = [(part, part.training) for part in module.modules()]
        module.train()
        for part, before in modes:  # running statistics that stand, stand in training
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.train(before)
    inputs, targets = data(case, dtype)
    if (transform := case.options.get("transform")) is not None:
        inputs = transform(inputs, torch.Generator().manual_seed(transform_seed))
    output = run(module, inputs, dropout_seed)
    loss = case.plain_loss(output, targets)
    loss.backward()
    return Value(loss.detach(), gradient(module), output)
