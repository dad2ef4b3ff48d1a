"""What a `Problem` refuses: data, a module and a loss that do not fit each other."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from subspan.errors import InputError, invalid, unknown
from subspan.problems import structure
from subspan.problems.labels import Labels, labels_of
from subspan.problems.losses import OutputLoss, is_regression, loss_name
from subspan.problems.rows import Data, first_rows, said, whole_numbers
from subspan.problems.structure import Tensors
from subspan.streams import scoped_torch_rng

# What a module or a loss raises on data that it was not made for.
_FAILURES = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError)
DROPOUT = ("refuse", "off", "train")
_PAIRS = 64  # rows on which a loss is tried with outputs and targets of other shapes


def check_targets(splits: Mapping[str, Data], loss: str | OutputLoss) -> None:
    """Refuse targets of a kind that the loss does not take, or that differs between the splits.

    Raises:
        InputError: as said.
    """
    first = [_kind(t) for t in structure.leaves(splits["train"][1])]
    for split, (inputs, targets) in splits.items():
        if structure.names(inputs) != structure.names(splits["train"][0]):
            raise invalid(
                f"{split} inputs",
                expected=f"{structure.names(splits['train'][0])}, as in train",
                got=structure.names(inputs),
            )
        if isinstance(loss, str) and not isinstance(targets, torch.Tensor):
            raise invalid(
                f"{split} targets",
                expected=f"one tensor for {loss}",
                got=f"several: {structure.names(targets)}",
                remedy="Give a function of (outputs, targets) as loss.",
            )
        kinds = [_kind(t) for t in structure.leaves(targets)]
        if loss == "cross_entropy" and kinds != ["integers"] and targets.ndim == 1:
            raise invalid(
                f"{split} labels",
                expected="integers for cross_entropy",
                got=kinds[0],
                remedy="Use labels.long().",
            )
        if is_regression(loss) and "integers" in kinds:
            raise invalid(
                f"{split} targets",
                expected=f"floating-point numbers for {loss_name(loss)}",
                got="integers",
                remedy="Use targets.float(), or loss='cross_entropy' for class labels.",
            )
        if kinds != first:
            raise invalid(
                f"{split} targets",
                expected=f"{', '.join(first)}, as in train",
                got=", ".join(kinds),
            )


def _kind(tensor: torch.Tensor) -> str:
    if whole_numbers(tensor):
        return "integers"
    return "complex numbers" if tensor.is_complex() else "floating-point numbers"


def refuse_dropout(module: nn.Module, policy: str) -> None:
    """Refuse a module with active dropout where the policy is `"refuse"`.

    Attention and recurrent modules hold the rate as a number named `dropout`.

    Raises:
        InputError: as said.
    """
    if policy not in DROPOUT:
        raise unknown("dropout", str(policy), list(DROPOUT))
    active = [name or type(m).__name__ for name, m in module.named_modules() if dropout_rate(m) > 0]
    if active and policy == "refuse":
        raise InputError(
            f"make_module: expected no active dropout, got it in {', '.join(active[:3])}. The loss "
            "must be a function of the weights: set p=0, or pass dropout='off'; dropout='train' "
            "trains with it and evaluates without."
        )


def dropout_rate(module: nn.Module) -> float:
    """Return the rate at which a module by itself, not its parts, drops; 0 where it does not."""
    is_dropout = isinstance(module, nn.modules.dropout._DropoutNd)
    rate = getattr(module, "p" if is_dropout else "dropout", 0)
    return float(rate) if isinstance(rate, int | float) else 0.0


def check_fit(
    module: nn.Module,
    select: Callable[[Any], Any],
    loss: str | OutputLoss,
    function: OutputLoss,
    splits: Mapping[str, Data],
    *,
    evaluation: bool = False,
) -> Labels:
    """Run two rows of every split through the module and the loss.

    Args:
        module: owned; left in evaluation mode.
        select: what of the module's output counts.
        loss: as the user gave it.
        function: the loss as a function of (outputs, targets).
        splits: inputs, as the module takes them, and targets.
        evaluation: whether what buffers do in training mode is of no account.

    Returns:
        How the labels stand to the outputs.

    Raises:
        InputError: they do not fit, or two evaluations of the same rows differ.
    """
    with torch.no_grad(), scoped_torch_rng(0, "module"):
        _check_buffers(module, first_rows(splits["train"])[0], training=not evaluation)
        module.eval()
        found = [
            _check_split(name, module, select, loss, function, split)
            for name, split in splits.items()
        ]
    if any(labels.axis != found[0].axis for labels in found):
        raise invalid(
            "test labels", expected="outputs with the classes where train has them", got="others"
        )
    return dataclasses.replace(found[0], gaps=any(labels.gaps for labels in found))


def _check_buffers(module: nn.Module, x: Tensors, *, training: bool) -> None:
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    module.train(training)
    for part in module.modules():  # running statistics that stand do not change in training
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.track_running_stats:
            part.eval()
    _outputs(module, x, "train")
    for name, buffer in module.named_buffers():
        if name not in before or not torch.equal(buffer, before[name]):
            raise invalid(
                "make_module",
                expected=f"a module whose buffers do not change{' in training' * training}",
                got=f"buffer {name!r}, which changes",
                remedy="Make it constant; only BatchNorm may keep a running state.",
            )


def _check_split(
    name: str,
    module: nn.Module,
    select: Callable[[Any], Any],
    loss: str | OutputLoss,
    function: OutputLoss,
    split: Data,
) -> Labels:
    (x, y), labels = first_rows(split), Labels()
    out = _selected(module, select, loss, x, name)
    if isinstance(y, torch.Tensor) and whole_numbers(y):
        labels = labels_of(name, out, y, split[1], loss)
        function = labels.loss(function)
    if is_regression(loss) and isinstance(out, torch.Tensor) and out.shape != y.shape:
        raise invalid(
            f"{name} targets",
            expected=f"shape {tuple(out.shape)} in {len(x)} rows, as the module's outputs",
            got=f"shape {tuple(y.shape)}",
            remedy="Reshape the targets, or give the module as many outputs.",
        )
    _refuse_broadcast(name, function, out, split[1])
    value = _loss(function, out, y)
    again = _selected(module, select, loss, first_rows(split)[0], name)
    if not (same(out, again) and same(value, _loss(function, again, y))):
        raise invalid(
            "make_module",
            expected="the same outputs and loss whenever the same rows come",
            got="others the second time",
            remedy="The loss must be a function of the weights: switch off dropout and other "
            "randomness. Where dropout is to train, give it training=self.training.",
        )
    return labels


def _outputs(module: nn.Module, x: Tensors, split: str) -> Any:
    with refused(
        split, "inputs that the module takes", f"rows of shape {structure.shown(x)}", "The module"
    ):
        return structure.call(module, x)


def _selected(
    module: nn.Module, select: Callable[[Any], Any], loss: Any, x: Tensors, split: str
) -> Any:
    raw = _outputs(module, x, split)
    with refused("outputs", "a function of what the module returns", type(raw).__name__, "It"):
        out = select(raw)
    if isinstance(out, torch.Tensor) or not isinstance(loss, str):
        return out
    raise invalid(
        "make_module",
        expected="a module that returns a tensor, or something with logits",
        got=type(out).__name__,
        remedy="Say what counts, e.g. outputs=lambda out: out[0], or give a loss of your own, "
        "which gets all of it.",
    )


def logits(output: Any) -> Any:
    """Return the `logits` of a module's output where it has them, else the output itself."""
    if isinstance(output, Mapping):
        found = output.get("logits")
    else:
        found = None if isinstance(output, torch.Tensor) else getattr(output, "logits", None)
    return found if isinstance(found, torch.Tensor) else output


