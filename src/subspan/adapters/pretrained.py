"""`fine_tuning`: a pretrained module and tokenised data as a `Problem`.

So `threshold`, `success_surface` and `compare` work on fine-tuning: every trial starts at the
module's present weights, which makes burn-in zero the pretrained point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.utils._pytree import tree_leaves
from torch.utils.data import Dataset

from subspan.adapters.attach import candidate_weights
from subspan.adapters.checks import check_plain, refuse_scripted
from subspan.adapters.digests import tensors_digest
from subspan.canonical import digest, tensor_digest
from subspan.errors import InputError, invalid
from subspan.problems import structure
from subspan.problems.augmentation import Transform
from subspan.problems.checks import logits
from subspan.problems.copies import closures, duplicate
from subspan.problems.dataset import pair
from subspan.problems.identity import identity_of, module_identity
from subspan.problems.losses import OutputLoss, loss_name
from subspan.problems.module import Problem
from subspan.problems.own import refuse_hooks
from subspan.problems.rows import as_tensors
from subspan.problems.selfcheck import tolerance
from subspan.problems.structure import Tensors
from subspan.spec import TrainSpec

_MASK = "attention_mask"
_TRIED = 8  # rows on which cutting columns off is tried


def fine_tuning(
    module: nn.Module,
    train: tuple[Any, Any] | Dataset[Any],
    test: tuple[Any, Any] | Dataset[Any] | None = None,
    loss: str | OutputLoss = "cross_entropy",
    name: str = "fine-tuning",
    *,
    default_spec: TrainSpec | None = None,
    eval_rows: int | None = None,
    outputs: Callable[[Any], Any] | None = None,
    identity: dict[str, Any] | None = None,
    dropout: Literal["off", "train"] = "off",
    transform: Transform | None = None,
) -> Problem:
    """Return the problem of fine-tuning a module from its present weights.

    D counts the parameters that ask for gradients; the others are constants. The module is copied
    and runs in evaluation mode, so without dropout, unless that trains, and with BatchNorm's
    running statistics, which stand, as do other buffers that training changes (spectral norm's, a
    moving average): at θ = 0 the problem is the module, as `module.eval()` has it.

    Args:
        module: pretrained, with its head.
        train: (inputs, targets), as of `Problem`: inputs are a tensor, a tuple in the order of
            `forward`'s arguments, or a mapping from their names, as tokenisers return them. Where
            labels are one a row, columns after the longest row of a batch, by `attention_mask`,
            are cut off, if that changes nothing. Or a map-style data set, as of `Problem`.
        test: the same for the test split.
        loss: as of `Problem`.
        name: for records and files, and part of the identity, as of `Problem`.
        default_spec: a `TrainSpec` that trains the problem well.
        eval_rows: rows per evaluation batch.
        outputs: as of `Problem`: what of the module's output counts; None: its `logits`, where it
            has them.
        identity: as of `Problem`.
        dropout: `"off"`, or `"train"`, as of `Problem`: then no buffer may change in training.
        transform: as of `Problem`.

    Raises:
        InputError: inputs differ between the splits, rows are not padded to one length, nothing is
            trainable, the module cannot be copied, or a subspace is attached to it; as of
            `Problem`.
    """
    train = pair(train, "train")
    test = None if test is None else pair(test, "test")
    inputs = _inputs(train, "train")
    fields = _fields(inputs)
    if test is not None and (found := _fields(_inputs(test, "test"))) != fields:
        raise invalid("test", expected=f"inputs {fields}, as in train", got=found)
    check_plain(module)
    refuse_scripted(module)
    for parameter_name, parameter in module.named_parameters():  # a copy has none of its hooks
        refuse_hooks(parameter_name, parameter)
    if any(map(nn.parameter.is_lazy, (*module.parameters(), *module.buffers()))):
        raise invalid(
            "module",
            expected="weights with a shape",
            got="a lazy parameter",
            remedy="Run one batch through the module first.",
        )
    weights = {w.name: w.value for w in candidate_weights(module)}
    if found := closures(module):
        raise invalid(
            "module",
            expected="one that can be copied",
            got=f"a function in {found[0]!r} that keeps it",
            remedy="Make the function a method.",
        )
    wrapper = _Model(duplicate(module)).eval()
    wrapper.trim = _masked(inputs) and _one_a_row(train) and _may_trim(wrapper, inputs)
    start = {n: p.detach().clone() for n, p in wrapper.named_parameters() if p.requires_grad}
    if not start:
        raise InputError(
            "module: expected parameters with requires_grad=True, got none. "
            "Call requires_grad_(True) on what is to be trained."
        )
    splits = [_stacked(split) for split in (train, test) if split is not None]
    named = isinstance(loss, str) or identity is not None
    if identity is None:
        identity = {
            "name": name,
            "kind": "fine-tuning",
            "loss": loss_name(loss),
            "module": digest([module_identity(module, "module"), sorted(start)]),
            "base": tensors_digest(weights),
            "buffers": tensors_digest(dict(module.named_buffers())),
            "inputs": fields,
            "data": tensor_digest(*(t for split in splits for t in split)),
        }
        norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        if any(norm.track_running_stats for norm in norms):
            identity["batch_norm"] = "running statistics"
        if outputs is not None:
            identity["outputs"] = [loss_name(outputs), digest(identity_of(outputs, "outputs"))]
        if transform is not None:
            identity["transform"] = digest(identity_of(transform, "transform"))
        if dropout == "train":
            identity["dropout"] = dropout
    problem = Problem(
        lambda: duplicate(wrapper),
        _as_given(train),
        None if test is None else _as_given(test),
        loss,
        name,
        default_spec=default_spec,
        init=lambda seed: start,
        dropout=dropout,
        eval_rows=eval_rows,
        vectorize=False,
        identity=identity if named else None,
        outputs=outputs,
        batch_statistics=False,
        transform=transform,
    )
    if not named:  # a loss of the user's own shows by what it holds, as in any `Problem`
        shown = ("loss_at_init", "loss_holds")
        problem.identity = {**identity, **{key: problem.identity[key] for key in shown}}
    return problem


class _Model(nn.Module):
    """A module, whose inputs may lose the columns that no row of the batch uses."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.trim = model, False
        every = self.named_parameters(remove_duplicate=False)
        self.matrices = [n for n, p in every if p.ndim > 1]  # the frozen ones among them

    def forward(self, *args: Any, **fields: torch.Tensor) -> Any:
        """Return what the module returns."""
        if self.trim:
            mask = fields[_MASK]
            used = mask.any(0).nonzero()
            length = int(used.max()) + 1 if len(used) else mask.shape[1]
            fields = {
                key: value[:, :length] if value.shape[:2] == mask.shape else value
                for key, value in fields.items()
            }
        return self.model(*args, **fields)


