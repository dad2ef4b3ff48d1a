"""The laws of a `LinearMap`, as one check."""

from __future__ import annotations

from collections.abc import Callable

import torch

from subspan.maps.base import LinearMap
from subspan.streams import normals
from subspan.testing.laws import close, law

MakeMap = Callable[[int, int, int], LinearMap]
_TOLERANCE = 1e-10  # in float64, on numbers of order one


def check_map(
    make: MakeMap,
    dim: int,
    ambient_dim: int,
    *,
    orthonormal: bool = False,
    unit_columns: bool = True,
    full_rank: bool = True,
    column_tolerance: float = 1e-6,
) -> None:
    """Raise `AssertionError` unless a map keeps the laws of `LinearMap`.

    Args:
        make: (dim, ambient_dim, seed) → a float64 map on the CPU.
        dim: d.
        ambient_dim: D; d · D numbers are made.
        orthonormal: whether AᵀA = I is claimed.
        unit_columns: whether unit column norms are claimed.
        full_rank: whether rank d is claimed.
        column_tolerance: on column norms and on AᵀA; the entries of a map are float32 numbers.
    """
    a = make(dim, ambient_dim, 0)
    law(a.dim == dim and a.ambient_dim == ambient_dim, "dim and ambient_dim are as asked for")
    law(a.dtype == torch.float64, "the map is in float64")
    theta = _normals("theta", 3, dim)
    v = _normals("v", 3, ambient_dim)
    dense = a.dense()
    law(dense.shape == (ambient_dim, dim), "dense() has shape (D, d)")
    image, pulled = a(theta), a.adjoint(v)
    law(image.shape == v.shape and pulled.shape == theta.shape, "(..., d) → (..., D) and back")
    _close(image, theta @ dense.T, "A(θ) = dense() @ θ")
    _close(pulled, v @ dense, "Aᵀ(v) = dense()ᵀ @ v")
    _close((image * v).sum(), (theta * pulled).sum(), "⟨Aθ, v⟩ = ⟨θ, Aᵀv⟩")
    _close(a(theta[0]), image[0], "one θ gives what it gives in a batch")
    _close(a(theta[None]), image[None], "any number of leading axes")

    leaf = theta.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((a(leaf) * v).sum(), leaf)
    _close(gradient, pulled, "backward is the adjoint")
    leaf = v.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((a.adjoint(leaf) * theta).sum(), leaf)
    _close(gradient, image, "the adjoint's backward is the map")
    _close(torch.func.vmap(a)(theta), image, "vmap over θ")
    tangent = torch.func.jvp(a, (theta,), (2 * theta,))[1]
    _close(tangent, 2 * image, "jvp is the map")

    held: list[torch.Tensor] = []

    def keep(saved: torch.Tensor) -> torch.Tensor:
        held.append(saved)
        return saved

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved):
        a(theta.clone().requires_grad_())
        a.adjoint(v.clone().requires_grad_())
    law(not held, "autograd stores nothing: a linear map's backward needs nothing of the forward")

    norms = dense.norm(dim=0)
    if unit_columns:
        worst = float((norms - 1).abs().max())
        law(worst < column_tolerance, f"unit columns (off by {worst:.1e})")
    if orthonormal:
        worst = float((dense.T @ dense - torch.eye(dim, dtype=dense.dtype)).abs().max())
        law(worst < column_tolerance, f"orthonormal columns (off by {worst:.1e})")
    if full_rank:
        law(int(torch.linalg.matrix_rank(dense)) == dim, "rank d")

    again, other = make(dim, ambient_dim, 0), make(dim, ambient_dim, 1)
    law(torch.equal(again.dense(), dense), "the same seed gives the same bits")
    law(again.checksum() == a.checksum(), "the same seed gives the same checksum")
    digits = len(a.checksum()) == 32 and set(a.checksum()) <= set("0123456789abcdef")
    law(digits, "a checksum is 32 hex digits")
    if ambient_dim > 4:
        law(other.checksum() != a.checksum(), "another seed gives another checksum")
    single = a.to(dtype=torch.float32)
    law(single.dtype == torch.float32, "to(dtype) casts")
    law(single.checksum() == a.checksum(), "the checksum does not depend on the dtype")
    worst = float((single.dense().double() - dense).abs().max())
    law(
        worst < 1e-5 * float(dense.abs().max()),
        f"to(dtype) casts the same map (off by {worst:.1e})",
    )


def _normals(name: str, *shape: int) -> torch.Tensor:
    count = int(torch.Size(shape).numel())
    return torch.from_numpy(normals(0, "conformance", name, count=count)).reshape(shape)


def _close(one: torch.Tensor, other: torch.Tensor, text: str) -> None:
    close(one, other, text, _TOLERANCE)
