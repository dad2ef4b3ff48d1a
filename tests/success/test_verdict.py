"""What each status takes, by its smallest counts; the first of each pair was "ok" or worse once."""

from __future__ import annotations

import json

import numpy as np
import pytest

from subspan.goals import LossBelow
from subspan.success import Count, Range, ThresholdDesign, ThresholdEstimate, estimate_from_counts
from subspan.success.verdict import LEAST_CONFIDENCE, REMEDIES
from subspan.testing.success_laws import rise

GOAL = LossBelow(0.1)


def estimate(
    *counts: tuple[int, int, int], low: int = 1, high: int = 10_000, **options: float
) -> ThresholdEstimate:
    table = [Count(*c) for c in counts]
    return estimate_from_counts(
        table, GOAL, Range(low, high, options.pop("delta", 0.1)), ambient_dim=high, **options
    )


def told(design: ThresholdDesign, *counts: tuple[int, int, int]) -> ThresholdDesign:
    for dim, won, total in counts:
        for i in range(total):
            design.tell(dim, i < won)
    return design


def test_trials_that_no_rising_curve_explains_do_not_crash() -> None:
    design = told(
        ThresholdDesign(4096),
        *((36, 0, 1), (42, 0, 1), (91, 2, 2), (256, 1, 1), (920, 0, 1), (2048, 0, 1), (4096, 1, 5)),
    )
    assert not design.done
    assert all(1 <= dim <= 4096 for dim in design.ask(8))


STEP = ((7, 0, 2), (50, 0, 3), (58, 0, 3))
SPREAD = [(d, 0, 3) for d in (1, 4, 16, 60, 250, 1000, 4000)]


@pytest.mark.parametrize(
    ("above", "status"), [(12, "not converged"), (24, "not converged"), (25, "ok")]
)
def test_ok_takes_trials_above_that_show_the_level(above: int, status: str) -> None:
    found = estimate(*STEP, (61, above, above), ratio=1.5)
    assert found.status == status
    assert found.low <= 60 <= found.high
    if status != "ok":
        assert f"{above} of {above} trials from d = 6" in str(found)
        assert "which does not show 90 % yet" in str(found)


def test_a_level_below_is_never_ok_and_is_named() -> None:
    found = estimate(*STEP, (64, 36, 48), (500, 38, 48), (10_000, 34, 48), ratio=1.5)
    assert found.status == "never reaches"
    assert (found.value, found.low, found.high) == (None, 10_000, None)
    assert found.level.value == pytest.approx(72 / 96)
    assert found.level.low == pytest.approx(0.651, abs=1e-3)  # Clopper–Pearson
    assert "Success levels off at 75 % [65, 83] from d = 500 on, below 90 %." in str(found)
    data = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert data["level"]["value"] == pytest.approx(0.75)
    assert data["remark"].endswith(REMEDIES["never reaches"])


# A rise of width 0.5 to 0.85: its interval was narrow, and it asked for more trials to no end.
SOFT = (
    *((17, 0, 1), (32, 0, 12), (38, 1, 13), (47, 3, 8), (57, 11, 17), (64, 26, 32), (71, 81, 99)),
    *((76, 69, 85), (86, 181, 212), (91, 54, 62), (100, 5, 8), (130, 8, 10), (185, 36, 44)),
    (7482, 4, 5),
)


@pytest.mark.parametrize("ratio", [1.5, None])
def test_a_narrow_interval_is_belied_by_the_trials_above_it(ratio: float | None) -> None:
    found = estimate(*SOFT, (10_000, 77, 96), ratio=ratio)
    assert found.status == "never reaches"
    assert (found.value, found.low, found.high) == (None, 10_000, None)
    assert found.level.value == pytest.approx(117 / 145)  # 185 and beyond: 136 is the upper end
    assert "levels off at 81 % [73, 87] from d = 136 on, below 90 %." in str(found)


@pytest.mark.parametrize(("won", "total"), [(20, 24), (23, 25)])
def test_what_belies_an_interval_takes_failures_at_the_largest_dim(won: int, total: int) -> None:
    """24 are fewer than show 1 − δ if none fails; with 23 of 25 a rise may come later."""
    found = estimate(*SOFT, (10_000, won, total), ratio=1.5)
    assert found.status == "not converged"
    assert (found.value, found.low, found.high) == (None, 92, None)  # d* is not known to be there
    assert "Success seems to level off" in found.seen
    design = told(ThresholdDesign(10_000), *SOFT, (10_000, won, total))
    assert design.ask(3) == [10_000] * 3


def test_failures_at_the_largest_dim_alone_may_be_a_fall() -> None:
    found = estimate(*SOFT, (10_000, 0, 8), ratio=1.5)
    assert (found.status, found.seen) == ("not converged", "Success may fall with d.")