@torch.no_grad()
def _may_trim(wrapper: _Model, inputs: dict[str, torch.Tensor]) -> bool:
    """Return whether the columns that no row uses change nothing, on the shortest rows."""
    shortest = inputs[_MASK].ne(0).sum(1).argsort(stable=True)[:_TRIED]
    device = next(wrapper.parameters()).device
    found = []
    for wrapper.trim in (False, True):
        rows = _long({key: value[shortest].to(device) for key, value in inputs.items()})
        try:
            found.append(structure.call(wrapper, rows))
        except Exception:  # `Problem` says what does not fit
            return True
    whole, cut = ([t for t in tree_leaves(logits(out)) if _is_float(t)] for out in found)
    if [t.shape for t in whole] != [t.shape for t in cut]:
        return False
    return all(
        bool((a - b).abs().max() <= tolerance(a.dtype) * a.abs().max())
        for a, b in zip(whole, cut, strict=True)
    )


def _is_float(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point() and value.numel() > 0


def _inputs(split: tuple[Any, Any], name: str) -> Tensors:
    """Return a split's inputs as tensors.

    Raises:
        InputError: they are none, or `attention_mask` does not fit them.
    """
    inputs = split[0]
    arrays = torch.Tensor | np.ndarray | Mapping | tuple
    if not isinstance(inputs, arrays) or not len(inputs):
        raise invalid(
            f"{name} inputs",
            expected="a tensor or a mapping or tuple of tensors",
            got=type(inputs).__name__,
        )
    try:
        found = structure.as_tensors(inputs)
    except (TypeError, ValueError, RuntimeError) as error:
        raise invalid(
            f"{name} inputs",
            expected="numbers of one shape (n, length) in every field",
            got="rows that cannot be stacked",
            remedy="Pad with the tokeniser, return_tensors='pt'.",
        ) from error
    others = [v for k, v in found.items() if k != _MASK] if _masked(found) else []
    if others and not any(t.shape[:2] == found[_MASK].shape for t in others):
        raise invalid(
            f"{name} inputs",
            expected=f"integers (n, length) of one shape with {_MASK!r}",
            got=", ".join(f"{k} {tuple(t.shape)} {t.dtype}" for k, t in found.items()),
            remedy="Pad with the tokeniser.",
        )
    return found


def _masked(inputs: Tensors) -> bool:
    return isinstance(inputs, dict) and _MASK in inputs and _is_tokens(inputs[_MASK])


def _is_tokens(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.ndim == 2 and not value.is_floating_point()


def _fields(inputs: Tensors) -> Any:
    """Return the names of the fields; [] for one tensor."""
    return list(inputs) if isinstance(inputs, dict) else structure.names(inputs) or []


def _one_a_row(split: tuple[Any, Any]) -> bool:
    targets = split[1]
    return not (
        isinstance(targets, torch.Tensor) and targets.ndim > 1 and not targets.is_floating_point()
    )


def _as_given(split: tuple[Any, Any]) -> tuple[Any, Any]:
    """Return a split with token ids as PyTorch wants them, 64-bit."""
    inputs = structure.as_tensors(split[0])
    return (inputs if isinstance(inputs, torch.Tensor) else _long(inputs)), split[1]


def _long(inputs: Tensors) -> Tensors:
    return structure.mapped(lambda t: t.long() if _is_tokens(t) else t, inputs)


def _stacked(split: tuple[Any, Any]) -> list[torch.Tensor]:
    """Return a split's tensors for its digest: fields of integers of one shape as one tensor."""
    inputs, targets = _as_given(split)
    found = structure.leaves(inputs)
    if isinstance(inputs, dict) and all(map(_is_tokens, inputs.values())):
        shapes = {t.shape for t in found}
        found = [torch.stack(found, 1)] if len(shapes) == 1 else found
    return [*found, *structure.leaves(as_tensors(targets, "train targets"))]
