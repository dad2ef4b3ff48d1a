import importlib.util
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy import stats

from subspan.comparison import holm, paired_test, repeats_needed
from subspan.comparison.paired import bounded, can_tell, mean_interval, p_values
from subspan.errors import InputError
from subspan.streams import stream


def test_it_is_scipys_exact_sign_flip_test() -> None:
    x = stream(0, "paired").normal(0.5, 1, size=9)
    ours = paired_test(x, 0.9)
    flips = stats.permutation_test(
        (x,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    interval = stats.ttest_1samp(x, 0).confidence_interval(0.9)
    assert ours.p == pytest.approx(flips.pvalue)
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high))
    assert ours.mean == pytest.approx(x.mean())
    assert ours.pairs == 9


@pytest.mark.parametrize("pairs", [3, 5, 10, 16])
def test_no_differences_give_less_than_the_patterns_can(pairs) -> None:
    """Outcomes of .1 or .5 often differ by .4, .4, .4: one pattern of eight, and its twin."""
    assert paired_test([0.4] * pairs).p == 2.0 ** (1 - pairs)


def test_above_16_pairs_random_patterns_stand_for_all() -> None:
    assert paired_test([0.1] * 40).p == 2.0**-15
    x = stream(0, "many pairs").normal(0.1, 1, size=40)
    assert paired_test(x).p == pytest.approx(stats.ttest_1samp(x, 0).pvalue, abs=0.02)


def test_ties_and_a_resolution() -> None:
    assert paired_test([0.0, 0.0, 0.0]).p == 1.0
    assert paired_test([0.1, -0.1, 0.3, -0.3]).p == 1.0  # sums of 0 but for rounding
    step = 1 / 360
    tied = paired_test([step, step, step], resolution=step)
    assert tied.low < 0 < tied.high
    known = [0.01, 0.02, 0.09]
    assert paired_test(known, resolution=0.001) == paired_test(known)  # the floor is no addition


def test_a_failed_trial_outweighs_all_others_and_is_never_left_out() -> None:
    inf = math.inf
    assert paired_test([inf] * 6).p == 2.0**-5
    assert paired_test([inf, *[-0.1] * 5]).p == 1.0  # ahead five times, lost once: no verdict
    once = paired_test([inf, *[0.1] * 5])
    assert (once.p, once.mean, once.pairs) == (2.0**-5, inf, 6)
    assert math.isnan(once.low)
    assert math.isnan(paired_test([inf, -inf, 0.1]).mean)
    assert bounded([inf, -inf, 0.1, -0.2]).tolist() == pytest.approx([3, -3, 0.1, -0.2])


@pytest.mark.parametrize(
    ("cells", "repeats"), [(1, 6), (2, 7), (3, 7), (6, 8), (10, 9), (25, 10), (26, 11), (40, 11)]
)
def test_repeats_that_a_verdict_needs(cells, repeats) -> None:
    assert repeats_needed(cells) == repeats
    assert cells * 2.0 ** (1 - repeats) <= 0.05 < cells * 2.0 ** (2 - repeats)


def test_the_family_is_the_largest_that_has_pairs_for_its_own_size() -> None:
    assert can_tell([11] * 40) == [True] * 40
    assert can_tell([10] * 40) == [False] * 40
    assert can_tell([10] * 25 + [3] * 15) == [True] * 25 + [False] * 15
    assert can_tell([6, 5]) == [True, False]
    assert can_tell([6, 6]) == [False, False]
    assert can_tell([]) == []


def test_too_few_pairs_are_not_tested() -> None:
    for few in ([0.3], [0.3, 0.3], [0.3, 0.1]):
        test = paired_test(few, resolution=0.01)
        assert test.mean == pytest.approx(sum(few) / len(few))
        assert test.pairs == len(few)
        assert all(math.isnan(v) for v in (test.p, test.low, test.high))
    assert math.isnan(paired_test([]).mean)


