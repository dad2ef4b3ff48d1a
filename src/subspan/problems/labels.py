"""`Labels`: which integers are class labels, along which axis the classes lie, what is counted."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from subspan.errors import invalid
from subspan.problems.losses import OutputLoss

IGNORED = -100  # PyTorch's `ignore_index` where the loss says no other


@dataclass(frozen=True)
class Labels:
    """How labels (n,) or (n, ...) stand to outputs: (n, classes), (n, ..., classes) or, as PyTorch
    has it, (n, classes, ...).

    Attributes:
        classes: their number; 0: the targets are no class labels, and accuracy is NaN.
        axis: of the outputs, along which the classes lie: 1 or -1.
        ignored: the label of what does not count.
        moved: whether the loss wants the classes at axis 1, where the outputs have them last.
        gaps: whether there are labels that do not count, in any of the splits.
    """

    classes: int = 0
    axis: int = 1
    ignored: int = IGNORED
    moved: bool = False
    gaps: bool = False

    def hits(self, outputs: Any, labels: Any) -> torch.Tensor:
        """Return how many labels have the largest output, shape (); 0 without classes."""
        if not self.classes:
            return torch.zeros(())
        right: torch.Tensor = outputs.argmax(self.axis) == labels
        return (right & (labels != self.ignored)).sum() if self.ignored >= 0 else right.sum()

    def counted(self, labels: Any) -> torch.Tensor | int:
        """Return how many labels count; a tensor () where it takes a look at them."""
        if not self.classes:
            return 0
        return (labels != self.ignored).sum() if self.gaps else int(labels.numel())

    def loss(self, function: OutputLoss) -> OutputLoss:
        """Return the loss of the module's outputs: cross-entropy with the classes where PyTorch
        looks for them; a loss of the user's own gets the outputs as they are."""
        if not self.moved:
            return function
        return lambda outputs, targets: function(outputs.movedim(-1, 1), targets)


def labels_of(
    split: str, outputs: Any, rows: torch.Tensor, labels: torch.Tensor, loss: Any
) -> Labels:
    """Return how integer targets stand to outputs.

    Args:
        split: for errors.
        outputs: of some rows.
        rows: the labels of these rows.
        labels: those of the whole split.
        loss: as the user gave it. One of the user's own may take integers that are no classes.

    Raises:
        InputError: shapes that do not fit cross-entropy, or labels out of range.
    """
    own, shape = not isinstance(loss, str), getattr(outputs, "shape", None)
    if shape is None or len(shape) != rows.ndim + 1 or shape[0] != len(rows):
        if own:
            return Labels()
        if rows.ndim == 2 and rows.shape[1] == 1:
            raise invalid(
                f"{split} labels",
                expected="shape (n,) for outputs (n, classes)",
                got=f"shape {tuple(labels.shape)}",
                remedy="Use labels.squeeze(1) on one column.",
            )
        raise invalid(
            "make_module",
            expected=f"outputs {'(n, classes)' if rows.ndim == 1 else '(n, ..., classes)'} for "
            f"integer labels of shape {_shape(labels)}",
            got=f"outputs of shape {tuple(shape or ())}",
        )
    last, second = shape[:-1] == rows.shape, (shape[0], *shape[2:]) == tuple(rows.shape)
    if rows.ndim == 1:
        last = False
    if last == second:
        if own:
            return Labels()
        raise invalid(
            f"{split} labels",
            expected="labels (n, ...) for outputs (n, ..., classes) or (n, classes, ...)",
            got=f"labels {_shape(labels)} for outputs {tuple(shape)}, "
            + ("which fit both" if last else "which fit neither"),
            remedy="Give a loss of your own that says which axis the classes lie along.",
        )
    axis = -1 if last else 1
    classes, ignored = int(shape[axis]), ignored_label(loss)
    if own and classes == 1:
        return Labels()
    _check_range(split, labels, classes, ignored, own=own)
    moved = axis == -1 and _wants_classes_second(loss)
    return Labels(classes, axis, ignored, moved, gaps=bool((labels == ignored).any()))


def _wants_classes_second(loss: Any) -> bool:
    if isinstance(loss, functools.partial):
        return _wants_classes_second(loss.func)
    if type(loss) in (nn.CrossEntropyLoss, nn.NLLLoss):
        return True
    return loss in ("cross_entropy", nn.functional.cross_entropy, nn.functional.nll_loss)


def ignored_label(loss: Any) -> int:
    """Return the label that a loss leaves out."""
    if isinstance(loss, functools.partial):
        return int(loss.keywords.get("ignore_index", ignored_label(loss.func)))
    found = getattr(loss, "ignore_index", IGNORED) if isinstance(loss, nn.Module) else IGNORED
    return found if isinstance(found, int) else IGNORED


def _check_range(
    split: str, labels: torch.Tensor, classes: int, ignored: int, *, own: bool
) -> None:
    low, high = int(labels.min()), int(labels.max())
    if low >= 0 and high < classes:
        return
    counted = labels[labels != ignored]
    if not len(counted):
        raise invalid(f"{split} labels", expected="labels that count", got=f"{ignored} alone")
    low, high = int(counted.min()), int(counted.max())
    beyond = counted[(counted < 0) | (counted >= classes)].unique()
    if own and len(beyond) == 1:  # which a function's own code may leave out, unseen from here
        raise invalid(
            f"{split} labels",
            expected=f"integers in 0 … {classes - 1}, and {ignored} for what does not count",
            got=f"{int(beyond[0])} too",
            remedy=f"If the loss leaves {int(beyond[0])} out, say so: functools.partial("
            f"F.cross_entropy, ignore_index={int(beyond[0])}), or nn.CrossEntropyLoss with it; or "
            f"relabel it {ignored}.",
        )
    if low < 0 or high >= classes:
        raise invalid(
            f"{split} labels",
            expected=f"integers in 0 … {classes - 1}, the module's outputs",
            got=f"{low} … {high}",
            remedy=f"Relabel from 0, {ignored} for what does not count, or give the module more "
            "outputs.",
        )


def _shape(labels: torch.Tensor) -> str:
    return f"(n{''.join(f', {size}' for size in labels.shape[1:])}{',' * (labels.ndim == 1)})"
