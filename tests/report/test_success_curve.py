from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from subspan.goals import LossBelow
from subspan.intervals import binomial_interval
from subspan.report import draw_success_curve, save_figure, success_curve_data
from subspan.report.success_curve import headline, pool
from subspan.success import Count, Range, ThresholdEstimate, estimate_from_counts

GOAL = LossBelow(0.1)


WHOLE = Range(1, 1000, 0.1)


def estimate(*counts: tuple[int, int, int], span: Range = WHOLE) -> ThresholdEstimate:
    return estimate_from_counts([Count(*c) for c in counts], GOAL, span, ambient_dim=1000)


GRID = [(16, 0, 10), (32, 0, 10), (64, 2, 10), (128, 10, 10), (256, 10, 10)]


def test_a_fixed_grid_is_shown_as_it_is() -> None:
    data = success_curve_data(estimate(*GRID))
    assert data.dims == pytest.approx([16, 32, 64, 128, 256])
    assert list(data.totals) == [10] * 5
    assert data.probability == pytest.approx([0, 0, 0.2, 1, 1])
    low, high = binomial_interval([0, 0, 2, 10, 10], 10)
    assert data.low == pytest.approx(low)
    assert data.high == pytest.approx(high)


def test_neighbours_with_few_trials_are_pooled_and_none_is_lost() -> None:
    counts = [Count(100 + i, i % 2, 1) for i in range(40)]
    pools = pool(reversed(counts))
    assert [c for group in pools for c in group] == counts
    assert all(group[-1].dim <= 1.08 * group[0].dim for group in pools)
    assert max(sum(c.total for c in group) for group in pools) <= 12
    assert len(pools) < 8


def test_the_fit_goes_through_the_threshold() -> None:
    found = estimate(*GRID)
    data = success_curve_data(found)
    assert (np.diff(data.grid) > 0).all()
    assert (data.fit_low <= data.fit_high).all()
    at = float(np.interp(found.value, data.grid, data.fit))
    assert at == pytest.approx(0.9, abs=0.08)
    assert data.grid[0] < 64 < 128 < data.grid[-1] <= 1100


def test_headlines_say_what_is_known() -> None:
    assert headline(estimate(*GRID)).startswith("d* = ")
    assert "95 % interval" in headline(estimate(*GRID))
    nowhere = [(d, 0, 4) for d in (1, 3, 10, 30, 100, 300, 1000)]
    assert headline(estimate(*nowhere)) == "d* > 1,000"
    level = [(16, 0, 10), (64, 14, 20), (256, 13, 20), (1000, 14, 20)]
    assert headline(estimate(*level)) == "d* > 1,000: never reaches 90 %"
    fallen = [(16, 0, 10), (64, 20, 20), (256, 20, 20), (1000, 1, 20)]
    assert headline(estimate(*fallen)) == "no d*: success falls with d"
    below = estimate((8, 60, 60), (16, 60, 60), span=Range(8, 16, 0.1))
    assert headline(below) == "d* ≤ 8"
    assert "–∞, not converged" in headline(estimate((8, 0, 3)))


@pytest.mark.parametrize(
    "found",
    [
        estimate(*GRID),
        estimate((1000, 0, 20)),
        estimate((16, 0, 10), (64, 14, 20), (256, 13, 20), (1000, 14, 20)),
        estimate((16, 0, 10), (64, 20, 20), (256, 20, 20), (1000, 1, 20)),
        estimate((1, 60, 60)),
        estimate((8, 0, 3)),
        estimate((1, 0, 1), (2, 1, 1)),
    ],
    ids=["ok", "above", "level", "fallen", "below", "open", "tiny"],
)
def test_every_status_can_be_drawn(found: ThresholdEstimate, tmp_path: Path) -> None:
    figure = draw_success_curve(success_curve_data(found))
    axes = figure.axes[0]
    assert axes.get_xscale() == "log"
    assert axes.get_xlabel().startswith("training dimension d")
    assert "train loss ≤ 0.1" in axes.get_ylabel()
    (path,) = save_figure(figure, tmp_path / "curve", ("png",))
    assert path.stat().st_size > 10_000


def test_the_drawing_marks_the_threshold() -> None:
    found = estimate(*GRID)
    axes = draw_success_curve(success_curve_data(found)).axes[0]
    marked = [
        line.get_xdata()[0] for line in axes.lines if line.get_label() == "d* and its interval"
    ]
    assert marked == [found.value]
