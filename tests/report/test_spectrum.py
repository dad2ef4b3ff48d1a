import numpy as np
import pytest

from subspan.report.spectrum import draw_spectrum, spectrum_data


def legend(figure):
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def test_spectrum_counts_the_eigenvalues_of_either_sign():
    values = np.concatenate([np.full(200, 0.1), np.full(30, 1.0), np.full(20, -0.3)])
    found = spectrum_data({"H": [(values, np.ones(250))]}, width=0.05)
    step = np.diff(found.grid)[0]
    assert found.ambient_dim == 250
    assert found.positive["H"].sum() * step == pytest.approx(230, rel=0.01)
    assert found.negative["H"].sum() * step == pytest.approx(20, rel=0.01)
    assert found.grid[found.negative["H"].argmax()] == pytest.approx(np.log10(0.3), abs=step)
    assert found.negative_mass["H"] == pytest.approx(6 / 56)


def test_spectrum_averages_over_probes_and_leaves_out_what_is_too_small():
    one, two = (np.array([1.0, 1e-9]), np.array([40.0, 60.0])), (np.array([1.0]), np.array([100.0]))
    found = spectrum_data({"H": [one, two]}, decades=3, width=0.05)
    step = np.diff(found.grid)[0]
    assert found.positive["H"].sum() * step == pytest.approx(70, rel=0.01)
    assert found.negative["H"].sum() == 0


def test_the_spectrum_figure_shows_negative_curvature_where_there_is_some():
    well, bent = np.logspace(-2, 0, 50), np.concatenate([np.logspace(-2, 0, 40), [-0.5] * 10])
    data = spectrum_data({k: [(v, np.ones(50))] for k, v in (("well", well), ("bent", bent))})
    figure = draw_spectrum(data, "Two spectra", "a note")
    share = 5 / (5 + np.logspace(-2, 0, 40).sum())
    assert legend(figure) == ["well", "bent", f"its −λ ({share:.0%} of Σ|λ|)"]
    assert figure.axes[0].get_title("left") == "Two spectra"
    assert "D = 50  ·  a note" in figure._supxlabel.get_text()
    figure.draw_without_rendering()
    assert (
        not figure.axes[0]
        .get_legend()
        .get_window_extent()
        .overlaps(figure.axes[0].get_window_extent())
    )
