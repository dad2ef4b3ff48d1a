from __future__ import annotations

import json
import math

import pytest

from subspan.errors import InputError
from subspan.estimate import Estimate


def test_ratio_text_and_json() -> None:
    estimate = Estimate(10, 8, 12, 0.95, 40)
    assert estimate.ok
    assert estimate.ratio == 1.5
    assert str(estimate) == "10 [8, 12]"
    assert json.loads(json.dumps(estimate.to_json()))["samples"] == 40


def test_a_count_has_all_its_digits_and_a_rate_four() -> None:
    assert str(Estimate(12_630, 12_470, 12_760, 0.95, 40)) == "12,630 [12,470, 12,760]"
    assert str(Estimate(0.123456, 0.1, 12345.6, 0.95, 40)) == "0.1235 [0.1, 1.235e+04]"


def test_an_unbounded_end_is_none_and_has_no_ratio() -> None:
    estimate = Estimate(None, 64, None, 0.95, 9, "above range")
    assert estimate.ratio is None
    assert str(estimate) == "? [64, inf] (above range)"
    assert "null" in json.dumps(estimate.to_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("value", "low", "high", "confidence"),
    [(5, 6, 7, 0.95), (5, 4, math.inf, 0.95), (math.nan, 1, 2, 0.95), (5, 4, 6, 1.0)],
)
def test_nonsense_is_refused(value: float, low: float, high: float, confidence: float) -> None:
    with pytest.raises(InputError, match="expected"):
        Estimate(value, low, high, confidence, 3)
