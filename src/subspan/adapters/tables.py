"""The table that all weights of a subspace are read from: made once, its gradient summed once.

θ may be written in ways that count up no version, so whether a kept table still fits is decided by
the contents of θ. That costs O(d), and is done once in a *pass*: a call of a module that has a
subspace, or a run of autograd's engine, in which checkpointed layers read their weights again.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.weak import TensorWeakRef

from subspan.maps.base import traced
from subspan.maps.sliced.base import SlicedMap


def _references() -> int:
    """Return how many references an object has that one local variable holds."""
    alone = object()
    return sys.getrefcount(alone)


_ALONE = _references()  # two, or one where Python lends the argument


class Pass:
    """A call of a module that has a subspace.

    Attributes:
        tables: made in it under `torch.func` or forward mode, which outlive no call; by keeper,
            with the θ they are of.
        of_history: those of a θ that has a graph, with its version.
        shown: weights that were read as parameters, weakly, with the θ they are of.
    """

    def __init__(self) -> None:
        self.tables: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self.of_history: dict[int, tuple[torch.Tensor, int, Table]] = {}
        self.shown: dict[tuple[int, int, bool], tuple[tuple[int, int], TensorWeakRef]] = {}


_running: ContextVar[Pass | None] = ContextVar("subspan_pass", default=None)


@contextlib.contextmanager
def one_pass() -> Iterator[None]:
    """Within this, θ is compared once; it must not be written there without counting a version."""
    if _running.get() is not None:
        yield
        return
    this = Pass()
    token = _running.set(this)
    try:
        yield
    finally:
        _running.reset(token)
        this.tables.clear()
        this.of_history.clear()
        this.shown.clear()


def show(handle: object, number: int, theta: torch.Tensor, weight: torch.Tensor) -> None:
    """Note that somebody has read a weight as a parameter in this pass."""
    this = _running.get()
    if this is not None:
        key = (id(handle), number, torch.is_grad_enabled())
        this.shown[key] = (_version_of(theta), TensorWeakRef(weight))


def shown(handle: object, number: int, theta: torch.Tensor) -> torch.Tensor | None:
    """Return the weight that `show` noted in this pass, if it is there and θ is the same.

    So a forward pass finds its weights in the graph, where it asks for gradients in parameters
    that it has listed.
    """
    this = _running.get()
    if this is None or not this.shown:
        return None
    known = this.shown.get((id(handle), number, torch.is_grad_enabled()))
    if known is None or known[0] != _version_of(theta):
        return None
    weight: torch.Tensor | None = known[1]()
    return weight


def _version_of(theta: torch.Tensor) -> tuple[int, int]:
    return id(theta), -1 if theta.is_inference() else theta._version


def _present() -> Pass | int | None:
    """Return what tells the present pass from all others; None outside one."""
    task: int = torch._C._current_graph_task_id()
    return _running.get() or (task if task >= 0 else None)


class SharedGradient:
    """The gradient of one table, which the weights of a backward pass sum in one place.

    The first weight hands autograd a buffer as its gradient. The others add to it, and hand over
    nothing. The reference is weak, so that a buffer is written for as long as autograd holds it:
    one that it has added to another, or did not want, is not found again, and the next weight hands
    over a new one. Each pass has its own, so that one within another, or in another thread, does
    not come between. On a CPU only, where one thread runs the pass in order.
    """

    def __init__(self) -> None:
        self._held: dict[int, TensorWeakRef] = {}  # by pass; replaced, never changed

    def buffer(
        self, size: int, dtype: torch.dtype, device: torch.device
    ) -> tuple[torch.Tensor, bool]:
        """Return where to add a weight's gradient, (size,), and whether that is new to autograd."""
        task: int = torch._C._current_graph_task_id()
        known = self._held[task]() if task in self._held else None
        if known is not None:
            return known, False
        new = torch.zeros(size, dtype=dtype, device=device)
        if task >= 0 and new.device.type == "cpu":
            alive = {other: ref for other, ref in self._held.items() if ref() is not None}
            self._held = {**alive, task: TensorWeakRef(new)}
        return new, True


class Table:
    """What weights are read from.

    Attributes:
        values: the numbers.
        gradient: where weights sum its gradient; None where each hands over its own.
        saved: whether autograd may read the numbers again.
    """

    def __init__(self, values: torch.Tensor, gradient: SharedGradient | None = None) -> None:
        self.values, self.gradient = values, gradient
        self.saved = False


class _Kept(NamedTuple):
    theta: torch.Tensor
    copy: torch.Tensor | None  # of its contents; None: too slow to compare
    place: tuple[Any, ...]
    version: int
    table: Table
    seen: Pass | int | None  # the pass in which the contents were last known to be the same


