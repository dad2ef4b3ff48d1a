import math

import numpy as np
import pytest
from scipy import stats

from subspan.comparison import holm, paired_test
from subspan.comparison.paired import mean_interval
from subspan.errors import InputError
from subspan.streams import stream


def test_it_is_scipys_paired_test() -> None:
    rng = stream(0, "paired")
    a, b = rng.normal(size=9), rng.normal(0.7, 1, size=9)
    ours, theirs = paired_test(a - b, 0.9), stats.ttest_rel(a, b)
    interval = theirs.confidence_interval(0.9)
    assert ours.p == pytest.approx(theirs.pvalue)
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high))
    assert ours.mean == pytest.approx((a - b).mean())
    assert ours.pairs == 9


def test_equal_differences_and_too_few() -> None:
    assert paired_test([0.0, 0.0, 0.0]).p == 1.0
    assert paired_test([0.1, 0.1, 0.1]).p == 0.0
    single = paired_test([0.3])
    assert single.mean == 0.3
    assert math.isnan(single.p)
    assert math.isnan(single.low)
    assert math.isnan(paired_test([]).mean)
    with pytest.raises(InputError, match="finite"):
        paired_test([0.1, math.nan])
    with pytest.raises(InputError, match="confidence"):
        paired_test([0.1, 0.2], 1.0)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    adjusted = holm([math.nan, 0.01, 0.02])
    assert math.isnan(adjusted[0])
    assert adjusted[1:] == pytest.approx([0.02, 0.02])
    assert holm([]) == []


def test_a_family_without_effects_is_rarely_called_different() -> None:
    rng = stream(0, "holm")
    wrong = sum(
        min(holm([paired_test(rng.normal(size=5)).p for _ in range(10)])) <= 0.05
        for _ in range(400)
    )
    assert wrong <= 33  # 20 expected at most; 33 is three standard deviations above


def test_mean_interval_covers() -> None:
    rng = stream(0, "mean")
    inside = 0
    for _ in range(500):
        mean, low, high = mean_interval(rng.normal(2.0, 1.0, 5).tolist())
        assert low <= mean <= high
        inside += low <= 2.0 <= high
    assert inside >= 460
    assert np.isnan(mean_interval([])[0])
