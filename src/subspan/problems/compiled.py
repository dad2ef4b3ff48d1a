"""Gradients by `torch.compile`, where what is measured at the start says that it pays.

A gradient, a function of all D weights and a batch, is traced to plain tensor operations and
compiled once for its shape: no map and no d is in it. On a CPU it is that of one trial; on a GPU
that of a whole ensemble, as one batched program in CUDA graphs. Compiled and plain gradients differ
in their last bits, so a spec says whether it is allowed, and a record which was taken.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import statistics
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.func import grad_and_value, vmap

from subspan.problems import structure
from subspan.problems.precision import full_precision
from subspan.problems.structure import Tensors

Grads = Callable[[torch.Tensor, Tensors], tuple[torch.Tensor, torch.Tensor]]
"""Weights (K, D) and a batch with leading K → losses (K,), gradients (K, D)."""

INDUCTOR = "inductor"
_START, _EACH = 20.0, 0.15  # seconds that compiling takes, and for each call of a gradient
_SAVED = 0.2  # of a step's gradients, what compiling is taken to save: 0.12 to 0.53 were measured
_FURTHER = 4.0  # times as far from float64 as the plain gradient that a compiled one may lie
_LAST_BITS = 100.0  # and so many units of its dtype's last place, where the plain one is nearer
_TURNS, _SECONDS = 25, 1.0  # of a measurement, at most; at least three turns


@dataclass(frozen=True)
class Compilation:
    """What was found and decided at the start, as a record keeps it.

    Args:
        taken: whether gradients are compiled.
        why: in words.
        steps: that were ahead in one process, each of as many trials as it advances at once.
        likely: seconds that compiling was taken to cost, of the calls that a gradient makes.
        plain_ms: milliseconds of a plain step's gradients, median; None: not measured.
        compiled_ms: those of a compiled one.
        seconds: that compiling took. All these are the processor's on a CPU, else the clock's.
        ensemble: trials of a batched program; None: it takes them one by one.
    """

    taken: bool
    why: str
    steps: int = 0
    likely: float | None = None
    plain_ms: float | None = None
    compiled_ms: float | None = None
    seconds: float | None = None
    ensemble: int | None = None

    @property
    def serves(self) -> float:
        """The largest ensemble that was decided about."""
        return math.inf if self.ensemble is None else self.ensemble

    def worth_trying(self, steps: int) -> bool:
        """Whether so many plain steps take so long that compiling is likely to make up for it."""
        assert self.plain_ms is not None
        assert self.likely is not None
        return steps * self.plain_ms / 1e3 * _SAVED >= self.likely

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data, without what was not measured."""
        return {k: v for k, v in dataclasses.asdict(self).items() if v is not None}


