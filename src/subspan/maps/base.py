"""`LinearMap`: A: R^d → R^D, never stored dense where that can be helped."""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable
from typing import Any, Protocol, Self

import torch
from torch.autograd import forward_ad

from subspan.errors import invalid


def traced() -> bool:
    """Whether something looks into operations: a compiler, `torch.func` or forward mode."""
    return (
        torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
    )


def looked_into(tensor: torch.Tensor) -> bool:
    """Whether `traced`, or the tensor stands for many, as in `is_grads_batched=True`."""
    return traced() or torch._C._functorch.is_legacy_batchedtensor(tensor)


def at_full_precision(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a backward pass, which may run within a user's autocast."""

    @functools.wraps(backward)
    def unrounded(ctx: Any, *grads: torch.Tensor) -> Any:
        with torch.autocast(grads[0].device.type, enabled=False):
            return backward(ctx, *grads)

    return unrounded


class Linear(Protocol):
    """A linear operation and its adjoint on the last axis, outside autograd."""

    def _forward(self, theta: torch.Tensor) -> torch.Tensor: ...

    def _adjoint(self, v: torch.Tensor) -> torch.Tensor: ...


def applied(x: torch.Tensor, operation: Linear, transpose: bool) -> torch.Tensor:
    """Return A x, or Aᵀ x. Differentiable; autograd stores nothing."""
    result: torch.Tensor = _Apply.apply(x, operation, transpose)
    return result


class _Apply(torch.autograd.Function):
    """x → A x or Aᵀ x. Linear, so backward and jvp need nothing from the forward pass."""

    generate_vmap_rule = False

    @staticmethod
    def forward(x: torch.Tensor, linear_map: Linear, transpose: bool) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return linear_map._adjoint(x) if transpose else linear_map._forward(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        _, ctx.linear_map, ctx.transpose = inputs

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return _Apply.apply(grads[0], ctx.linear_map, not ctx.transpose), None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> torch.Tensor:
        return _Apply.apply(tangents[0], ctx.linear_map, ctx.transpose)

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        x: torch.Tensor,
        linear_map: Linear,
        transpose: bool,
    ) -> tuple[torch.Tensor, int]:
        return _Apply.apply(x.movedim(in_dims[0] or 0, 0), linear_map, transpose), 0


class LinearMap(abc.ABC):
    """A linear map A: R^d → R^D, made from a seed.

    Laws (`subspan.testing.map_conformance`): ⟨Aθ, v⟩ = ⟨θ, Aᵀv⟩; A(θ) = `dense()` @ θ; rank d;
    the stated column norms; the same `checksum()` on every device and in every release.

    A new map supplies `_forward`, `_adjoint` and `to`, and inherits the rest.

    Attributes:
        dim: d, the training dimension, 1 ≤ d ≤ D.
        ambient_dim: D.
        device: where the map's own tensors live.
        dtype: of inputs and outputs.
    """

    dim: int
    ambient_dim: int
    device: torch.device
    dtype: torch.dtype

    @classmethod
    def revision(cls, dim: int) -> int:
        """Return how often the bits of maps of so many dims changed since trials are stored.

        Part of a trial's key where it is not 0: a record of other bits is another trial's.
        """
        return 0

    @abc.abstractmethod
    def _forward(self, theta: torch.Tensor) -> torch.Tensor:
        """Map theta (..., d) to (..., D), outside autograd."""

    @abc.abstractmethod
    def _adjoint(self, v: torch.Tensor) -> torch.Tensor:
        """Map v (..., D) to (..., d), outside autograd."""

    @abc.abstractmethod
    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Return this map on another device or in another dtype: the same bits, cast."""

    @abc.abstractmethod
    def checksum(self) -> str:
        """Return 32 hex digits that fix the map: the same on every device and in every release."""

    def __call__(self, theta: torch.Tensor) -> torch.Tensor:
        """Return A θ, (..., d) → (..., D). Differentiable; autograd stores nothing."""
        _check_input("theta", theta, self.dim, self.dtype)
        return applied(theta, self, False)

    def adjoint(self, v: torch.Tensor) -> torch.Tensor:
        """Return Aᵀ v, (..., D) → (..., d). Differentiable; autograd stores nothing."""
        _check_input("v", v, self.ambient_dim, self.dtype)
        return applied(v, self, True)

    def dense(self) -> torch.Tensor:
        """Return A itself, shape (D, d). For tests and small D: it costs D·d numbers."""
        eye = torch.eye(self.dim, dtype=self.dtype, device=self.device)
        return self._forward(eye).T.contiguous()


def check_dims(dim: int, ambient_dim: int, *, least: int = 1) -> None:
    """Refuse a training dimension outside 1 … D, or outside 0 … D where 0 is legal."""
    for name, value in (("dim", dim), ("ambient_dim", ambient_dim)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise invalid(name, expected="an integer", got=repr(value))
    if ambient_dim < 1:
        raise invalid("ambient_dim", expected="1 or more", got=ambient_dim)
    if not least <= dim <= ambient_dim:
        raise invalid(
            "dim",
            expected=f"a training dimension in {least} … {ambient_dim} (the ambient dimension D)",
            got=dim,
            remedy=f"Choose d between {least} and the number of weights.",
        )


def _check_input(name: str, x: torch.Tensor, size: int, dtype: torch.dtype) -> None:
    if not isinstance(x, torch.Tensor):
        raise invalid(name, expected="a tensor", got=type(x).__name__)
    if x.ndim < 1 or x.shape[-1] != size:
        raise invalid(name, expected=f"shape (..., {size})", got=f"shape {tuple(x.shape)}")
    if x.dtype != dtype:
        raise invalid(
            name,
            expected=f"{dtype}, the map's",
            got=str(x.dtype),
            remedy="Cast it, or map.to(dtype=…).",
        )
