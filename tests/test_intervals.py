from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from subspan.errors import InputError
from subspan.intervals import binomial_interval


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_interval_equals_scipys_exact_interval(confidence: float) -> None:
    cases = [(k, n) for n in (1, 2, 7, 30) for k in range(n + 1)]
    low, high = binomial_interval(*np.array(cases).T, confidence)
    for i, (k, n) in enumerate(cases):
        exact = stats.binomtest(k, n).proportion_ci(confidence, method="exact")
        assert low[i] == pytest.approx(exact.low, abs=1e-9)
        assert high[i] == pytest.approx(exact.high, abs=1e-9)


def test_no_trials_say_nothing() -> None:
    low, high = binomial_interval(0, 0)
    assert (float(low), float(high)) == (0.0, 1.0)


@pytest.mark.parametrize(("k", "n", "c"), [(3, 2, 0.95), (-1, 2, 0.95), (1, 2, 1.0)])
def test_bad_counts_are_refused(k: int, n: int, c: float) -> None:
    with pytest.raises(InputError, match="expected"):
        binomial_interval(k, n, c)