def test_bad_input() -> None:
    with pytest.raises(InputError, match="differences: expected numbers, got NaN"):
        paired_test([0.1, math.nan])
    with pytest.raises(InputError, match="cells"):
        repeats_needed(0)
    with pytest.raises(InputError, match="confidence"):
        paired_test([0.1, 0.2], 1.0)
    with pytest.raises(InputError, match="resolution"):
        paired_test([0.1, 0.2, 0.3], resolution=-1.0)


@pytest.fixture(scope="module")
def familywise(repo_root: Path) -> ModuleType:
    """`experiments/coverage/familywise.py` as a module."""
    file = repo_root / "experiments" / "coverage" / "familywise.py"
    spec = importlib.util.spec_from_file_location("familywise", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LAWS = ("normal", "binomial", "bimodal", "rare", "heavy-tailed", "skewed", "failing")


def held(rate: float, families: int) -> bool:
    """Whether a rate is at most 5 %, to three Monte Carlo standard errors."""
    return rate <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / families)


@pytest.mark.parametrize("law", LAWS)
def test_equal_methods_are_told_apart_in_5_percent_of_tables(law, familywise) -> None:
    """The most cells that 6 … 10 repeats can test: 1, 3, 6, 12 and 25."""
    for repeats, methods, dims in ((6, 1, 1), (7, 3, 1), (8, 2, 3), (9, 4, 3), (10, 5, 5)):
        assert held(familywise.false_verdicts(law, methods, dims, repeats, 400), 400), repeats


def test_the_simulation_fails_a_test_that_is_not_valid(familywise) -> None:
    """Student's paired t-test, on the same bimodal outcomes: three that agree say p = 0."""
    rng = stream(0, "t")
    one, other = (familywise.outcomes(rng, "bimodal", (200, 40, 3)) for _ in range(2))
    gaps = one - other
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.abs(gaps.mean(-1)) / (gaps.std(-1, ddof=1) / math.sqrt(3))
    p = 2 * stats.t.sf(np.nan_to_num(t, nan=0.0, posinf=1e9), 2)
    assert not held(float(np.mean(p.min(1) * 40 <= 0.05)), 200)


@pytest.mark.parametrize("law", LAWS)
def test_forty_cells_of_few_repeats_have_no_verdict_and_of_eleven_rarely_a_false_one(
    law, familywise
) -> None:
    for repeats in range(3, 11):
        assert not any(can_tell([repeats] * 40))
    assert held(familywise.false_verdicts(law, 8, 5, 11, 200), 200)


@pytest.mark.slow
@pytest.mark.parametrize("law", LAWS)
def test_familywise_error_at_length(law, familywise) -> None:
    for repeats, methods, dims in ((6, 1, 1), (8, 2, 3), (10, 5, 5), (11, 8, 5), (12, 8, 5)):
        assert held(familywise.false_verdicts(law, methods, dims, repeats, 4000), 4000), repeats


def test_the_laws_are_the_printed_ones(familywise) -> None:
    assert familywise.LAWS == LAWS


def test_the_vectorised_p_values_are_those_of_the_test() -> None:
    x = stream(0, "many").normal(size=(2, 3, 4)).round(1)
    each = [[paired_test(row, resolution=0.1).p for row in table] for table in x]
    np.testing.assert_allclose(p_values(x), each)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    adjusted = holm([math.nan, 0.01, 0.02])
    assert math.isnan(adjusted[0])
    assert adjusted[1:] == pytest.approx([0.02, 0.02])
    assert holm([]) == []


def test_mean_interval_covers() -> None:
    rng = stream(0, "mean")
    inside = 0
    for _ in range(500):
        mean, low, high = mean_interval(rng.normal(2.0, 1.0, 5).tolist())
        assert low <= mean <= high
        inside += low <= 2.0 <= high
    assert inside >= 460
    assert np.isnan(mean_interval([])[0])
    assert mean_interval([0.5, math.inf])[0] == math.inf
    mean, low, high = mean_interval([0.5, 0.5], resolution=0.01)
    assert low < mean < high
