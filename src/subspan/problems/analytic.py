"""`Quadratic`: the quadratic well, where the threshold has a closed form."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch

from subspan.canonical import tensor_digest
from subspan.errors import invalid
from subspan.maps.base import LinearMap
from subspan.problems import devices
from subspan.problems.base import AbstractProblem, Batch, Evaluation
from subspan.spec import TrainSpec
from subspan.streams import normals

Vector = Sequence[float] | np.ndarray | torch.Tensor


class Quadratic(AbstractProblem):
    """L(w) = ½ Σ λ_i w_i², in the eigenbasis and with the minimum at 0.

    Args:
        eigenvalues: λ, shape (D,), non-negative. Default: 300 of them, log-uniform in [10⁻⁴, 1].
        displacement: w₀ − w* in the eigenbasis, shape (D,). Default: random, of norm 3.
        name: for records.

    Raises:
        InputError: shapes differ, or a number is negative, NaN or infinite.
    """

    def __init__(
        self,
        eigenvalues: Vector | None = None,
        displacement: Vector | None = None,
        *,
        name: str = "quadratic",
    ) -> None:
        lam = (
            np.logspace(-4, 0, 300) if eigenvalues is None else _vector("eigenvalues", eigenvalues)
        )
        if displacement is None:
            direction = normals(0, "quadratic", "displacement", count=len(lam))
            displacement = 3.0 * direction / np.linalg.norm(direction)
        start = _vector("displacement", displacement)
        if (lam < 0).any():
            raise invalid("eigenvalues", expected="none below 0", got=f"a least of {lam.min():g}")
        if lam.shape != start.shape:
            raise invalid(
                "displacement",
                expected=f"shape ({len(lam)},) as eigenvalues",
                got=f"({len(start)},)",
            )
        self.name = name
        self.ambient_dim, self.train_size = len(lam), 0
        self.device, self.dtype = torch.device("cpu"), torch.float64
        self.eigenvalues, self.displacement = torch.from_numpy(lam), torch.from_numpy(start)
        self.identity: dict[str, Any] = {
            "name": name,
            "kind": "quadratic",
            "data": tensor_digest(self.eigenvalues, self.displacement),
        }
        self.default_spec = TrainSpec(optimizer="exact", batch_size=None, dtype="float64")

    def init(self, seed: int) -> torch.Tensor:
        """Return w₀: the displacement, whatever the seed."""
        return self.displacement.to(self.device, self.dtype, copy=True)

    def batch(self, indices: torch.Tensor | None = None, split: str = "train") -> Batch:
        """Return None: there is no data."""
        return None

    def loss(self, weights: torch.Tensor, batch: Batch = None) -> torch.Tensor:
        """Return ½ Σ λ_i w_i² of weights (D,), shape ()."""
        return 0.5 * (self.eigenvalues * weights * weights).sum(-1)

    def evaluate_many(self, weights: torch.Tensor, split: str = "train") -> list[Evaluation]:
        """Evaluate each row of weights (K, D); there is no accuracy."""
        return [Evaluation(float(value), math.nan) for value in self.loss(weights)]

    def minimum(self) -> torch.Tensor:
        """Return w* (D,), where the loss is least: 0."""
        return torch.zeros_like(self.displacement)

    def minimum_in_subspace(self, offset: torch.Tensor, linear_map: LinearMap) -> torch.Tensor:
        """Return the minimising θ (d,) of L(offset + A θ), by least squares in float64."""
        root = self.eigenvalues.double().sqrt().cpu()
        columns = root[:, None] * linear_map.to("cpu", torch.float64).dense()
        target = -(root * offset.double().cpu())
        return torch.linalg.lstsq(columns, target[:, None], driver="gelsd").solution[:, 0]

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Return this problem on another device or in another dtype.

        Raises:
            InputError: the device is not there.
        """
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__)
        new.device, new.dtype = devices.find(device or self.device), dtype or self.dtype
        new.eigenvalues = self.eigenvalues.to(new.device, new.dtype)
        new.displacement = self.displacement.to(new.device, new.dtype)
        return new


def _vector(name: str, values: Vector) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().numpy()
    array = np.array(values, dtype=np.float64)
    if array.ndim != 1 or not array.size:
        raise invalid(name, expected="a vector (D,), D ≥ 1", got=f"shape {array.shape}")
    if not np.isfinite(array).all():
        raise invalid(name, expected="finite numbers", got="NaN or infinity")
    return array