def _refuse_broadcast(name: str, function: OutputLoss, out: Any, targets: Any) -> None:
    """Refuse a loss that holds each output against the target of every row: (n, 1) and (n,).

    It is one if it takes both as (n,) too and then gives another value.
    """
    if not (isinstance(out, torch.Tensor) and isinstance(targets, torch.Tensor)):
        return
    if {out.ndim, targets.ndim} != {1, 2} or 1 not in (*out.shape[1:], *targets.shape[1:]):
        return
    y = targets[:_PAIRS]
    generator = torch.Generator().manual_seed(0)
    z = torch.randn((len(y), *out.shape[1:]), generator=generator).to(out.dtype)
    try:
        given, row_by_row = float(function(z, y)), float(function(z.flatten(), y.flatten()))
    except Exception:  # it tells the shapes apart
        return
    if not math.isclose(given, row_by_row, rel_tol=1e-3, abs_tol=1e-6):
        raise invalid(
            f"{name} targets",
            expected=f"shape (n{', 1' if out.ndim == 2 else ','}), as the module's outputs",
            got=f"shape (n{', 1' if targets.ndim == 2 else ','}), which the loss holds against the "
            "outputs of all rows",
            remedy="Reshape the targets, or give the module as many outputs.",
        )


def _loss(function: OutputLoss, out: Any, y: Any) -> torch.Tensor:
    shapes = " and ".join(
        f"{what} {tuple(t.shape) if isinstance(t, torch.Tensor) else type(t).__name__}"
        for what, t in (("outputs", out), ("targets", y))
    )
    with refused("loss", "a function of (outputs, targets)", f"an error on {shapes}", "It"):
        value = function(out, y)
    if not isinstance(value, torch.Tensor) or value.ndim:
        scalar = isinstance(value, torch.Tensor)
        raise invalid(
            "loss",
            expected="a function that returns the mean over rows, a tensor of shape ()",
            got=f"shape {tuple(value.shape)}" if scalar else type(value).__name__,
        )
    return value


def same(one: Any, other: Any) -> bool:
    """Return whether two outputs are equal to the bit, NaN included."""
    pairs = [torch.utils._pytree.tree_leaves(side) for side in (one, other)]
    return all(
        a.shape == b.shape and torch.allclose(a, b, rtol=0, atol=0, equal_nan=True)
        for a, b in zip(*pairs, strict=True)
        if isinstance(a, torch.Tensor)
    )


@contextmanager
def refused(argument: str, expected: str, got: str, who: str) -> Iterator[None]:
    """Turn what the user's module or loss raises into an `InputError` that repeats it."""
    try:
        yield
    except InputError:
        raise
    except _FAILURES as error:
        remedy = f"{who} said: {said(error)}"
        raise invalid(argument, expected=expected, got=got, remedy=remedy) from error


@contextmanager
def batched(alone: Callable[[], object]) -> Iterator[None]:
    """Run many weights as one program; where that fails but `alone`, one trial, runs, say so."""
    try:
        yield
    except (InputError, torch.OutOfMemoryError):
        raise
    except _FAILURES as error:
        try:
            alone()
        except _FAILURES:
            raise error from None
        raise not_batchable() from error


def not_batchable() -> InputError:
    """Return the error where many weights were to run as one program and cannot."""
    return invalid(
        "make_module",
        expected="a module that torch.func.vmap runs on many weights at once",
        got="one that it cannot run",
        remedy="Pass vectorize=False to run it trial by trial.",
    )