def test_a_plateau_that_is_believed_but_not_shown_is_asked_about() -> None:
    """Nothing more is to be learned of d*, which had 1,000 trials go to d = 1."""
    rise = (8, 0, 1), (32, 0, 1), (38, 0, 1), (47, 0, 4), (56, 0, 1), (58, 0, 2), (71, 24, 29)
    flat = (
        (86, 6, 8),
        (100, 6, 9),
        (106, 3, 3),
        (130, 10, 14),
        (159, 4, 5),
        (178, 2, 2),
        (195, 4, 5),
    )
    far = (562, 0, 1), (1778, 0, 1), (3162, 2, 2), (3325, 1, 1), (4988, 1, 1), (7482, 3, 3)
    design = told(ThresholdDesign(10_000), *rise, *flat, *far, (10_000, 39, 42))
    assert "Success seems to level off at 83 % [76, 89] from d = 71 on" in design.verdict.seen
    assert design.ask(2) == [10_000, 10_000]


def test_one_dim_is_no_plateau() -> None:
    assert estimate((50, 12, 24), low=50, high=50, ratio=1.5).status == "above range"


def test_a_fall_is_named() -> None:
    found = estimate((10, 0, 4), (60, 8, 8), (300, 8, 8), (1000, 0, 4), (10_000, 0, 8))
    assert found.status == "not monotone"
    assert (found.value, found.low, found.high) == (None, None, None)
    assert "16 of 16 trials at d = 60 … 300 met the goal, 0 of 12" in str(found)
    assert REMEDIES["not monotone"] in str(found)


def test_failures_far_above_are_looked_into_before_a_threshold_is_believed() -> None:
    rise = ((438, 0, 8), (657, 8, 20), (804, 32, 40), (1000, 80, 82))
    found = estimate(*rise, (62_006, 1, 3), high=62_006, ratio=1.5)
    assert found.status == "not converged"
    assert found.seen == "Success may fall with d."
    design = told(ThresholdDesign(62_006), *rise, (62_006, 1, 3))
    assert design.ask(2) == [62_006, 62_006]
    assert estimate(*rise, (62_006, 3, 3), high=62_006, ratio=1.5).status == "ok"


def test_above_range_is_refuted_by_a_success_below() -> None:
    """Three of sixteen trials met the goal, in the middle; at D training collapses."""
    met = ((1355, 1, 1), (1567, 1, 1), (8556, 1, 1))
    lost = ((7, 0, 1), (60, 0, 2), (249, 0, 2), (500, 0, 2), (22_000, 0, 1), (40_000, 0, 2))
    design = told(ThresholdDesign(62_006), *met, *lost, (62_006, 0, 3))
    assert design.estimate().status not in ("above range", "never reaches", "ok")
    assert not design.done


def test_above_range_takes_failures_at_the_top_and_below() -> None:
    assert estimate((10_000, 0, 20)).status == "not converged"
    assert estimate(*SPREAD).status == "not converged"
    assert estimate(*SPREAD, (10_000, 0, 3)).status == "above range"


@pytest.mark.parametrize("success", [True, False])
def test_a_range_of_one_dim_is_not_decided_by_one_trial(success: bool) -> None:
    design = ThresholdDesign(50, min_dim=50)
    design.tell(50, success)
    assert not design.done
    assert design.ask(2) == [50, 50]


@pytest.mark.parametrize(("n", "status"), [(20, "not converged"), (40, "below range")])
def test_below_range_takes_trials_at_the_smallest_dim(n: int, status: str) -> None:
    counts = (90, n, n), (200, 10, 10), (10_000, 2, 2)
    assert estimate(*counts, low=90).status == status


def test_a_slow_rise_is_at_the_edge_of_the_model() -> None:
    curve = rise("logit", 10**6, 14.0)
    dims = np.geomspace(1, 10**9, 30).astype(int)
    counts = [(int(d), round(600 * float(curve(d))), 600) for d in dims]
    found = estimate(*counts, high=10**9)
    assert found.status == "edge of the model"
    assert "more than 3 decades" in found.seen
    assert estimate(*counts[10:], (10**9 - 1, 90, 100), high=10**9).status != "ok"
    narrow = rise("logit", 10**6, 2.0)
    quick = [(int(d), round(600 * float(narrow(d))), 600) for d in dims]
    assert estimate(*quick, high=10**9).status == "ok"


def test_a_low_confidence_asks_for_the_least_that_is_kept() -> None:
    assert not ThresholdDesign(100, confidence=0.1).done
    counts = (*STEP, (61, 6, 6), (80, 6, 6))
    low, least = estimate(*counts, confidence=0.1), estimate(*counts, confidence=LEAST_CONFIDENCE)
    assert (low.low, low.high, low.status) == (least.low, least.high, least.status)
    assert low.confidence == 0.1
    said = "The interval is the one of 90 %, the least that is made, not of 10 %."
    assert said in low.to_json()["remark"]
    assert said in str(low)
    assert "least that is made" not in least.remark


