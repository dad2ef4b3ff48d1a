"""Within a call of a module that has a subspace, or of a part of it: there it looks plain.

A forward pass may iterate its parameters, or put tensors in their place and take them out again.
Within a call the module's `_parameters` and `_buffers` therefore show what they would without a
subspace (`subspan.adapters.plain`); outside, θ alone is a parameter.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Protocol

import torch
from torch import nn
from torch.utils import checkpoint

ROOTS = "_subspan_roots"  # instance attribute: roots of the attached modules it is, or is part of


class Called(Protocol):
    """What a call asks of the root of an attached module; `subspan.adapters.root.Root` is one.

    Attributes:
        inside: whether a compiler is within a call of the module or of a part of it.
        asking: whether one follows a question for a device or dtype alone.
        swapping: modules in which the running call has put tensors in place of weights.
    """

    inside: bool
    asking: bool
    swapping: list[nn.Module]

    def check_entry(self, part: nn.Module) -> None:
        """Refuse a call of a part that cannot be told from what it is a part of."""

    def take_out(self, since: int = 0) -> list[str]:
        """Take out what a call has put in place of weights."""

    def check_exit(self, since: int) -> None:
        """Refuse a call that left something there."""


_running: ContextVar[tuple[Called, ...]] = ContextVar("subspan_running", default=())
_asking: ContextVar[bool] = ContextVar("subspan_asking", default=False)


def within(module: nn.Module) -> bool:
    """Return whether a call that the module belongs to is running, a checkpoint's second too."""
    roots = module.__dict__.get(ROOTS, ())
    if torch.compiler.is_compiling():
        return any(root.inside or root.asking for root in roots)
    running = _running.get()
    if any(root in running or root.inside for root in roots):
        return True
    return bool(roots) and (_asking.get() or _recomputing())


def asking(module: nn.Module) -> bool:
    """Return whether somebody asks for a device or dtype alone, so that θ need not be applied."""
    if torch.compiler.is_compiling():
        return any(root.asking for root in module.__dict__.get(ROOTS, ()))
    return _asking.get()


@contextlib.contextmanager
def call(module: nn.Module) -> Iterator[None]:
    """Within this, the module and its parts look plain."""
    running = _running.get()
    new = tuple(root for root in module.__dict__.get(ROOTS, ()) if root not in running)
    if not new:
        yield
        return
    for root in new:
        root.check_entry(module)
    before = [len(root.swapping) for root in new]
    token = _running.set((*running, *new))
    try:
        yield
    except BaseException:
        for root, since in zip(new, before, strict=True):
            root.take_out(since)
        raise
    finally:
        _running.reset(token)
    for root, since in zip(new, before, strict=True):
        root.check_exit(since)


@contextlib.contextmanager
def outside() -> Iterator[None]:
    """Within this no call is running, as for a module that moves itself in its forward pass."""
    token = _running.set(())
    try:
        yield
    finally:
        _running.reset(token)


@contextlib.contextmanager
def question() -> Iterator[None]:
    """Within this, parameters are shown at θ = 0, which costs nothing."""
    token = _asking.set(True)
    try:
        yield
    finally:
        _asking.reset(token)


def is_running(module: nn.Module) -> bool:
    """Return whether `call(module)` would change nothing."""
    running = _running.get()
    return all(root in running for root in module.__dict__.get(ROOTS, ()))


def _recomputing() -> bool:
    """Return whether a checkpoint repeats a piece of a forward pass, within a backward pass."""
    if torch._C._current_graph_task_id() < 0:
        return False
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename == checkpoint.__file__:
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False
