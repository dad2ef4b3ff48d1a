import dataclasses

import numpy as np
import pytest

from subspan.goals import AccuracyAbove, LossBelow
from subspan.report.prediction import (
    draw_prediction,
    prediction_data,
)
from subspan.success.estimate import estimate_from_counts
from subspan.success.posterior import Count, Range
from subspan.theory.cone import ConeEstimate
from subspan.theory.mean import MeanEstimate
from subspan.theory.prediction import LevelPrediction, Prediction

DIM, GOAL = 2410, LossBelow(0.1)


def prediction(value=196.0, asked=GOAL):
    band = None if value is None else MeanEstimate(value, value - 15, value + 15, 0.95, 6)
    at = LevelPrediction(0.1, band, 0.025, 5.0, 0.3, 2.4, 0.0, 0.0, ())
    return Prediction(GOAL, asked, (at,), DIM, 2.4, "gauss-newton", "exact", 0.25)


def cone(values=(90.0, 100.0, 110.0), dim=DIM, status="ok", one_start=True):
    mean = float(np.mean(values))
    return ConeEstimate(
        *(mean, mean - 9, mean + 9, 0.95, len(values), status, 4.0, 0.0, values, (mean, mean), dim),
        one_start=one_start,
    )


def measured(step=160):
    counts = [Count(d, 10 * (d >= step), 10) for d in range(40, 400, 20)]
    return estimate_from_counts(counts, GOAL, Range(1, DIM, 0.1), ambient_dim=DIM)


def legend(figure):
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def test_prediction_data_holds_every_threshold_on_one_axis():
    found = prediction_data(prediction(), cone(), measured())
    assert found.goal == "train loss ≤ 0.1"
    assert found.curvature == (196.0, 181.0, 211.0)
    assert found.cone == (100.0, 91.0, 109.0)
    assert np.interp(100, found.grid, found.cone_curve) == pytest.approx(0.5, abs=0.01)
    assert (np.diff(found.cone_curve) >= 0).all()
    # the largest d with E‖h‖ ≤ low − √(2 ln 40), low = 9.992 − 4.303 · 0.289 (Student)
    assert found.polar == 36
    assert found.gordon == 0
    for value in (found.polar / 1.3, 100, 196, found.measured.estimate.value):
        assert found.grid[0] < value < found.grid[-1]
    assert found.grid[-1] <= 1.1 * DIM
    for d, center in zip(found.at_90, (100, 196), strict=True):
        assert d == pytest.approx(center + 1.2816 * np.sqrt(2 * center), rel=1e-4)
    assert np.interp(found.at_90[0], found.grid, found.cone_curve) == pytest.approx(0.9, abs=0.01)


def test_prediction_data_without_a_prediction_or_a_measurement():
    found = prediction_data(prediction(None, AccuracyAbove(0.9)), cone())
    assert found.curvature is found.curvature_curve is None
    assert found.measured is None
    assert found.goal == "train accuracy ≥ 0.9"
    figure = draw_prediction(found)
    assert figure.axes[0].get_title("left") == "Predicted thresholds: train accuracy ≥ 0.9"
    assert not any("curvature" in text or "measured" in text for text in legend(figure))


def test_a_threshold_of_zero_can_be_drawn():
    found = prediction_data(prediction(0.0), cone((0.0, 0.0)))
    assert (np.diff(found.grid) > 0).all()
    draw_prediction(found).draw_without_rendering()


def test_the_prediction_figure_names_what_it_draws():
    found = prediction_data(prediction(), cone(), measured())
    figure = draw_prediction(found)
    texts = legend(figure)
    assert texts[:2] == ["Gordon: certifies no miss", "polar Gordon, if convex: misses for d ≤ 36"]
    assert "cone bound: centre 100 [91, 109], 90 % at 118" in texts
    curvature = "curvature: centre 196 [181, 211], 90 % at 221"
    assert curvature in texts
    assert any(text.startswith(f"measured: d* = {measured().value:,} ") for text in texts)
    assert "success rate, 95 % interval" in texts
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    x, y = lines[curvature].get_data()
    assert np.interp(196, x, y) == pytest.approx(0.5, abs=0.01)
    assert np.interp(found.at_90[1], x, y) == pytest.approx(0.9, abs=0.01)


def test_gordons_certified_miss_is_shaded_where_there_is_one():
    """A set of small width: both forms certify."""
    small = cone((2200.0, 2210.0, 2220.0))
    found = prediction_data(prediction(2300.0), small)
    assert 0 < found.gordon < found.polar < 2210
    texts = legend(draw_prediction(found))
    assert texts[0] == f"Gordon: misses for d ≤ {found.gordon:,}"


def test_a_search_that_did_not_converge_certifies_nothing():
    found = prediction_data(
        prediction(2300.0), cone((2200.0, 2210.0, 2220.0), status="not reached")
    )
    assert found.gordon is found.polar is None
    texts = legend(draw_prediction(found))
    assert texts[0] == "Gordon: no certificate, cone not converged"


def test_at_the_best_learning_rate_the_threshold_stands_without_a_curve():
    found = dataclasses.replace(measured(), design="joint")
    plain, joint = (
        draw_prediction(prediction_data(prediction(), cone(), m)) for m in (measured(), found)
    )
    (text,) = (text for text in legend(joint) if text.startswith("measured"))
    assert text.endswith("], best lr")
    (drawn,) = (c for c in joint.axes[0].containers if c.get_label() == text)
    assert drawn.lines[0].get_xydata().tolist() == [[found.value, 0.9]]
    curves = [[c for c in f.axes[0].lines if len(c.get_xdata()) > 2] for f in (plain, joint)]
    assert len(curves[1]) == len(curves[0]) - 1
    joint.draw_without_rendering()
    box = joint.axes[0].get_legend().get_window_extent()
    assert joint.bbox.x0 <= box.x0 < box.x1 <= joint.bbox.x1, "a long label is cut off"


def test_nothing_in_the_prediction_figure_overlaps():
    figure = draw_prediction(prediction_data(prediction(), cone(), measured()))
    figure.draw_without_rendering()
    axes = figure.axes[0]
    box = axes.get_legend().get_window_extent()
    assert not box.overlaps(axes.get_window_extent())
    assert not box.overlaps(axes.xaxis.label.get_window_extent())
    assert not box.overlaps(figure._supxlabel.get_window_extent())
    whole = figure.bbox
    assert whole.x0 <= box.x0 < box.x1 <= whole.x1
    assert whole.y0 <= box.y0 < box.y1 <= whole.y1


def test_a_search_from_random_weights_certifies_nothing():
    found = prediction_data(prediction(), cone(one_start=False))
    assert found.gordon is found.polar is None
    assert legend(draw_prediction(found))[0] == "Gordon: no certificate, w₀ is random"
