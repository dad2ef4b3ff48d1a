"""Dropout that trains: the module a second time, in training mode, drawing from a seed.

PyTorch's dropout, wherever it stands in a module, draws from PyTorch's own generator. A pass of
training runs with that generator at the seed of its trial and step, trial by trial, and puts it
back: so its masks are plain PyTorch's at that seed, and depend on no neighbour.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from subspan.errors import invalid
from subspan.problems import structure
from subspan.problems.checks import dropout_rate, refused, same
from subspan.problems.own import OwnModules
from subspan.problems.selfcheck import choose, writes_into
from subspan.problems.stateless import OfOutputs, Stateless
from subspan.problems.structure import Tensors
from subspan.streams import scoped_torch_rng

_SEED = 0  # of the noise with which a module is tried


def in_training(module: nn.Module) -> nn.Module:
    """Put a module in training mode, but for running statistics, which stand."""
    module.train()
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.track_running_stats:
            part.eval()
    return module


def training_pass(
    evaluation: Stateless, made: OwnModules, plain: nn.Module, x: Tensors, of_outputs: OfOutputs
) -> Stateless:
    """Return the module in training mode, tried against plain PyTorch at the same seed.

    Args:
        evaluation: the module in evaluation mode.
        made: where it came from.
        plain: another of the same make, which is overwritten.
        x: some rows.
        of_outputs: the loss of outputs on these rows.

    Raises:
        InputError: other noise comes at the same seed, or the loss does not take what the module
            returns in training mode.
    """
    module, plain = in_training(made.again(evaluation.module)), in_training(plain)
    noisy = dataclasses.replace(evaluation, module=module, way="swapped", leftovers=(), noise=_SEED)
    reference = dataclasses.replace(noisy, module=plain, way="written")
    with torch.no_grad(), scoped_torch_rng(_SEED, "module"):
        noisy.clone_inputs = reference.clone_inputs = writes_into(
            lambda rows: structure.call(module, rows), x
        )
        first, again = (reference.outputs(reference.written(), x) for _ in range(2))
        if not same(first, again):
            raise invalid(
                "make_module",
                expected="noise from PyTorch's generator alone in training",
                got="other noise from the same state of it",
                remedy="Draw by PyTorch, not by random, numpy or a generator of the module's own.",
            )
        with refused("loss", "what the module returns in training mode too", "an error", "It"):
            of_outputs(first)
    choose(noisy, reference, x, of_outputs)
    return noisy


def moved(
    noisy: Stateless, device: torch.device, dtype: torch.dtype, made: OwnModules
) -> Stateless:
    """Return the training pass on another device or in another dtype."""
    return noisy.to(device, dtype, in_training(made.again(noisy.module)))


def check_device(noisy: Stateless, device: torch.device) -> None:
    """Refuse a GPU for a recurrent module with dropout: cuDNN keeps a generator of its own.

    Raises:
        InputError: as said.
    """
    if device.type != "cuda":
        return
    for name, part in noisy.module.named_modules():
        if isinstance(part, nn.RNNBase) and dropout_rate(part) > 0:
            raise invalid(
                "dropout",
                expected="noise that a seed settles",
                got=f"{name or type(part).__name__}, whose dropout cuDNN draws by itself",
                remedy="Train on the CPU, or put nn.Dropout between layers of its own.",
            )
