"""`Case`: one row of the table, and what its four cells say."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn

COLUMNS = ("problem", "attach", "fine_tuning", "theory")
Column = Literal["problem", "attach", "fine_tuning", "theory"]
Inputs = torch.Tensor | tuple[torch.Tensor, ...] | Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Refused:
    """The verdict of a cell that is refused.

    Args:
        why: what the page prints.
        text: words of the error, an `InputError`.
    """

    why: str
    text: str


RIGHT = "right"
Verdict = Literal["right"] | Refused


@dataclass(frozen=True)
class Case:
    """A module, its data and its loss, and how plain PyTorch computes the same.

    Args:
        kind: what the row stands for, as printed.
        net: returns a fresh module; called with PyTorch's generator at a fixed seed.
        data: returns inputs (a tensor, a tuple or a mapping of them) and targets.
        loss: as given to the library.
        plain: the loss in plain PyTorch, of the module's output and the targets; None: `loss`.
        targets: turns the targets that the library gets into those that `plain` takes.
        problem: verdict of `Problem`.
        attach: verdict of `attach`.
        fine_tuning: verdict of `fine_tuning`.
        theory: verdict of the theory's tools.
        options: further arguments of `Problem`; `transform` and `dropout="train"` go to
            `fine_tuning` too.
        given: returns the data as the library gets them; None: those of `data`.
        exact: whether the module runs in float64; else the checks are as fine as float32.
        one_way: an output that plain PyTorch's finite differences do not see, as of a
            straight-through gradient: second derivatives are held against a second backward pass.
        rounds: whether the module computes parts of it in float32 whatever it is in.
        quiet: warnings that plain PyTorch itself gives.
    """

    kind: str
    net: Callable[[], nn.Module]
    data: Callable[[], tuple[Any, Any]]
    loss: Any = "cross_entropy"
    plain: Callable[[Any, torch.Tensor], torch.Tensor] | None = None
    targets: Callable[[Any], torch.Tensor] = torch.as_tensor
    problem: Verdict = "right"
    attach: Verdict = "right"
    fine_tuning: Verdict = "right"
    theory: Verdict = "right"
    options: Mapping[str, Any] = field(default_factory=dict)
    given: Callable[[], Any] | None = None
    exact: bool = True
    one_way: bool = False
    rounds: bool = False
    quiet: tuple[str, ...] = ()

    def make(self) -> nn.Module:
        """Return the module, the same numbers at each call."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return self.net()

    def verdict(self, column: Column) -> Verdict:
        """Return what a cell says."""
        verdict: Verdict = getattr(self, column)
        return verdict

    def plain_loss(self, output: Any, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss of an output in plain PyTorch, shape ()."""
        if self.plain is not None:
            return self.plain(output, targets)
        named = {"cross_entropy": nn.functional.cross_entropy, "mse": nn.functional.mse_loss}
        return named.get(self.loss, self.loss)(output, targets)


def refused(why: str, text: str, *columns: str) -> dict[str, Any]:
    """Return one refusal for several columns; for all of them where none is named."""
    return dict.fromkeys(columns or COLUMNS, Refused(why, text))


def run(module: nn.Module, inputs: Inputs, seed: int = 5) -> Any:
    """Call a module as its user does, PyTorch's generator at a fixed seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if isinstance(inputs, Mapping):
            return module(**inputs)
        return module(*inputs) if isinstance(inputs, tuple) else module(inputs)


def cast(value: Any, dtype: torch.dtype) -> Any:
    """Return tensors, one or several or as arrays, with floating-point ones in `dtype`."""
    if isinstance(value, Mapping):
        return {key: cast(part, dtype) for key, part in value.items()}
    if isinstance(value, tuple):
        return tuple(cast(part, dtype) for part in value)
    value = torch.as_tensor(value)
    return value.to(dtype) if value.is_floating_point() else value


def normals(*shape: int, seed: int = 1) -> torch.Tensor:
    """Return standard normal numbers of a seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def integers(high: int, *shape: int, low: int = 0, seed: int = 2) -> torch.Tensor:
    """Return integers in low … high − 1 of a seed."""
    return torch.randint(low, high, shape, generator=torch.Generator().manual_seed(seed))


@functools.cache
def kinds_of(cases: tuple[Case, ...]) -> tuple[str, ...]:
    """Return the rows' names, which must differ."""
    names = tuple(case.kind for case in cases)
    assert len(set(names)) == len(names), [n for n in names if names.count(n) > 1]
    return names
