"""A user's rows as tensors, and a few of them to try a module on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from subspan.errors import invalid
from subspan.problems import structure
from subspan.problems.aliases import owned
from subspan.problems.structure import Tensors

Data = tuple[Tensors, Tensors]
_SPREAD = 64  # rows among which the telling ones are sought


def checked_split(data: Any, name: str, dtype: torch.dtype) -> Data:
    """Return a split's inputs and targets as tensors, images with their channels last in memory.

    Args:
        data: (inputs, targets), each a tensor, or a tuple or mapping of tensors, one row of each
            together.
        name: of the split.
        dtype: of floating-point numbers.

    Raises:
        InputError: they are no pair of tensors of equal length, empty, or not finite.
    """
    try:
        inputs, labels = data
    except (TypeError, ValueError) as error:
        raise invalid(name, expected="a pair (inputs, targets)", got=type(data).__name__) from error
    x, y = as_tensors(inputs, f"{name} inputs"), as_tensors(labels, f"{name} targets")
    sizes = {len(t) if t.ndim else 0 for t in (*structure.leaves(x), *structure.leaves(y))}
    flat = isinstance(x, torch.Tensor) and x.ndim == 1 and not whole_numbers(x)
    if flat or len(sizes) != 1 or not min(sizes):
        shapes = [[tuple(t.shape) for t in structure.leaves(part)] for part in (x, y)]
        raise invalid(
            name,
            expected="inputs (n, ...) and as many targets, n ≥ 1",
            got="shapes " + " and ".join(", ".join(map(str, part)) for part in shapes),
            remedy="Give each row of inputs its target.",
        )
    for what, part in (("inputs", x), ("targets", y)):
        for tensor in structure.leaves(part):
            if not whole_numbers(tensor) and not torch.isfinite(tensor).all():
                bad = int((~torch.isfinite(tensor)).reshape(len(tensor), -1).any(1).sum())
                raise invalid(
                    f"{name} {what}",
                    expected="finite numbers",
                    got=f"NaN or infinity in {bad} of {len(tensor)} rows",
                    remedy="Clean or drop those rows.",
                )
    given = (x, y)
    cpu = torch.device("cpu")
    x = structure.mapped(lambda t: structure.moved(t, cpu, dtype), x)
    y = structure.mapped(
        lambda t: t.to(torch.int64) if whole_numbers(t) else structure.moved(t, cpu, dtype), y
    )
    image = isinstance(x, torch.Tensor) and x.ndim == 4
    x = x.movedim(-3, -1).contiguous() if image else x
    return owned(x, given), owned(y, given)


def as_tensors(value: Any, name: str) -> Tensors:
    """Return a user's value as `Tensors`.

    Raises:
        InputError: it is no numbers.
    """
    try:
        return structure.as_tensors(value)
    except (TypeError, ValueError, RuntimeError) as error:
        text = _has_text(value)
        raise invalid(
            name,
            expected="numbers: a tensor, or a tuple or mapping of tensors",
            got="text" if text else type(value).__name__,
            remedy="Number the labels: names, y = numpy.unique(labels, return_inverse=True)."
            if text
            else f"PyTorch said: {said(error)}",
        ) from error


def _has_text(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_text, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_has_text, value[:2]))
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    first = value.flat[0] if kind == "O" and getattr(value, "size", 0) else ""
    return isinstance(value, str) or kind in ("U", "S") or (kind == "O" and isinstance(first, str))


def whole_numbers(tensor: torch.Tensor) -> bool:
    """Return whether a tensor holds integers or truth values."""
    return not (tensor.is_floating_point() or tensor.is_complex())


def first_rows(split: Data, count: int = 2) -> Data:
    """Return copies of the first rows of a split: a module may write into them."""
    x, y = (structure.mapped(lambda t: t[:count].clone(), part) for part in split)
    return x, y


def telling_rows(split: Data, count: int) -> Data:
    """Return copies of rows on which a difference shows: the fullest of some spread evenly."""
    total = structure.row_count(split[1])
    spread = torch.linspace(0, total - 1, min(total, _SPREAD)).long().unique()
    inputs = [t.index_select(0, spread.to(t.device)) for t in structure.leaves(split[0])]
    full = torch.stack([t.reshape(len(t), -1).ne(0).double().mean(1).cpu() for t in inputs]).sum(0)
    best = spread[full.argsort(descending=True, stable=True)[:count]]
    x, y = (structure.mapped(lambda t: t[best.to(t.device)], part) for part in split)
    return x, y


def said(error: Exception) -> str:
    """Return the first line of what an error says."""
    return next(iter(str(error).splitlines()), type(error).__name__)
