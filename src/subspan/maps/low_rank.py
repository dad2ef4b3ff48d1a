"""`LowRankMap`: ΔW = B A, A fixed and random, B trained: low-rank updates that are affine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

import torch

from subspan.canonical import tensor_digest
from subspan.errors import invalid
from subspan.maps.base import LinearMap, check_dims
from subspan.streams import normals


class Matrix(NamedTuple):
    """Where one weight matrix (out, fan_in), row-major, lies in the flat weight vector."""

    start: int
    out: int
    fan_in: int


class LowRankMap(LinearMap):
    """θ → the flat vector of ΔW_l = B_l A_l over all matrices l; zero on all other weights.

    B_l (out_l, r_l) holds the coordinates, row-major, matrix after matrix; A_l (r_l, fan_in_l) is
    fixed, random, with unit rows, r_l = min(rank, fan_in_l). Training both factors (LoRA; Hu et
    al., 2022) is not linear in the trained numbers; freezing A (LoRA-FA; Zhang et al., 2023) is.
    Columns of this map have unit norm; those of different rows of a matrix are orthogonal.

    Args:
        matrices: where the weight matrices lie.
        factors: A_l of each, shape (r_l, fan_in_l).
        ambient_dim: D.
    """

    def __init__(
        self, matrices: Sequence[Matrix], factors: Sequence[torch.Tensor], ambient_dim: int
    ) -> None:
        if not matrices:
            raise invalid("matrices", expected="at least one weight matrix", got="none")
        self.matrices, self.factors = tuple(matrices), tuple(factors)
        self._sizes = [m.out * len(a) for m, a in zip(matrices, factors, strict=True)]
        self.dim, self.ambient_dim = sum(self._sizes), ambient_dim
        check_dims(self.dim, ambient_dim)
        self.device, self.dtype = factors[0].device, factors[0].dtype

    @classmethod
    def random(
        cls,
        matrices: Sequence[Matrix],
        rank: int,
        ambient_dim: int,
        seed: int,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> LowRankMap:
        """Draw the fixed factors from a seed."""
        factors = []
        for i, m in enumerate(matrices):
            r = min(rank, m.fan_in)
            draw = normals(seed, "low-rank", i, count=r * m.fan_in).reshape(r, m.fan_in)
            unit = torch.from_numpy(draw / (draw**2).sum(1, keepdims=True) ** 0.5)
            factors.append(unit.to(torch.float32).to(device, dtype))
        return cls(matrices, factors, ambient_dim)

    def _forward(self, theta: torch.Tensor) -> torch.Tensor:
        lead = theta.shape[:-1]
        out = theta.new_zeros(*lead, self.ambient_dim)
        parts = theta.split(self._sizes, dim=-1)
        for m, a, part in zip(self.matrices, self.factors, parts, strict=True):
            update = part.reshape(*lead, m.out, len(a)) @ a
            out[..., m.start : m.start + m.out * m.fan_in] = update.reshape(*lead, -1)
        return out

    def _adjoint(self, v: torch.Tensor) -> torch.Tensor:
        lead = v.shape[:-1]
        parts = []
        for m, a in zip(self.matrices, self.factors, strict=True):
            block = v[..., m.start : m.start + m.out * m.fan_in].reshape(*lead, m.out, m.fan_in)
            parts.append((block @ a.T).reshape(*lead, -1))
        return torch.cat(parts, dim=-1)

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Return this map on another device or in another dtype."""
        moved = [a.to(device or self.device, dtype or self.dtype) for a in self.factors]
        return type(self)(self.matrices, moved, self.ambient_dim)

    def checksum(self) -> str:
        """Return a hash of where the matrices lie and of the fixed factors."""
        places = torch.tensor(self.matrices, dtype=torch.int64)
        return tensor_digest(places, *(a.to(torch.float32) for a in self.factors))


def matrices_of(shapes: dict[str, tuple[int, ...]], starts: dict[str, int]) -> list[Matrix]:
    """Return the weight matrices among named tensors; a kernel (out, in, …) is (out, in · …)."""
    return [
        Matrix(starts[name], shape[0], math.prod(shape[1:]))
        for name, shape in shapes.items()
        if len(shape) > 1
    ]