def test_a_count_is_written_as_a_count() -> None:
    counts = (11_000, 0, 25), (12_000, 2, 25), (12_400, 20, 25), (13_000, 60, 60)
    found = estimate(*counts, high=62_006)
    assert found.status == "ok"
    assert str(found) == f"d* = {found.value:,} [{found.low:,}, {found.high:,}]"
    assert len(str(found.value)) == 5
    above = estimate(*SPREAD, (10_000, 0, 3))
    assert str(above).startswith("d* = ? [10,000, ∞] (above range). 0 of 3 trials")
    fallen = estimate((10, 0, 4), (60, 8, 8), (300, 8, 8), (1000, 0, 4), (10_000, 0, 8))
    assert str(fallen).startswith("d* = ? (not monotone).")


def test_a_larger_max_dim_is_advised_only_below_the_number_of_weights() -> None:
    counts = [Count(*c) for c in (*SPREAD, (10_000, 0, 3))]
    remedies = [
        estimate_from_counts(counts, GOAL, Range(1, 10_000, 0.1), ambient_dim=size).remedy
        for size in (10_000, 20_000)
    ]
    assert remedies == [
        "Give a weaker goal or a better training.",
        "Give a weaker goal or a better training. A larger max_dim may reach it too.",
    ]


def test_a_larger_ratio_is_advised_only_where_the_interval_is_too_wide() -> None:
    few, wide = (
        estimate(*STEP, (61, 12, 12), ratio=1.5),
        estimate((30, 0, 8), (100, 25, 25), ratio=1.2),
    )
    assert (few.status, wide.status) == ("not converged",) * 2
    assert few.high <= few.low * 1.5
    assert few.remedy == "Give more trials (a larger max_trials)."
    assert wide.remedy == "Give more trials (a larger max_trials), or a larger ratio."


def test_of_a_single_dim_nothing_is_said_of_smaller_ones() -> None:
    single = estimate((10_000, 0, 60), low=10_000)
    assert (single.status, single.seen) == (
        "above range",
        "0 of 60 trials at d = 10,000 met the goal.",
    )
    assert "and no d below does better" in estimate(*SPREAD, (10_000, 0, 3)).seen


def test_what_was_not_tried_did_not_fail() -> None:
    found = estimate((7, 0, 12), (50, 2, 4), (60, 8, 8))
    assert "0 of 0" not in str(found)
    assert "0 of 0" not in str(estimate((8, 0, 1), (64, 1, 1), low=8, high=64))


def test_every_status_has_a_remedy_and_ok_none() -> None:
    assert REMEDIES["ok"] == ""
    for status, remedy in REMEDIES.items():
        assert status == "ok" or (remedy.endswith(".") and remedy.count(".") == 1), status


def test_what_needs_confirming_is_asked_for() -> None:
    design = told(ThresholdDesign(10_000), *STEP, (61, 12, 12))
    (dim,) = set(design.ask(8))
    assert 60 <= dim <= 90


@pytest.mark.parametrize(("won", "left_out"), [(11, False), (5, True)])
def test_the_smallest_dim_is_left_out_only_where_it_fails(won: int, left_out: bool) -> None:
    """A law with P = 0.9 at min_dim = 100 came to 11 of 15 there, and to "ok", [101, 127]."""
    near = (105, 4, 5), (111, 8, 8), (116, 2, 4), (122, 15, 15), (129, 4, 4), (133, 7, 7)
    above = (136, 7, 7), (150, 10, 10), (158, 4, 4), (166, 11, 11), (184, 12, 12), (1000, 18, 18)
    found = estimate((100, won, 15), *near, *above, low=100, ratio=1.5)
    assert (found.status, found.low > 100) == ("ok", left_out)


def test_the_largest_dim_within_the_ratio_is_taken_in() -> None:
    """A law with P = 0.9 at max_dim = 100 came to "ok", [67, 97], with the first of these."""
    below = (4, 0, 1), (13, 0, 4), (24, 0, 1), (38, 0, 1), (47, 0, 2), (52, 0, 2), (56, 1, 3)
    near = (64, 7, 9), (71, 3, 5), (74, 0, 1), (75, 1, 2), (78, 1, 1), (86, 1, 1)
    above = (91, 2, 2), (96, 5, 5), (99, 8, 8), (100, 16, 16)
    for least in ((58, 6, 7), (58, 0, 7)):
        found = estimate(*below, least, *near, *above, high=100, ratio=1.5)
        assert (found.status, found.high) == ("ok", 100)
    # No ratio, no end: of the sharper one, whose curves leave it out.
    assert estimate(*below, least, *near, *above, high=100).high < 100


def test_a_slow_rise_is_told() -> None:
    slow = [(10, 4, 20), (30, 8, 20), (100, 14, 20), (300, 19, 20), (1000, 30, 30)]
    sharp = [(30, 0, 8), (100, 25, 25)]
    for counts, told in ((slow, True), (sharp, False)):
        seen = str(estimate(*counts, high=10_000, ratio=1.2))
        assert ("seems to rise from 10 to 90 % over a factor of" in seen) == told
        assert "wider than the ratio 1.2" in seen
