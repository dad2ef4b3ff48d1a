from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "success"))
from synthetic import SPEC, grid, record

from subspan.errors import InputError
from subspan.goals import parse_goal
from subspan.report import draw_phase_diagram, phase_diagram_data, save_figure
from subspan.report.phase_diagram import cell_edges, goal_axis
from subspan.success import fit_threshold, success_surface
from subspan.trials.trial import Outcome

DIMS = [16, 32, 64, 128, 256, 512]
TRIALS = grid(DIMS, 8)


def test_matrix_is_the_surface_and_thresholds_are_fits() -> None:
    surface = success_surface(TRIALS, ["loss<=0.1", "loss<=1", "loss<=0.5"])
    data = phase_diagram_data(surface)
    assert list(data.levels) == [0.1, 0.5, 1]
    assert list(data.dims) == DIMS
    for row, goal in enumerate(data.goals):
        for column, cell in enumerate(surface.at(goal)):
            assert data.probability[row, column] == cell.probability
        fitted = fit_threshold(TRIALS, goal)
        assert (data.thresholds[row].value, data.thresholds[row].high) == (
            fitted.value,
            fitted.high,
        )
    assert (data.trials == 8).all()
    values = [t.value for t in data.thresholds]
    assert values == sorted(values, reverse=True)  # harder goals need more


def test_dims_that_cannot_tell_are_unknown_and_have_no_threshold() -> None:
    stop = SPEC.replace(stop_at="loss<=1")
    stopped = record(16, 99, (2.3, 0.9), spec=stop, outcome=Outcome.STOPPED)
    data = phase_diagram_data(success_surface([*TRIALS, stopped], ["loss<=0.1", "loss<=1"]))
    assert np.isnan(data.probability[0, 0])
    assert np.isfinite(data.probability[1]).all()
    assert data.thresholds[0] is None
    assert data.thresholds[1] is not None
    draw_phase_diagram(data)


def test_goals_of_two_kinds_are_refused() -> None:
    with pytest.raises(InputError, match="one metric and split, got test loss, train loss"):
        phase_diagram_data(success_surface(TRIALS, ["loss<=0.1", "test:loss<=0.1"]))


def test_edges_lie_halfway() -> None:
    assert cell_edges(np.array([1.0, 4.0, 16.0]), log=True) == pytest.approx([0.5, 2, 8, 32])
    assert cell_edges(np.array([0.5, 0.7]), log=False) == pytest.approx([0.4, 0.6, 0.8])
    assert len(cell_edges(np.array([3.0]), log=True)) == 2


@pytest.mark.parametrize(
    "goals",
    [
        ["loss<=0.05", "loss<=0.1", "loss<=1"],
        ["accuracy>=0.5", "accuracy>=0.9"],
        ["loss<=0.1"],
        ["loss<=0", "loss<=1"],
        ["test:accuracy>=0.9"],
        ["loss<=1e-30"],
    ],
)
def test_diagrams_can_be_drawn(goals: list[str], tmp_path: Path) -> None:
    figure = draw_phase_diagram(phase_diagram_data(success_surface(TRIALS, goals)))
    axes = figure.axes[0]
    assert axes.get_xscale() == "log"
    bottom, top = axes.get_ylim()
    assert (bottom > top) == goals[0].startswith("loss")  # harder goals at the top
    (path,) = save_figure(figure, tmp_path / "phase", ("png",))
    assert path.stat().st_size > 10_000


def test_one_dim_can_be_drawn() -> None:
    draw_phase_diagram(phase_diagram_data(success_surface(grid([64], 3), ["loss<=1"])))


@pytest.mark.parametrize(
    ("goal", "label"),
    [
        ("loss<=0.1", "goal: training loss ≤ ε (mean per example)"),
        ("accuracy>=0.9", "goal: training accuracy ≥ a (fraction)"),
        ("test:accuracy>=0.9", "goal: test accuracy ≥ a (fraction)"),
        ("val:accuracy>=0.9", "goal: val accuracy ≥ a (fraction)"),
        ("test:loss<=0.9", "goal: test loss ≤ ε (mean per example)"),
        ("val:perplexity<=30", "goal: val perplexity ≤ level"),
        ("f1>=0.5", "goal: training f1 ≥ level"),
        ("top5_accuracy>=0.5", "goal: training top5_accuracy ≥ level"),
        ("episode:reward>=200", "goal: episode reward ≥ level"),
    ],
)
def test_levels_of_any_metric_are_named(goal, label) -> None:
    assert goal_axis(parse_goal(goal)) == label
