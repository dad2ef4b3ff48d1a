"""`MeanEstimate`: the mean of independent draws, with its standard error."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from subspan.errors import check_confidence, invalid
from subspan.estimate import Estimate


@dataclass(frozen=True)
class MeanEstimate(Estimate):
    """An `Estimate` that is a mean; its interval is value ± t · standard error (± any bias).

    Args:
        standard_error: sample standard deviation / √samples.
        bias: half-width added to the interval for errors that averaging does not shrink.
    """

    standard_error: float = 0.0
    bias: float = 0.0

    @property
    def mean(self) -> float:
        """The value, which a mean always has."""
        assert self.value is not None
        return self.value

    @classmethod
    def of(
        cls, values: np.ndarray, confidence: float = 0.95, *, bias: float = 0.0, status: str = "ok"
    ) -> MeanEstimate:
        """Return the mean of independent values, shape (n,), n ≥ 2, with Student's interval."""
        samples = np.asarray(values, dtype=np.float64)
        if samples.ndim != 1 or samples.size < 2:
            raise invalid("values", expected="shape (n,), n ≥ 2", got=f"shape {samples.shape}")
        if not np.isfinite(samples).all():
            raise invalid("values", expected="finite numbers", got="NaN or infinity")
        check_confidence(confidence)
        mean = float(samples.mean())
        error = float(samples.std(ddof=1)) / math.sqrt(samples.size)
        reach = float(student.ppf(0.5 + confidence / 2, samples.size - 1)) * error + bias
        return cls(mean, mean - reach, mean + reach, confidence, samples.size, status, error, bias)
