"""`fine_tuning`: a pretrained module and tokenised data as a `Problem`.

So `threshold`, `success_surface` and `compare` work on fine-tuning: every trial starts at the
module's present weights, which makes burn-in zero the pretrained point.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from subspan.adapters.attach import candidate_weights
from subspan.adapters.checks import check_plain
from subspan.adapters.digests import tensors_digest
from subspan.canonical import digest, tensor_digest
from subspan.errors import InputError, invalid
from subspan.problems.losses import OutputLoss, loss_name
from subspan.problems.module import Problem
from subspan.spec import TrainSpec

Inputs = torch.Tensor | Mapping[str, torch.Tensor]
_MASK = "attention_mask"


def fine_tuning(
    module: nn.Module,
    train: tuple[Inputs, torch.Tensor],
    test: tuple[Inputs, torch.Tensor] | None = None,
    loss: str | OutputLoss = "cross_entropy",
    name: str = "fine-tuning",
    *,
    default_spec: TrainSpec | None = None,
    eval_rows: int | None = None,
) -> Problem:
    """Return the problem of fine-tuning a module from its present weights.

    D counts the parameters that ask for gradients; the others are constants. The module is copied
    and runs in evaluation mode, so without dropout; where its output has `logits`, those count.

    Args:
        module: pretrained, with its head.
        train: (inputs, targets). Inputs are a tensor, or a mapping from the names of `forward`'s
            arguments to tensors (n, length) of integers, as tokenisers return them. Columns after
            the longest row of a batch, by `attention_mask`, are cut off.
        test: the same for the test split.
        loss: as of `Problem`.
        name: for records and files, and part of the identity, as of `Problem`.
        default_spec: a `TrainSpec` that trains the problem well.
        eval_rows: rows per evaluation batch.

    Raises:
        InputError: inputs differ between the splits or cannot be stacked, nothing is trainable, or
            a subspace is attached to the module.
    """
    fields = _fields(train[0], "train")
    if test is not None and _fields(test[0], "test") != fields:
        raise invalid(
            "test", expected=f"inputs {fields}, as in train", got=_fields(test[0], "test")
        )
    check_plain(module)
    weights = {w.name: w.value for w in candidate_weights(module)}
    wrapper = _Stacked(copy.deepcopy(module), fields)
    _freeze(wrapper)
    start = {n: p.detach().clone() for n, p in wrapper.named_parameters()}
    if not start:
        raise InputError(
            "module: expected parameters with requires_grad=True, got none. "
            "Call requires_grad_(True) on what is to be trained."
        )
    splits = [_stacked(split, fields) for split in (train, test) if split is not None]
    identity = {
        "name": name,
        "kind": "fine-tuning",
        "loss": loss_name(loss),
        "module": digest([repr(module), sorted(start)]),
        "base": tensors_digest(weights),
        "buffers": tensors_digest(dict(module.named_buffers())),
        "inputs": fields,
        "data": tensor_digest(*(t for split in splits for t in split)),
    }
    named = isinstance(loss, str)
    problem = Problem(
        lambda: copy.deepcopy(wrapper),
        splits[0],
        splits[1] if len(splits) > 1 else None,
        loss,
        name,
        default_spec=default_spec,
        init=lambda seed: start,
        dropout="off",
        eval_rows=eval_rows,
        vectorize=False,
        identity=identity if named else None,
    )
    if not named:  # a loss of the user's own shows by its value, as in any `Problem`
        identity["loss_at_init"] = problem.identity["loss_at_init"]
        problem.identity = identity
    return problem


class _Stacked(nn.Module):
    """Takes the fields of a batch as one tensor (n, fields, length); returns logits."""

    def __init__(self, model: nn.Module, fields: list[str]) -> None:
        super().__init__()
        self.model, self.fields = model, fields

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the model's logits on a stack of fields, or on one tensor as it is."""
        if not self.fields:
            return _logits(self.model(x))
        if _MASK in self.fields:
            used = x[:, self.fields.index(_MASK)].any(0).nonzero()
            x = x[..., : int(used.max()) + 1] if len(used) else x
        return _logits(self.model(**dict(zip(self.fields, x.unbind(1), strict=True))))


def _logits(output: Any) -> torch.Tensor:
    result: torch.Tensor = getattr(output, "logits", output)
    return result


def _freeze(module: nn.Module) -> None:
    """Turn the parameters that ask for no gradient into constants."""
    for part in module.modules():
        for name, value in list(part._parameters.items()):
            if value is not None and not value.requires_grad:
                del part._parameters[name]
                part.register_buffer(name, value.detach())


def _fields(inputs: Inputs, name: str) -> list[str]:
    if isinstance(inputs, torch.Tensor):
        return []
    if not isinstance(inputs, Mapping) or not inputs:
        raise invalid(f"{name} inputs", expected="a tensor or a mapping", got=type(inputs).__name__)
    tensors = {key: torch.as_tensor(value) for key, value in inputs.items()}
    shapes = {tuple(t.shape) for t in tensors.values()}
    if len(shapes) > 1 or any(t.ndim != 2 or t.is_floating_point() for t in tensors.values()):
        raise invalid(
            f"{name} inputs",
            expected="integers of one shape (n, length) in every field",
            got=", ".join(f"{k} {tuple(t.shape)} {t.dtype}" for k, t in tensors.items()),
            remedy="Pad with the tokeniser, or give subspan.Problem a module of one tensor.",
        )
    return list(inputs)


def _stacked(
    split: tuple[Inputs, torch.Tensor], fields: list[str]
) -> tuple[torch.Tensor, torch.Tensor]:
    inputs, targets = split
    if isinstance(inputs, torch.Tensor):
        return inputs, targets
    stack = torch.stack([torch.as_tensor(inputs[f]).to(torch.int64) for f in fields], 1)
    return stack, torch.as_tensor(targets)
