"""Figures of trials whose metric is neither loss nor accuracy, trained by a function."""

import pytest

import subspan as ss
from subspan.report import (
    draw_phase_diagram,
    draw_success_curve,
    phase_diagram_data,
    success_curve_data,
)
from subspan.success import fit_threshold, success_surface


def records(metric, value, lr):
    @ss.trainable(name="mine", max_dim=1000, version="1", lr=lr)
    def mine(trial):
        return {metric: value(trial.dim, trial.repeat)}

    return ss.run(mine, dims=[0, 8, 16, 32, 64, 128], repeats=6, executor="inline")


CASES = {
    "lower is better": ("val:perplexity", lambda d, k: 400 / (d + 1 + k), ["<=4", "<=12", "<=40"]),
    "higher is better": ("episode:reward", lambda d, k: 3.0 * d + k, [">=50", ">=100", ">=200"]),
}


@pytest.mark.parametrize("lr", [None, 0.01])
@pytest.mark.parametrize("case", CASES)
def test_both_figures_name_the_metric_and_put_harder_goals_at_the_top(case, lr) -> None:
    metric, value, levels = CASES[case]
    split, name = metric.split(":")
    trials = records(metric, value, lr)
    figure = draw_phase_diagram(
        phase_diagram_data(success_surface(trials, [metric + level for level in levels]))
    )
    axes = figure.axes[0]
    sign = {"<": "≤", ">": "≥"}[levels[0][0]]
    assert axes.get_ylabel() == f"goal: {split} {name} {sign} level"
    bottom, top = axes.get_ylim()
    assert (top > bottom) == (sign == "≥")
    estimate = fit_threshold(trials, metric + levels[1])
    figure = draw_success_curve(success_curve_data(estimate))
    assert f"P({split} {name} {sign} {levels[1][2:]})" in figure.axes[0].get_ylabel()
    said = figure.get_supxlabel()
    assert ("lr 0.01" in said) == (lr is not None)
    assert "None" not in said


def test_one_level_far_from_1_has_a_cell_that_is_seen() -> None:
    metric, value, levels = CASES["higher is better"]
    surface = success_surface(records(metric, value, None), [metric + levels[2]])
    low, high = draw_phase_diagram(phase_diagram_data(surface)).axes[0].get_ylim()
    assert (low, high) == pytest.approx((196, 204))
