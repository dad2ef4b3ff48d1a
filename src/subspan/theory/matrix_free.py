"""Quadratic wells known only through products with H: d* by Lanczos quadrature."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch

from subspan.errors import invalid
from subspan.streams import normals
from subspan.theory.lanczos import Lanczos, Operator, lanczos
from subspan.theory.mean import MeanEstimate
from subspan.theory.wells import Formula, threshold_from_measures

Measure = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class MatrixFreeWell:
    """What d* of a quadratic well needs to know of H and w₀ − w*, for any level.

    tr f(H) comes from stochastic Lanczos quadrature over random probes, w̃ᵀ f(H) w̃ from Lanczos
    started at the displacement. Build with `MatrixFreeWell.of`.

    Policy for curvature that a well cannot have: negative Ritz values count as flat (zero). Near
    zero needs no cut-off, since κλ/(2ε + κλ) is continuous there. `negative_mass` says how much
    was dropped.

    Attributes:
        ambient_dim: D.
        displacement: the Lanczos run started at w₀ − w*.
        probes: one Lanczos run per random probe.
    """

    ambient_dim: int
    displacement: Lanczos
    probes: tuple[Lanczos, ...]

    @classmethod
    def of(
        cls,
        operator: Operator,
        displacement: torch.Tensor,
        *,
        probes: int = 10,
        steps: int = 80,
        seed: int = 0,
    ) -> MatrixFreeWell:
        """Measure an operator: (probes + 1) · steps products with H.

        Args:
            operator: H ⪰ 0 (see the policy).
            displacement: w₀ − w*, shape (D,), in the same coordinates as H.
            probes: at least 2, for a standard error.
            steps: Lanczos steps per run.
            seed: of the probes.
        """
        if not (isinstance(probes, int) and probes >= 2):
            raise invalid("probes", expected="an integer ≥ 2", got=repr(probes))
        runs = []
        for probe in range(probes):
            start = torch.from_numpy(normals(seed, "probe", probe, count=operator.dim))
            runs.append(lanczos(operator, start, steps))
        return cls(operator.dim, lanczos(operator, displacement, steps), tuple(runs))

    @property
    def negative_mass(self) -> float:
        """Σ|negative λ| / Σ|λ|, estimated over the probes; 0 for a true well."""
        measures = [self._density(run, clip=False) for run in self.probes]
        total = sum(float(np.abs(n) @ w) for n, w in measures)
        negative = sum(float(np.minimum(n, 0) @ w) for n, w in measures)
        return -negative / total if total > 0 else 0.0

    @property
    def drop(self) -> float:
        """½ w̃ᵀHw̃: how far the well's minimum lies below w₀, by the well."""
        nodes, weights = self.displacement.quadrature()
        return 0.5 * float(nodes @ weights)

    @property
    def distance(self) -> float:
        """R = ‖w₀ − w*‖."""
        return self.displacement.start_norm

    def density_measures(self) -> list[Measure]:
        """Return one (nodes, weights) per probe with Σ weight f(node) ≈ tr f(H), unclipped."""
        return [self._density(run, clip=False) for run in self.probes]

    def threshold(
        self, level: float, formula: Formula = "exact", *, confidence: float = 0.95
    ) -> MeanEstimate:
        """Return d* at ε = level above the well's minimum, see `wells.quadratic_threshold`.

        The interval covers the probes' noise, and as `bias` the change of the value when the last
        quarter of the Lanczos steps is left out.
        """
        values = self._values(level, formula, 1.0)
        shorter = self._values(level, formula, 0.75)
        bias = abs(float(values.mean() - shorter.mean()))
        estimate = MeanEstimate.of(values, confidence, bias=bias)
        return _clamped(estimate, self.ambient_dim)

    def _values(self, level: float, formula: Formula, share: float) -> np.ndarray:
        displacement = _clip(_truncate(self.displacement, share).quadrature())
        return np.array(
            [
                threshold_from_measures(
                    self._density(_truncate(run, share), clip=True),
                    displacement,
                    level,
                    formula,
                    total=self.distance**2,
                )
                for run in self.probes
            ]
        )

    def _density(self, run: Lanczos, *, clip: bool) -> Measure:
        nodes, weights = run.quadrature()
        measure = nodes, weights * (self.ambient_dim / weights.sum())
        return _clip(measure) if clip else measure


def _clip(measure: Measure) -> Measure:
    return np.maximum(measure[0], 0.0), measure[1]


def _truncate(run: Lanczos, share: float) -> Lanczos:
    keep = max(1, round(share * len(run.alphas)))
    if keep == len(run.alphas):
        return run
    return Lanczos(
        run.alphas[:keep], run.betas[: keep - 1], float(run.betas[keep - 1]), run.start_norm, None
    )


def _clamped(estimate: MeanEstimate, ambient_dim: int) -> MeanEstimate:
    assert estimate.low is not None
    assert estimate.high is not None
    low, high = max(0.0, estimate.low), min(float(ambient_dim), estimate.high)
    value = min(max(estimate.mean, low), high)
    return dataclasses.replace(estimate, value=value, low=low, high=high)