class CompiledGrads:
    """Gradients of trials by one compiled program: one after another, or all together.

    One after another, what a trial gets does not depend on the trials beside it. Together, shapes
    are fixed: an ensemble of at least half as many trials is filled up with copies of its last.

    Args:
        loss: of weights (D,) and a batch.
        weights: (K, D), some, that give the shape.
        batch: with leading K.
        backend: of `torch.compile`.
        together: whether the program takes all K trials as one batch.

    Raises:
        Exception: of any kind, where the loss cannot be traced or compiled.
    """

    def __init__(
        self,
        loss: Callable[[torch.Tensor, Tensors], torch.Tensor],
        weights: torch.Tensor,
        batch: Tensors,
        backend: str = INDUCTOR,
        *,
        together: bool = False,
    ) -> None:
        from torch.fx.experimental.proxy_tensor import make_fx

        example = structure.row(batch, 0)
        self._shape = _shape(weights, batch)

        def one(w: torch.Tensor, *tensors: torch.Tensor) -> torch.Tensor:
            return loss(w, structure.rebuilt(example, iter(tensors)))

        gradient = grad_and_value(one)
        if together:
            gradient, inputs = vmap(gradient), [weights.detach(), *structure.leaves(batch)]
        else:
            inputs = [weights[0].detach(), *structure.leaves(example)]
        self._layouts = [(t.shape, t.stride()) for t in inputs] if together else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph = make_fx(gradient)(*inputs)
        self.calls = sum(node.op == "call_function" for node in graph.graph.nodes)
        how = _how(weights.device, backend)
        self._graphs = "mode" in how
        self._program = torch.compile(graph, fullgraph=True, dynamic=False, backend=backend, **how)

    def fits(self, weights: torch.Tensor, batch: Tensors) -> bool:
        """Whether it was compiled for such weights and rows: others would be compiled anew."""
        if self._layouts is not None:
            most = self._layouts[0][0][0]
            if not len(weights) <= most <= 2 * len(weights):
                return False
        return _shape(weights, batch) == self._shape

    def __call__(self, weights: torch.Tensor, batch: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
        """Return losses (K,) and gradients (K, D)."""
        with torch.no_grad():
            if self._layouts is not None:
                inputs = [weights.detach(), *structure.leaves(batch)]
                given = map(_filled_up, inputs, self._layouts)
                gradient, loss = self._run(*given)
                return loss[: len(weights)], gradient[: len(weights)]
            gradients, losses = [], []
            for k, row in enumerate(weights.detach()):
                gradient, loss = self._run(row, *structure.leaves(structure.row(batch, k)))
                gradients.append(gradient)
                losses.append(loss)
            if len(gradients) == 1:
                return losses[0][None], gradients[0][None]
            return torch.stack(losses), torch.stack(gradients)

    def _run(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if not self._graphs:
            gradient, loss = self._program(*inputs)
            return gradient, loss
        torch.compiler.cudagraph_mark_step_begin()
        gradient, loss = self._program(*inputs)
        return gradient.clone(), loss.clone()  # the next call writes over what a graph returned


def _how(device: torch.device, backend: str) -> dict[str, Any]:
    """Return what `torch.compile` is told besides: on an NVIDIA GPU, to replay CUDA graphs."""
    if backend != INDUCTOR:
        return {}
    if device.type == "cuda":
        return {"mode": "reduce-overhead"}
    # A pool of compiling processes has a thread here, beside which no worker should be forked.
    return {"options": {"compile_threads": 1}}


def _filled_up(tensor: torch.Tensor, layout: tuple[torch.Size, tuple[int, ...]]) -> torch.Tensor:
    """Return a tensor with copies of its last row behind it, to a shape (K, ...) and strides."""
    shape, strides = layout
    if (tensor.shape, tensor.stride()) == layout:
        return tensor
    if not strides[0]:
        return tensor[:1].expand(shape)
    full = tensor.new_empty_strided(shape, strides)
    full[: len(tensor)] = tensor
    full[len(tensor) :] = tensor[-1:]
    return full


@full_precision()
def decide(
    make: Callable[[], CompiledGrads],
    plain: Grads,
    exact: Grads,
    sample: tuple[torch.Tensor, Tensors],
    steps: int,
    settled: bool | None = None,
) -> tuple[CompiledGrads | None, Compilation]:
    """Measure what compiled gradients save, and say whether to take them.

    Compiling is not tried where what is ahead is not likely to make up for it. Once it is done its
    seconds are spent, and the quicker way is taken.

    Args:
        make: traces and prepares them.
        plain: gradients as they are without.
        exact: the same in float64.
        sample: weights (K, D) and a batch, others than those that were traced with.
        steps: that are ahead in this process, each of as many trials as the sample has.
        settled: what was decided before, for trials that these go on from; None: nothing.

    Returns:
        The compiled gradients, None where they are not taken; and what was found.
    """
    if settled is False:
        return None, Compilation(False, "not taken by the records that these trials go on from")
    try:
        weights, batch = sample
        found = Compilation(False, "", steps)
        plain_ms = milliseconds({"plain": lambda: plain(weights, batch)}, weights.device)["plain"]
        found = dataclasses.replace(found, plain_ms=plain_ms)
        compiled = make()
        found = dataclasses.replace(found, likely=round(_START + _EACH * compiled.calls, 1))
        if settled is None and not found.worth_trying(steps):
            ahead = steps * plain_ms / 1e3
            why = f"{ahead:.3g} s of gradients ahead, and compiling takes some {found.likely:.3g}"
            return None, dataclasses.replace(found, why=why)
        start = _now(weights.device)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compiled(weights, batch)
        found = dataclasses.replace(found, seconds=round(_now(weights.device) - start, 3))
        if not _agrees(compiled(weights, batch)[1], plain(weights, batch)[1], exact, sample):
            return None, dataclasses.replace(found, why="compiled gradients are other numbers")
        ways: dict[str, Grads] = {"plain": plain, "compiled": compiled}
        turned = milliseconds(
            {name: functools.partial(way, weights, batch) for name, way in ways.items()},
            weights.device,
        )
        found = dataclasses.replace(found, plain_ms=turned["plain"], compiled_ms=turned["compiled"])
        if settled is None and turned["compiled"] >= turned["plain"]:
            return None, dataclasses.replace(found, why="compiled gradients are no quicker")
        why = "quicker" if settled is None else "taken by the records that these trials go on from"
        return compiled, dataclasses.replace(found, taken=True, why=why)
    except Exception as error:  # no C++ compiler, what nobody can trace: plain PyTorch still trains
        told = str(error).strip().splitlines()[:1]
        why = f"cannot: {type(error).__name__}: {''.join(told)}"
        return None, dataclasses.replace(found, taken=False, why=why)


def _agrees(
    compiled: torch.Tensor, plain: torch.Tensor, exact: Grads, sample: tuple[torch.Tensor, Tensors]
) -> bool:
    """Whether compiled gradients are about as near to float64's as plain ones are."""
    true = exact(*sample)[1]
    allowed = _FURTHER * (plain - true).norm() + (
        _LAST_BITS * torch.finfo(plain.dtype).eps * true.norm()
    )
    return bool((compiled - true).norm() <= allowed)


def milliseconds(
    ways: Mapping[str, Callable[[], object]], device: torch.device
) -> dict[str, float]:
    """Return the median milliseconds of ways that take turns; a first turn warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    begun = time.perf_counter()
    for turn in range(_TURNS + 1):
        for name, way in ways.items():
            start = _now(device)
            way()
            if turn:
                seconds[name].append(_now(device) - start)
        if turn >= 3 and time.perf_counter() - begun > _SECONDS:
            break
    return {name: round(1e3 * statistics.median(own), 4) for name, own in seconds.items()}


def _now(device: torch.device) -> float:
    """Seconds of the processor, of this process and of compilers that it ran; else of the clock."""
    if device.type == "cpu":
        children = os.times()
        return time.process_time() + children.children_user + children.children_system
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _shape(weights: torch.Tensor, batch: Tensors) -> tuple[object, ...]:
    """Return what one trial's weights and batch are like, but for their numbers."""
    leaves = [t[0] for t in structure.leaves(batch)]
    return (
        weights.shape[1:],
        weights.dtype,
        *((t.shape, t.stride(), t.dtype) for t in leaves),
    )
