"""Figures for papers: axes of one's own, the sizes of a column and a page, letters embedded."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parent))
import page_store

from subspan import report
from subspan.errors import InputError
from subspan.goals import parse_goal
from subspan.report.lr_grid import LrGridData
from subspan.report.spectroscopy import SpectroscopyData
from subspan.report.spectrum import SpectrumData, draw_spectrum
from subspan.report.wells import draw_wells, wells_data
from subspan.success.graded import Scale
from subspan.success.joint_design import JointDesign
from subspan.success.joint_threshold import jointly_estimated, tell
from subspan.trials.function import LoopSpec
from subspan.trials.lr_scale import LrScale

GOALS = ["loss<=1", "loss<=0.1"]
STORED = report.experiments(page_store.records())
OWN = [s for s in STORED if s.experiment.problem["name"] == "digits"]
RANDOM = next(s for s in OWN if s.experiment.method["name"] == "random")

Draw = Callable[..., Figure]
FIGURES: dict[str, tuple[Draw, Callable[[], Any]]] = {
    "phase": (
        report.draw_phase_diagram,
        lambda: report.phase_diagram_data(RANDOM.surface(GOALS)),
    ),
    "curve": (
        report.draw_success_curve,
        lambda: report.success_curve_data(RANDOM.estimate(GOALS[0])),
    ),
    "thresholds": (report.draw_thresholds, lambda: report.thresholds_data(OWN, GOALS)),
    "burn-in": (report.draw_burn_in, lambda: report.thresholds_data(OWN, GOALS)),
    "response": (
        report.draw_lr_grid,
        lambda: report.lr_grid_data([s for s in OWN if s.family == RANDOM.family], GOALS[1]),
    ),
    "null": (
        report.draw_compare_figure,
        lambda: report.compare_figure_data(report.comparisons(OWN)[0].table),
    ),
    "learning": (
        report.draw_learning_curves,
        lambda: report.learning_curves_data(RANDOM.records[:2], ["loss", "test:loss"]),
    ),
    "spectroscopy": (
        report.draw_spectroscopy,
        lambda: SpectroscopyData((np.geomspace(1, 1e-3, 30),), (np.ones(30),), {0.9: 4}, ""),
    ),
}


@pytest.fixture(params=FIGURES)
def figure(request: pytest.FixtureRequest) -> tuple[Draw, Any]:
    draw, data = FIGURES[request.param]
    return draw, data()


def test_it_is_drawn_into_axes_that_are_given(figure: tuple[Draw, Any]) -> None:
    draw, data = figure
    whole = Figure(figsize=(9, 4), layout="constrained")
    left, right = whole.subplots(1, 2)
    assert draw(data, ax=right) is whole
    assert len(right.get_children()) > len(left.get_children())
    assert right.get_xlabel()
    assert whole.get_supxlabel() == ""  # the provenance is a whole figure's
    whole.draw_without_rendering()


@pytest.mark.parametrize(("style", "width"), [("column", 3.35), ("page", 6.9)])
def test_it_has_the_width_of_a_paper_and_neither_title_nor_provenance(
    figure: tuple[Draw, Any], style: str, width: float
) -> None:
    draw, data = figure
    before = dict(matplotlib.rcParams)
    drawn = draw(data, style=style, serif=True)
    assert dict(matplotlib.rcParams) == before
    assert drawn.get_figwidth() == pytest.approx(width)
    assert drawn.axes[0].get_title(loc="left") == ""
    assert drawn.get_supxlabel() == ""
    label = drawn.axes[0].xaxis.label
    assert label.get_size() == 8
    assert label.get_family() == ["serif"]
    screen = draw(data)
    assert screen.axes[0].get_title(loc="left")
    drawn.draw_without_rendering()


def test_letters_are_embedded_as_outlines_that_can_be_searched(tmp_path: Path) -> None:
    draw, data = FIGURES["thresholds"]
    (path,) = report.save_figure(draw(data(), style="column", serif=True), tmp_path / "f", ("pdf",))
    found = path.read_bytes()
    assert re.search(rb"/FontFile2", found)
    assert b"/Type3" not in found


def test_an_unknown_style_is_refused() -> None:
    draw, data = FIGURES["learning"]
    with pytest.raises(InputError, match="style"):
        draw(data(), style="poster")


def test_a_functions_threshold_can_be_drawn() -> None:
    (own,) = [s for s in STORED if s.experiment.problem["name"] == page_store.EVIL]
    drawn = report.draw_success_curve(report.success_curve_data(own.estimate("val:reward>=20")))
    assert "None" not in drawn.get_supxlabel()
    assert own.training == "its own training"
    assert LoopSpec().to_json()["lr"] is None


def test_thresholds_are_those_of_each_experiment() -> None:
    lines = report.thresholds_data(OWN, GOALS)
    assert {line.burn_in for line in lines} == {0, 16, 64}
    for line in lines:
        own = next(s for s in OWN if f"{s.method}, {s.training}" == line.label)
        for goal, estimate in zip(line.goals, line.estimates, strict=True):
            assert estimate.value == own.estimate(goal).value
    with pytest.raises(InputError, match="goals of one metric"):
        report.thresholds_data(OWN, ["loss<=1", "accuracy>=0.5"])
    with pytest.raises(InputError, match="a threshold with an interval"):
        report.draw_thresholds(())


def test_the_response_is_medians_and_counts() -> None:
    family = [s for s in OWN if s.family == RANDOM.family]
    data = report.lr_grid_data(family, "loss<=0.1")
    assert data.lrs.tolist() == [0.01, 0.05, 0.2]
    for row, lr in enumerate(data.lrs):
        own = next(s for s in family if s.lr == lr)
        for column, dim in enumerate(data.dims):
            best = [r.best_train_loss for r in own.records if r.dim == dim]
            assert data.median[row, column] == pytest.approx(np.median(best))
            assert data.wins[row, column] == sum(v <= 0.1 for v in best)
            assert data.totals[row, column] == len(best)
    with pytest.raises(InputError, match="two learning rates"):
        report.lr_grid_data([RANDOM], "loss<=0.1")
    with pytest.raises(InputError, match="one family"):
        report.lr_grid_data(OWN, "loss<=0.1")


def test_a_search_over_learning_rates_is_drawn_as_points() -> None:
    """Few of all pairs were tried: a grid of them would be stripes."""
    median = np.full((4, 4), np.nan)
    median[range(4), range(4)] = (0.9, 0.5, 0.05, 0.04)
    wins, totals = np.zeros((4, 4), int), np.zeros((4, 4), int)
    totals[range(4), range(4)] = 2
    wins[2, 2], wins[3, 3] = 1, 2
    dims, lrs = np.array([8, 16, 32, 64]), np.array([0.01, 0.1, 0.5, 1.0])
    data = LrGridData(dims, lrs, median, wins, totals, parse_goal("loss<=0.1"), 500)
    figure = report.draw_lr_grid(data)
    met, missed = (points.get_offsets() for points in figure.axes[0].collections)
    assert met.tolist() == [[32, 0.5], [64, 1.0]]
    assert missed.tolist() == [[8, 0.01], [16, 0.1]]


def test_labels_leave_out_what_all_lines_share() -> None:
    figure = report.draw_thresholds(report.thresholds_data(OWN, GOALS))
    texts = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert len(texts) == len(set(texts)) > 1
    assert any("lr" in text for text in texts)
    assert not any("batch" in text for text in texts)


def test_metrics_of_one_trial_differ_in_colour() -> None:
    figure = report.draw_learning_curves(
        report.learning_curves_data(RANDOM.records[:1], ["loss", "test:loss"])
    )
    colours = [line.get_color() for line in figure.axes[0].lines]
    assert len(colours) == len(set(colours))


def test_learning_curves_are_what_was_reported() -> None:
    record = RANDOM.records[0]
    data = report.learning_curves_data([record])
    assert data.metrics == (record.metrics[0],)
    assert data.curves[0].steps.tolist() == [p.step for p in record.curve]
    with pytest.raises(InputError, match="a metric that the trials have"):
        report.learning_curves_data([record], "val:nothing")


def test_spectra_and_wells_take_axes_too() -> None:
    whole = Figure()
    axes = whole.subplots(1, 3)
    row = {"x": 1.0, "measured": 2.0, "spread": 0.1, "exact": 2.0, "paper": 2.5}
    panel = wells_data("spread", "one", [row, {**row, "x": 2.0}])
    assert draw_wells([panel, panel], ax=list(axes[:2])) is whole
    assert axes[0].get_xlabel() == axes[1].get_xlabel() == "spread"
    assert len(draw_wells([panel, panel], style="page").axes) == 2
    line = {"H": np.ones(3)}
    data = SpectrumData(np.linspace(0, 2, 3), line, line, {"H": 0.0}, 10)
    assert draw_spectrum(data, "one", ax=axes[2]) is whole
    assert axes[2].get_xlabel().startswith("size of the eigenvalue")


def test_the_response_surface_takes_axes_and_styles_too() -> None:
    trials = [(8, 0.02), (8, 0.2), (30, 0.02), (30, 0.2), (60, 0.2), (15, 0.2)]
    records = []
    for repeat, (dim, lr) in enumerate(trials):
        base = next(r for r in page_store.grid((dim,), 1))
        spec = page_store.SPEC.replace(lr=lr).to_json()
        trial = dataclasses.replace(base.trial, spec=spec, repeat=repeat)
        loss = 1.5 / dim * (0.2 / lr) ** 0.3
        records.append(
            dataclasses.replace(base, trial=trial, curve=page_store.curve_of((2.3, loss)))
        )
    goal = parse_goal("loss<=0.1")
    design = JointDesign(Scale.of(goal), LrScale.declared(0.01, 1.0), 100)
    for record in records:
        tell(design, record, goal, record.trial.spec["lr"])
    estimate = jointly_estimated(design, design.estimate(), goal, records, 100, 6.0)
    data = report.response_surface_data(estimate)
    whole = Figure(figsize=(9, 4), layout="constrained")
    axes = whole.subplots(1, 2)
    assert report.draw_response_surface(data, ax=list(axes)) is whole
    assert axes[1].get_xlabel() == "learning rate"
    assert whole.get_supxlabel() == ""
    before = dict(matplotlib.rcParams)
    for style, width in (("column", 3.35), ("page", 6.9)):
        drawn = report.draw_response_surface(data, style=style, serif=True)
        assert drawn.get_figwidth() == pytest.approx(width)
        assert [part.get_title(loc="left") for part in drawn.axes] == ["", ""]
        assert drawn.get_supxlabel() == ""
        assert drawn.axes[0].xaxis.label.get_family() == ["serif"]
        drawn.draw_without_rendering()
    assert dict(matplotlib.rcParams) == before
    screen = report.draw_response_surface(data)
    assert screen.axes[0].get_title(loc="left")
    assert screen.get_supxlabel()
    budget = report.response_surface_data(dataclasses.replace(estimate, doubled=estimate))
    assert data.doubled is None
    np.testing.assert_array_equal(budget.doubled, data.contour)
    drawn = report.draw_response_surface(budget)
    named = drawn.axes[1].get_legend_handles_labels()[1]
    assert "with twice the steps" in named
    assert "with twice the steps" not in screen.axes[1].get_legend_handles_labels()[1]
