"""Products with H, G and J by plain backward passes, where `torch.func` cannot take a module.

Checkpointing, hooks on saved tensors, custom autograd functions of the old form, derivatives in the
inputs, and operations without forward mode are outside `torch.func`; two backward passes in a row
know most of them. J v is the derivative in u of (Jᵀu)·v, which is linear in u.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.func import jvp
from torch.overrides import TorchFunctionMode

from subspan.errors import InputError, invalid
from subspan.problems import structure
from subspan.problems.attention import plain_kernels
from subspan.problems.base import AbstractProblem, Batch

# What PyTorch raises where a transform or a derivative is missing.
FAILURES = (RuntimeError, TypeError, AttributeError, LookupError, ValueError)
_STEP = 1e-5  # of central differences, relative
_ROUGH = 1e-2  # of the largest number: rounding of differences, and no derivative that is wrong
_SAME = 1e-3  # of the largest number: rounding in float32, and no hook that changes a gradient


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Turn what PyTorch raises within into an `InputError` that repeats it."""
    try:
        yield
    except InputError:
        raise
    except FAILURES as error:
        said = next(iter(str(error).splitlines()), type(error).__name__)
        raise invalid(
            "problem",
            expected="a loss that PyTorch differentiates twice by the weights",
            got="one that it does not",
            remedy=f"It said: {said}",
        ) from error


class plain_weight_norm(TorchFunctionMode):
    """Compute `torch._weight_norm` from plain products within.

    Its own second derivative is wrong in PyTorch 2.13, and it has no forward mode.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Return what `func` says of its arguments."""
        if func is torch._weight_norm:
            return _weight_norm(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _weight_norm(v: torch.Tensor, g: torch.Tensor, dim: int = 0) -> torch.Tensor:
    return v * (g / torch.norm_except_dim(v, 2, dim))


def hessian_product(
    problem: AbstractProblem, point: torch.Tensor, batch: Batch, v: torch.Tensor
) -> torch.Tensor:
    """Return H v, (D,), at a point (D,), of the mean loss of a batch."""
    with torch.enable_grad(), plain_kernels():
        w = point.detach().clone().requires_grad_()
        slope = _pull(problem.loss(w, _packed(batch)), w, create_graph=True)
        return _pull(slope, w, v)


def gauss_newton_product(
    network: Any, point: torch.Tensor, batch: Batch, v: torch.Tensor
) -> torch.Tensor:
    """Return Jᵀ B J v, (D,), with B the Hessian of the loss in the outputs."""
    x, y = _packed(batch)
    with torch.enable_grad(), plain_kernels():
        w = point.detach().clone().requires_grad_()
        outputs = network.outputs(w, x)
        moved = push(outputs, w, v)
        z = outputs.detach().clone().requires_grad_()
        slope = _pull(network.loss_of_outputs(z, y), z, create_graph=True)
        return _pull(outputs, w, _pull(slope, z, moved))


def check_differences(problem: AbstractProblem, point: torch.Tensor) -> None:
    """Refuse a problem whose H v by two backward passes is not the difference of its gradients.

    A custom autograd function may have a right first derivative and a wrong second one. Compared in
    float64, on two rows.

    Raises:
        InputError: as said.
    """
    with twice_differentiable():
        exact = problem.to(dtype=torch.float64)
        w = point.to(torch.float64)
        rows = torch.arange(min(2, problem.train_size), device=problem.device)
        v = torch.sin(1.0 + torch.arange(len(w), device=w.device, dtype=w.dtype))
        found = hessian_product(exact, w, exact.batch(rows), v)
        h = _STEP * float(1 + w.norm()) / float(v.norm())
        both = torch.stack([w + h * v, w - h * v])
        gradients = exact.grads(both, exact.batch(rows.expand(2, -1)))[1]
    if not alike(found, (gradients[0] - gradients[1]) / (2 * h), _ROUGH):
        raise invalid(
            "problem",
            expected="a loss whose second derivatives PyTorch knows",
            got="others than the differences of its gradients, as of a custom autograd function",
            remedy="Use plain operations in its place.",
        )


def push(outputs: torch.Tensor, w: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Return J v for outputs that were computed from weights w (D,); differentiable in v."""
    u = torch.zeros_like(outputs, requires_grad=True)
    pulled = _pull(outputs, w, u, create_graph=True)
    return _pull(pulled, u, v, create_graph=True)


def check_hooks(problem: Any, point: torch.Tensor) -> None:
    """Refuse backward hooks that change gradients, which then are no derivatives of the loss.

    Raises:
        InputError: as said; or hooks whose gradients cannot be compared with forward mode's.
    """
    parts = list(problem.module.modules()) if hasattr(problem, "module") else []
    if not any(part._backward_hooks or part._backward_pre_hooks for part in parts):
        return
    x = problem.batch(torch.arange(min(2, problem.train_size), device=problem.device))[0]
    v = torch.sin(torch.arange(len(point), device=point.device, dtype=point.dtype) + 1)
    try:
        forward = jvp(lambda w: problem.outputs(w, x), (point,), (v,))[1]
        with torch.enable_grad():
            w = point.detach().clone().requires_grad_()
            backward = push(problem.outputs(w, x), w, v)
        same = alike(forward, backward)
    except FAILURES:
        same = False
    if not same:
        raise invalid(
            "problem",
            expected="gradients that are derivatives of the loss",
            got="a backward hook that may change them",
            remedy="Remove the hook.",
        )


def alike(one: torch.Tensor, other: torch.Tensor, share: float = _SAME) -> bool:
    """Return whether two tensors are the same but for rounding."""
    largest = torch.maximum(one.abs().max(), other.abs().max())
    return bool((one - other).abs().max() <= share * largest)


def _packed(batch: Any) -> Any:
    """Return a batch laid out in order: some second derivatives take no other."""
    return None if batch is None else structure.mapped(torch.Tensor.contiguous, batch)


def _pull(
    value: torch.Tensor,
    into: torch.Tensor,
    along: torch.Tensor | None = None,
    *,
    create_graph: bool = False,
) -> torch.Tensor:
    if not value.requires_grad:
        return torch.zeros_like(into)
    (pulled,) = torch.autograd.grad(
        value,
        into,
        along,
        create_graph=create_graph,
        retain_graph=True,
        allow_unused=True,
        materialize_grads=True,
    )
    return pulled
