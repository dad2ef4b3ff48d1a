"""Quadratic wells known only through products with H: d* by Lanczos quadrature."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from subspan.errors import whole
from subspan.streams import normals
from subspan.theory.arrays import ArrayLike
from subspan.theory.lanczos import Lanczos, Operator, lanczos
from subspan.theory.mean import MeanEstimate
from subspan.theory.wells import Formula, threshold_from_measures

Measure = tuple[np.ndarray, np.ndarray]
Rule = Callable[[Lanczos], Measure]
_UNRESOLVED = 0.1  # share of d* that the Lanczos steps may leave open


@dataclass(frozen=True)
class MatrixFreeWell:
    """What d* of a quadratic well needs to know of H and w₀ − w*, for any level.

    tr f(H) comes from stochastic Lanczos quadrature over random probes, w̃ᵀ f(H) w̃ from Lanczos
    started at the displacement. Build with `MatrixFreeWell.of`.

    Policy for curvature that a well cannot have: negative Ritz values count as flat (zero). Near
    zero needs no cut-off, since κλ/(2ε + κλ) is continuous there. `negative_mass` and
    `negative_displacement` say how much was dropped of the trace and of w̃ᵀHw̃.

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
        displacement: ArrayLike,
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
            steps: Lanczos steps per run, at least 1.
            seed: of the probes.

        Raises:
            InputError: an argument is out of range, the displacement is 0 or of another shape than
                (D,), or a product with H is not finite.
        """
        probes, seed = whole("probes", probes, low=2), whole("seed", seed)
        runs = []
        for probe in range(probes):
            start = torch.from_numpy(normals(seed, "probe", probe, count=operator.dim))
            runs.append(lanczos(operator, start, steps))
        return cls(operator.dim, lanczos(operator, displacement, steps), tuple(runs))

    @property
    def negative_mass(self) -> float:
        """Σ|negative λ| / Σ|λ|, estimated over the probes; 0 for a true well."""
        measures = self.density_measures()
        total = sum(float(np.abs(n) @ w) for n, w in measures)
        negative = sum(float(np.minimum(n, 0) @ w) for n, w in measures)
        return max(0.0, -negative / total) if total > 0 else 0.0

    @property
    def drop(self) -> float:
        """½ w̃ᵀH₊w̃: how far the well's minimum lies below w₀, negative curvature taken as flat.

        H₊ as in `threshold`, so that d* = 0 exactly where ε is at or above the drop.
        """
        nodes, weights = _clip(self.displacement.quadrature())
        return 0.5 * float(nodes @ weights)

    @property
    def negative_displacement(self) -> float:
        """Share of w̃ᵀ|H|w̃ that lies along negative curvature, which the drop leaves out."""
        nodes, weights = self.displacement.quadrature()
        total = float(np.abs(nodes) @ weights)
        return max(0.0, -float(np.minimum(nodes, 0) @ weights) / total) if total > 0 else 0.0

    @property
    def distance(self) -> float:
        """R = ‖w₀ − w*‖."""
        return self.displacement.start_norm

    def density_measures(self) -> list[Measure]:
        """Return one (nodes, weights) per probe with Σ weight f(node) ≈ tr f(H), unclipped."""
        return [self._scaled(run.quadrature()) for run in self.probes]

    def threshold(
        self, level: float, formula: Formula = "exact", *, confidence: float = 0.95
    ) -> MeanEstimate:
        """Return d* at ε = level above the well's minimum, see `wells.quadratic_threshold`.

        The value is that of Gauss quadrature, which for H ⪰ 0 lies above the exact one but for the
        probes' noise. The same with Gauss–Radau quadrature lies below: their difference is `bias`,
        and the interval reaches from the lower, less its noise, to the upper, plus its noise. Where
        it is above a tenth of the value (of 1, if that is less) the status is `"not resolved"`: the
        value is then the upper end of what the Lanczos steps leave open, and more `steps` close it.

        Raises:
            InputError: ε is not above 0, the formula is unknown or the confidence not in (0, 1).
        """
        upper = MeanEstimate.of(self._values(level, formula, Lanczos.quadrature), confidence)
        lower = MeanEstimate.of(self._values(level, formula, Lanczos.radau), confidence)
        bias = max(0.0, upper.mean - lower.mean)
        low = min(v for v in (upper.low, lower.low) if v is not None)
        status = "ok" if bias <= _UNRESOLVED * max(upper.mean, 1.0) else "not resolved"
        found = dataclasses.replace(upper, low=low, bias=bias, status=status)
        return _clamped(found, self.ambient_dim)

    def _values(self, level: float, formula: Formula, rule: Rule) -> np.ndarray:
        displacement = _clip(rule(self.displacement))
        return np.array(
            [
                threshold_from_measures(
                    _clip(self._scaled(rule(run))),
                    displacement,
                    level,
                    formula,
                    total=self.distance**2,
                )
                for run in self.probes
            ]
        )

    def _scaled(self, measure: Measure) -> Measure:
        nodes, weights = measure
        return nodes, weights * (self.ambient_dim / weights.sum())


def _clip(measure: Measure) -> Measure:
    return np.maximum(measure[0], 0.0), measure[1]


def _clamped(estimate: MeanEstimate, ambient_dim: int) -> MeanEstimate:
    assert estimate.low is not None
    assert estimate.high is not None
    low, high = max(0.0, estimate.low), min(float(ambient_dim), estimate.high)
    value = min(max(estimate.mean, low), high)
    return dataclasses.replace(estimate, value=value, low=low, high=high)
