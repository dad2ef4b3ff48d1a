from subspan.report.figure import save_figure
from subspan.report.wells import draw_wells, wells_data


def legend(figure):
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def test_wells_are_sorted_and_drawn_a_panel_each(tmp_path):
    rows = [
        {"x": x, "measured": 10 * x, "spread": 1.0, "exact": 10 * x, "paper": 12 * x}
        for x in (3.0, 1.0, 2.0)
    ]
    data = wells_data("ε", "a well", rows)
    assert data.x.tolist() == [1.0, 2.0, 3.0]
    assert data.measured.tolist() == [10.0, 20.0, 30.0]
    figure = draw_wells([data, data])
    assert len(figure.axes) == 2
    assert "exact formula" in legend(figure)
    (path,) = save_figure(figure, tmp_path / "wells", ("png",))
    assert path.stat().st_size > 1000
