import dataclasses
import math

import numpy as np
import pytest
import torch

from subspan.comparison import ComparisonRow, ComparisonTable
from subspan.errors import InputError
from subspan.report import (
    compare_figure_data,
    draw_compare_figure,
    draw_spectroscopy,
    save_figure,
    spectroscopy_data,
)
from subspan.report.comparison import apart
from subspan.subspaces import Trajectory

NAN = math.nan


def row(method: str, dim: int, values: tuple[float, ...], verdict: str) -> ComparisonRow:
    mean = float(np.nanmean(values))
    rest = (mean - 1, mean + 1, 0.5, 0.4, 0.6, NAN, NAN, NAN, NAN, NAN)
    return ComparisonRow(
        method, dim, 1000 / dim, len(values), 0, mean, *rest, verdict, 0, 0, 10, 10, values
    )


@pytest.fixture
def table() -> ComparisonTable:
    rows = (
        row("random", 10, (0.1, 0.3), "null"),
        row("random", 100, (0.5, 0.7), "null"),
        row("ticket", 100, (0.9, NAN), "better"),
        row("ticket", 10, (0.0, 0.1), "worse"),
    )
    return ComparisonTable("mine", 1000, "random", "test:accuracy", False, 0.95, rows)


def test_the_band_is_the_range_of_repeats_and_the_null_is_drawn_last(table) -> None:
    data = compare_figure_data(table)
    ticket, null = data.series
    assert (null.method, null.is_null, ticket.is_null) == ("random", True, False)
    np.testing.assert_allclose(null.low, [0.1, 0.5])
    np.testing.assert_allclose(null.high, [0.3, 0.7])
    assert ticket.dims.tolist() == [10, 100]
    assert ticket.compression.tolist() == [100, 10]
    np.testing.assert_allclose(ticket.high, [0.1, 0.9])
    assert ticket.better.tolist() == [False, True]
    assert ticket.worse.tolist() == [True, False]


def test_the_comparison_is_drawn(table, tmp_path) -> None:
    figure = draw_compare_figure(compare_figure_data(table))
    axes = figure.axes[0]
    assert axes.get_xscale() == "log"
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["random (null)", "ticket"]
    assert "filled: differs from the null (sign flips, Holm)" in said(figure)
    assert axes.get_xticks().tolist() == [10, 100]  # where there are trials
    assert axes.child_axes[0].get_xticks().tolist() == [100, 10]
    keys = {line.get_label(): line.get_marker() for line in axes.get_legend().get_lines()}
    assert keys == {"random (null)": "o", "ticket": "s"}
    widths = {line.get_label(): line.get_linewidth() for line in axes.get_lines()}
    assert widths["random (null)"] > widths["ticket"]
    assert [p.suffix for p in save_figure(figure, tmp_path / "c")] == [".png", ".svg", ".pdf"]


def said(figure) -> str:
    return " ".join(text.get_text() for text in [*figure.texts, *figure.axes[0].texts])


def test_a_table_without_verdicts_says_so(table) -> None:
    rows = tuple(
        dataclasses.replace(r, verdict="not tested") if r.verdict != "null" else r
        for r in table.rows
    )
    figure = draw_compare_figure(compare_figure_data(dataclasses.replace(table, rows=rows)))
    assert "too few for verdicts" in said(figure)
    assert "filled" not in said(figure)


def test_ticks_that_would_overlap_are_left_out() -> None:
    assert apart(np.array([8, 8, 32, 128, 512])) == [8, 32, 128, 512]
    assert apart(np.array([64])) == [64]
    many = apart(np.arange(1, 1000))
    assert len(many) <= 13
    assert many[0] == 1
    assert min(np.diff(np.log(many))) >= np.log(999) / 12


def test_spectroscopy_of_a_known_spectrum(tmp_path) -> None:
    sigma = torch.tensor([3.0, 1.0, 0.1], dtype=torch.float64)
    trajectory = Trajectory(torch.eye(3), sigma, torch.zeros(3))
    data = spectroscopy_data([trajectory, trajectory], "mine", shares=(0.8, 0.99))
    np.testing.assert_allclose(data.relative[0], [1, 1 / 3, 1 / 30])
    np.testing.assert_allclose(data.energy[1], np.array([9, 10, 10.01]) / 10.01)
    assert data.dims_for == {0.8: 1, 0.99: 2}
    flat = Trajectory(torch.eye(3), torch.ones(3, dtype=torch.float64), torch.zeros(3))
    between = spectroscopy_data([trajectory, flat], "mine", shares=(0.8, 0.99))
    assert between.dims_for == {0.8: 1, 0.99: 2}  # 1 and 3, 2 and 3: whole, in half of the runs
    assert all(isinstance(dim, int) for dim in between.dims_for.values())
    figure = draw_spectroscopy(data)
    assert figure.axes[0].get_yscale() == "log"
    assert save_figure(figure, tmp_path / "s", ("png",))[0].exists()


def test_spectroscopy_refuses_nothing_and_bad_shares() -> None:
    with pytest.raises(InputError, match="at least one"):
        spectroscopy_data([])
    with pytest.raises(InputError, match="shares"):
        spectroscopy_data([Trajectory(torch.eye(1), torch.ones(1), torch.ones(1))], shares=[1.0])