class TableKeeper:
    """Keeps the table of a subspace for as long as θ has the same contents.

    Off the CPU, where comparing would wait for the device, for a pass on one stream. For a θ that
    has a history of its own, as another put in its place may have, for a call of the module: its
    contents do not tell its graph, which would be kept alive too.
    """

    def __init__(self) -> None:
        self._kept: _Kept | None = None
        self._compiling = False  # whether a compiler is within a call of the module
        self._compiled: tuple[torch.Tensor, torch.Tensor] | None = None  # θ and its table there
        self.shared: dict[Any, Any] = {}  # tied weights that a call has shown as parameters

    def __getstate__(self) -> dict[str, Any]:
        return {"_kept": None, "_compiling": False, "_compiled": None, "shared": {}}

    def compiling(self, within: bool) -> None:
        """Say to a compiler where a call of the module, for which a table is kept, begins or ends.

        In plain attributes, which it follows, as it does not `one_pass`.
        """
        self._compiling, self._compiled, self.shared = within, None, {}

    def table(self, theta: torch.Tensor, sliced: SlicedMap) -> Table:
        """Return the table of θ (d,), differentiable if θ is, whatever the mode it is read in."""
        if not sliced.tabulates:
            return Table(theta)
        if traced():
            return Table(self._traced(theta, sliced))
        if type(theta) not in (torch.Tensor, nn.Parameter) or theta.is_meta:
            return Table(sliced.table(theta))
        if theta.grad_fn is not None:
            return self._with_history(theta, sliced)
        now, place = _present(), _place(theta)
        version = -1 if theta.is_inference() else theta._version
        known = self._known(theta, now, place, version)
        if known is not None:
            return known
        old_table, old_copy = self._memory(theta)
        table = Table(_differentiable(theta, sliced, old_table), SharedGradient())
        with torch.inference_mode(False):
            if theta.device.type != "cpu":
                copy = None
            elif old_copy is None:
                copy = theta.detach().clone()
            else:
                copy = old_copy.copy_(theta.detach())
        self._kept = _Kept(theta, copy, place, version, table, now)
        return table

    def _known(
        self, theta: torch.Tensor, now: Pass | int | None, place: tuple[Any, ...], version: int
    ) -> Table | None:
        kept = self._kept
        if kept is None or kept.theta is not theta or kept.place != place:
            return None
        if now is not None and kept.seen == now and kept.version == version:
            return kept.table
        if kept.copy is None or not torch.equal(kept.copy, theta):
            return None
        self._kept = kept._replace(version=version, seen=now)
        return kept.table

    def _memory(self, theta: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Return the memory of the table that was kept and of its θ, where nobody reads them.

        Fresh memory costs more than what is written there. Another thread that reads them holds a
        reference, and once they are not kept none can get one.
        """
        kept, self._kept = self._kept, None
        if kept is None or kept.copy is None:
            return None, None
        table, copy = kept.table, kept.copy
        del kept
        if (copy.dtype, copy.device) != (theta.dtype, theta.device) or copy.shape != theta.shape:
            return None, None
        free = not table.saved and sys.getrefcount(table) <= _ALONE
        return table.values if free else None, copy if sys.getrefcount(copy) <= _ALONE else None

    def _with_history(self, theta: torch.Tensor, sliced: SlicedMap) -> Table:
        now = _running.get()
        known = None if now is None else now.of_history.get(id(self))
        if known is None or known[0] is not theta or known[1] != theta._version:
            known = (theta, theta._version, Table(_differentiable(theta, sliced), SharedGradient()))
            if now is not None:
                now.of_history[id(self)] = known
        return known[2]

    def _traced(self, theta: torch.Tensor, sliced: SlicedMap) -> torch.Tensor:
        """Return the table where something looks into operations, kept for a call at most."""
        if torch.compiler.is_compiling():
            if self._compiled is None or self._compiled[0] is not theta:
                table = _differentiable(theta, sliced)
                if not self._compiling:
                    return table
                self._compiled = (theta, table)
            return self._compiled[1]
        now = _running.get()
        if now is None:
            return _differentiable(theta, sliced)
        known = now.tables.get(id(self))
        if known is None or known[0] is not theta:
            known = now.tables[id(self)] = (theta, _differentiable(theta, sliced))
        return known[1]


def _differentiable(
    theta: torch.Tensor, sliced: SlicedMap, memory: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the table of θ, fit for every mode that it may be read in; in given memory if any."""
    with torch.inference_mode(False), torch.enable_grad():
        return sliced.table(theta, memory)


def _place(theta: torch.Tensor) -> tuple[Any, ...]:
    """Return what a table depends on beside the contents of θ."""
    stream = torch.cuda.current_stream(theta.device) if theta.is_cuda else None
    return theta.data_ptr(), theta.device, theta.dtype, theta.requires_grad, stream
