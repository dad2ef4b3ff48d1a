import math

import numpy as np
import pytest
from scipy import stats

from subspan.comparison import holm, paired_test
from subspan.comparison.paired import mean_interval, p_values
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


def test_no_spread_is_no_certainty() -> None:
    assert paired_test([0.0, 0.0, 0.0]).p == 1.0
    step = 1 / 360
    tied = paired_test([step, step, step], resolution=step)
    assert tied.p == pytest.approx(2 * stats.t.sf(math.sqrt(3), 2))  # mean and spread: one step
    assert tied.low < 0 < tied.high
    assert 0 < paired_test([0.1, 0.1, 0.1]).p < 1e-9  # real numbers that agree are told apart
    assert paired_test([0.1] * 2000).p > 0
    known = [0.01, 0.02, 0.09]
    assert paired_test(known, resolution=0.001) == paired_test(known)  # the floor is no addition


def test_too_few_pairs_are_not_tested() -> None:
    for few in ([0.3], [0.3, 0.3], [0.3, 0.1]):
        test = paired_test(few, resolution=0.01)
        assert test.mean == pytest.approx(sum(few) / len(few))
        assert test.pairs == len(few)
        assert all(math.isnan(v) for v in (test.p, test.low, test.high))
    assert math.isnan(paired_test([]).mean)


def test_bad_input() -> None:
    with pytest.raises(InputError, match="finite"):
        paired_test([0.1, math.nan])
    with pytest.raises(InputError, match="confidence"):
        paired_test([0.1, 0.2], 1.0)
    with pytest.raises(InputError, match="resolution"):
        paired_test([0.1, 0.2, 0.3], resolution=-1.0)


FAMILIES, TESTS = 4000, 20


def false_verdicts(repeats: int, rows: int, accuracy: float, resolution: float) -> float:
    """How often equal methods, 4 and a null at 5 dims, are told apart anywhere in the table."""
    rng = stream(0, "equal methods", repeats, rows, str(accuracy))
    null = rng.binomial(rows, accuracy, (FAMILIES, 1, 5, repeats)) / rows
    others = rng.binomial(rows, accuracy, (FAMILIES, 4, 5, repeats)) / rows
    p = p_values(others - null, resolution).reshape(FAMILIES, TESTS)
    return float(np.mean(p.min(1) * TESTS <= 0.05))  # Holm rejects something where this one is


@pytest.mark.parametrize("repeats", [3, 5, 10])
@pytest.mark.parametrize("rows", [100, 360, 10_000])
@pytest.mark.parametrize("accuracy", [0.5, 0.95, 0.99])
def test_equal_methods_are_told_apart_in_5_percent_of_tables(repeats, rows, accuracy) -> None:
    error = math.sqrt(0.05 * 0.95 / FAMILIES)
    assert false_verdicts(repeats, rows, accuracy, 1 / rows) <= 0.05 + 3 * error


def test_without_the_floor_ties_tell_equal_methods_apart() -> None:
    assert false_verdicts(3, 100, 0.98, 0.0) > 0.2


def test_the_vectorised_p_values_are_those_of_the_test() -> None:
    x = stream(0, "many").normal(size=(2, 3, 4)).round(1)
    each = [[paired_test(row, resolution=0.1).p for row in table] for table in x]
    np.testing.assert_allclose(p_values(x, 0.1), each)


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
    mean, low, high = mean_interval([0.5, 0.5], resolution=0.01)
    assert low < mean < high
