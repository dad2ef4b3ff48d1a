"""What a `Problem` refuses: data, a module and a loss that do not fit each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

from subspan.errors import InputError, invalid
from subspan.problems.losses import REGRESSION, OutputLoss
from subspan.streams import scoped_torch_rng

Data = tuple[torch.Tensor, torch.Tensor]
# What a module or a loss raises on data that it was not made for.
_FAILURES = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError)
_ROWS = 2  # of every split run through the module and the loss: BatchNorm needs two


def checked_split(data: Data, name: str, dtype: torch.dtype) -> Data:
    """Return a split's inputs and targets as tensors, images with their channels last in memory.

    Raises:
        InputError: they are no pair of tensors of equal length, empty, or not finite.
    """
    try:
        x, y = (torch.as_tensor(t) for t in data)
    except (TypeError, ValueError) as error:
        raise invalid(name, expected="a pair (inputs, targets)", got=type(data).__name__) from error
    if x.ndim < 2 or y.ndim < 1 or len(x) != len(y) or not len(x):
        raise invalid(
            name,
            expected="inputs (n, ...) and as many targets, n ≥ 1",
            got=f"shapes {tuple(x.shape)} and {tuple(y.shape)}",
            remedy="Give each row of inputs its target.",
        )
    for what, tensor in (("inputs", x), ("targets", y)):
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            bad = int((~torch.isfinite(tensor)).reshape(len(tensor), -1).any(1).sum())
            raise invalid(
                f"{name} {what}",
                expected="finite numbers",
                got=f"NaN or infinity in {bad} of {len(tensor)} rows",
                remedy="Clean or drop those rows.",
            )
    x = x.to(dtype) if x.is_floating_point() else x
    y = y.to(dtype) if y.is_floating_point() else y.to(torch.int64)
    return (x.movedim(-3, -1).contiguous() if x.ndim == 4 else x), y


def check_targets(splits: Mapping[str, Data], loss: str | OutputLoss) -> None:
    """Refuse targets of a kind that the loss does not take, or that differs between the splits.

    Raises:
        InputError: as said.
    """
    kinds = {True: "floating-point numbers", False: "integers"}
    first = splits["train"][1].is_floating_point()
    for split, (_, targets) in splits.items():
        floating = targets.is_floating_point()
        if loss == "cross_entropy" and floating and targets.ndim == 1:
            raise invalid(
                f"{split} labels",
                expected="integers for cross_entropy",
                got="floating-point numbers",
                remedy="Use labels.long().",
            )
        if loss in REGRESSION and not floating:
            raise invalid(
                f"{split} targets",
                expected=f"floating-point numbers for {loss}",
                got="integers",
                remedy="Use targets.float(), or loss='cross_entropy' for class labels.",
            )
        if floating != first:
            raise invalid(
                f"{split} targets", expected=f"{kinds[first]}, as in train", got=kinds[floating]
            )
        if not floating and targets.ndim != 1:
            raise invalid(
                f"{split} labels",
                expected="shape (n,) for integers, which are class labels",
                got=f"shape {tuple(targets.shape)}",
                remedy="Use labels.squeeze(1) on one column; other targets are floats.",
            )


def refuse_dropout(module: nn.Module, policy: str) -> None:
    """Refuse a module with active dropout unless the policy is `"off"`.

    Attention and recurrent modules hold the rate as a number named `dropout`.

    Raises:
        InputError: as said.
    """
    active = [name or type(m).__name__ for name, m in module.named_modules() if _dropout(m) > 0]
    if active and policy != "off":
        raise InputError(
            f"make_module: expected no active dropout, got it in {', '.join(active[:3])}. The loss "
            "must be a function of the weights: set p=0, or pass dropout='off'."
        )


def _dropout(module: nn.Module) -> float:
    is_dropout = isinstance(module, nn.modules.dropout._DropoutNd)
    rate = getattr(module, "p" if is_dropout else "dropout", 0)
    return float(rate) if isinstance(rate, int | float) else 0.0


def check_fit(
    module: nn.Module, loss: str | OutputLoss, function: OutputLoss, splits: Mapping[str, Data]
) -> int:
    """Run two rows of every split through the module and the loss.

    Args:
        module: with BatchNorm on batch statistics; left in evaluation mode.
        loss: as the user gave it.
        function: the loss as a function of (outputs, targets).
        splits: inputs, as the module takes them, and targets.

    Returns:
        The number of classes, 0 where the targets are no class labels.

    Raises:
        InputError: they do not fit, or two evaluations of the same rows differ.
    """
    with torch.no_grad(), scoped_torch_rng(0, "module"):
        _check_buffers(module.train(), splits["train"][0][:_ROWS])
        module.eval()
        classes = [_check_split(name, module, loss, function, splits[name]) for name in splits]
    return classes[0]


def _check_buffers(module: nn.Module, x: torch.Tensor) -> None:
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    _outputs(module, x, "train")
    for name, buffer in module.named_buffers():
        if name not in before or not torch.equal(buffer, before[name]):
            raise invalid(
                "make_module",
                expected="a module whose buffers do not change in training",
                got=f"buffer {name!r}, which changes",
                remedy="Make it constant; only BatchNorm may keep a running state.",
            )


def _check_split(
    name: str, module: nn.Module, loss: str | OutputLoss, function: OutputLoss, split: Data
) -> int:
    x, y = (t[:_ROWS] for t in split)
    out = _outputs(module, x, name)
    classes = 0 if y.is_floating_point() else _check_labels(name, out, split[1])
    if loss in REGRESSION and out.shape != y.shape:
        raise invalid(
            f"{name} targets",
            expected=f"shape {tuple(out.shape)} in {len(x)} rows, as the module's outputs",
            got=f"shape {tuple(y.shape)}",
            remedy="Reshape the targets, or give the module as many outputs.",
        )
    value = _loss(function, out, y)
    again = _outputs(module, x, name)
    if not (_same(out, again) and _same(value, _loss(function, again, y))):
        raise invalid(
            "make_module",
            expected="the same outputs and loss whenever the same rows come",
            got="others the second time",
            remedy="The loss must be a function of the weights: switch off dropout and other "
            "randomness.",
        )
    return classes


def _outputs(module: nn.Module, x: torch.Tensor, split: str) -> torch.Tensor:
    shape = f"rows of shape {tuple(x.shape[1:])}"
    with refused(split, "inputs that the module takes", shape, "The module"):
        out = module(x)
    if not isinstance(out, torch.Tensor):
        raise invalid(
            "make_module",
            expected="a module that returns a tensor",
            got=type(out).__name__,
            remedy="Wrap it in a module that returns its outputs alone.",
        )
    return out


def _check_labels(name: str, out: torch.Tensor, labels: torch.Tensor) -> int:
    if out.ndim != 2:
        raise invalid(
            "make_module",
            expected="outputs (n, classes) for integer labels",
            got=f"outputs of shape {tuple(out.shape)}",
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= out.shape[1]:
        raise invalid(
            f"{name} labels",
            expected=f"integers in 0 … {out.shape[1] - 1}, the module's outputs",
            got=f"{low} … {high}",
            remedy="Relabel from 0, or give the module more outputs.",
        )
    return out.shape[1]


def _loss(function: OutputLoss, out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    shapes = f"outputs {tuple(out.shape)} and targets {tuple(y.shape)}"
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


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)


@contextmanager
def refused(argument: str, expected: str, got: str, who: str) -> Iterator[None]:
    """Turn what the user's module or loss raises into an `InputError` that repeats it."""
    try:
        yield
    except InputError:
        raise
    except _FAILURES as error:
        remedy = f"{who} said: {_said(error)}"
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
        raise invalid(
            "make_module",
            expected="a module that torch.func.vmap runs on many weights at once",
            got="one that it cannot run",
            remedy="Pass vectorize=False to run it trial by trial.",
        ) from error


def _said(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
