"""The page in headless Chromium: what readers do with mouse, keyboard, screen reader, printer."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import page_store

from subspan.report import page_data as data_of_pages
from subspan.report.page import write_page

pytestmark = pytest.mark.program

pytest.importorskip("plotly", reason="the page is drawn by plotly: pip install subspan[report]")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("browser")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data_of_pages, "FITS", 60)
        patch.setattr(data_of_pages, "LEVELS", (3, 4))
        write_page(page_store.make(folder / "runs.db"), folder / "report.html")
    return (folder / "report.html").as_uri()


Open = Callable[..., Any]


@pytest.fixture
def open_page(open_at: Open, address: str) -> Open:
    """Open the page and wait until all of it is there."""

    def opened(**options: Any) -> Any:
        page = open_at(address, **options)
        page.wait_for_selector("html[data-ready]")
        return page

    return opened


def choose_digits(page: Any) -> None:
    """Choose the problem with all figures."""
    choose_text(page, "problem", "digits")


def test_the_slider_moves_the_threshold(open_page: Open) -> None:
    page = open_page()
    choose_digits(page)
    told = page.locator("#told")
    before, marks = told.inner_text(), "document.getElementById('phase').data[2].y[0]"
    assert "training loss ≤ 0.1: d* =" in before
    at = page.evaluate(marks)
    page.locator("#goal").focus()
    page.keyboard.press("ArrowLeft")
    assert "training loss ≤ 0.1:" not in told.inner_text()
    assert page.evaluate(marks) != at
    assert page.locator("#goal").get_attribute("aria-valuetext") in told.inner_text()
    page.keyboard.press("ArrowRight")
    assert told.inner_text() == before


def test_hovering_tells_counts_and_interval(open_page: Open) -> None:
    page = open_page()
    choose_digits(page)
    page.evaluate(
        "document.getElementById('phase').scrollIntoView({block: 'center', behavior: 'instant'})"
    )
    box = page.locator("#phase .nsewdrag").bounding_box()
    page.mouse.move(box["x"] + 0.97 * box["width"], box["y"] + 0.96 * box["height"])
    shown = page.locator("#phase .hoverlayer", has_text="8 of 8 reached it")
    shown.wait_for()
    text = shown.text_content()
    assert "95 % interval 0.63" in text
    assert "learning rate 0.05" in text


SKETCH = """() => {
    const [line] = document.querySelectorAll("#phase .sketch polyline");
    return {
        plotly: typeof Plotly,
        cells: document.querySelectorAll("#phase .sketch rect").length,
        line: line.getAttribute("points").split(" ").length,
        texts: [...document.querySelectorAll("#phase .sketch text")].map((t) => t.textContent),
    };
}"""
PLOTLYS = """() => {
    const { data, layout } = document.getElementById("phase");
    const cells = data[0].z.flat().filter((share) => share !== null).length;
    const sketch = document.querySelector(".sketch");
    return { cells, line: data[1].x.length, ticks: layout.xaxis.ticktext, sketch };
}"""


@pytest.mark.parametrize("width", [1100, 360])
def test_the_first_picture_does_not_wait_for_plotly(
    open_at: Open, address: str, tmp_path: Path, width: int
) -> None:
    """The page with plotly held back: the sketch is there, of the same cells, line and ticks."""
    page_text = Path(address.removeprefix("file://")).read_text("utf-8")
    held = page_text.replace('addEventListener("DOMContentLoaded"', "globalThis.goOnNow = (", 1)
    held = held.replace("= (, ()", "= (()", 1)
    assert "goOnNow = (() => shown(" in held
    (tmp_path / "held.html").write_text(held, "utf-8")
    page = open_at((tmp_path / "held.html").as_uri(), viewport={"width": width, "height": 740})
    page.wait_for_function("performance.getEntriesByName('first picture').length")
    sketched = page.evaluate(SKETCH)
    assert sketched["plotly"] == "undefined"
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate("goOnNow()")
    page.wait_for_selector("html[data-ready]")
    plotlys = page.evaluate(PLOTLYS)
    assert plotlys["sketch"] is None
    bar = 50 if width > 640 else 0
    assert sketched["cells"] - bar == plotlys["cells"] > 10
    assert sketched["line"] == plotlys["line"] > 1
    assert set(plotlys["ticks"]) <= set(sketched["texts"])


def test_every_figure_is_drawn_when_it_comes_into_sight(open_page: Open) -> None:
    page = open_page()
    choose_digits(page)
    figures = ("curve", "goals", "burn", "response", "null", "foretold", "spectrum", "learning")
    for name in figures:
        page.locator(f"#s-{name}").scroll_into_view_if_needed()
        page.wait_for_selector(f"#{name} .main-svg")
        assert page.locator(f"#{name}").get_attribute("aria-label")
        page.locator(f"#s-{name} summary").first.click()
        page.wait_for_selector(f"#s-{name} tbody tr:nth-child(2)")


def test_every_tick_of_a_learning_curve_is_a_number_of_its_own(open_page: Open) -> None:
    """Plotly's own ticks of a log axis are 5, 2, 0.1, 5: digits without their power of ten."""
    page = open_page()
    choose_digits(page)
    page.locator("#s-learning").scroll_into_view_if_needed()
    page.wait_for_selector("#learning .ytick text")
    ticks = [float(text) for text in page.locator("#learning .ytick text").all_text_contents()]
    assert len(ticks) > 2
    assert ticks == sorted(set(ticks))


def test_the_controls_stand_above_the_figures_they_choose_and_hide_no_title(
    open_page: Open,
) -> None:
    page = open_page(viewport={"width": 1100, "height": 700})
    choose_digits(page)
    box = "e => document.querySelector(e).getBoundingClientRect()"
    for section, there in (("s-goals", True), ("s-learning", False)):
        page.evaluate(
            f"document.getElementById('{section}').scrollIntoView({{behavior: 'instant'}})"
        )
        page.wait_for_timeout(300)
        controls = page.evaluate(f"({box})('#controls')")
        title = page.evaluate(f"({box})('#{section} h2')")
        assert (controls["bottom"] > 0) == there
        assert controls["bottom"] <= title["top"] + 1


def hover(page: Any, figure: str, curve: int, point: int) -> str:
    """Move the mouse to a point of a line or of marks; return what is said of it."""
    page.locator(f"#s-{figure}").scroll_into_view_if_needed()
    page.wait_for_selector(f"#{figure} .main-svg")
    page.evaluate(
        "id => document.getElementById(id).scrollIntoView({block: 'center', behavior: 'instant'})",
        figure,
    )
    marks = page.locator(f"#{figure} .scatterlayer .trace").nth(curve).locator(".points path")
    box = marks.nth(point).bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    shown = page.locator(f"#{figure} .hoverlayer .hovertext")
    shown.first.wait_for()
    return " ".join(shown.all_text_contents())


def choose_text(page: Any, select: str, text: str) -> None:
    texts = page.locator(f"#{select} option").all_text_contents()
    page.select_option(f"#{select}", str(next(i for i, t in enumerate(texts) if text in t)))


def test_predictions_stand_beside_what_was_measured(open_page: Open) -> None:
    page = open_page()
    choose_text(page, "prediction", "digits, training loss ≤ 0.1")
    told = page.locator("#foretold-note").inner_text()
    assert "curvature predicts 114 (doubtful), the cone 74; measured" in told
    assert told in page.locator("#foretold").get_attribute("aria-label")
    text = hover(page, "foretold", 0, 0)
    assert "curvature (gauss-newton well), doubtful" in text
    assert "centre 96 [81, 111]" in text
    page.locator("#s-foretold summary").first.click()
    rows = page.locator("#s-foretold tbody tr").all_inner_texts()
    assert any(row.startswith("cone\t60\t47\t73\t") and row.endswith("ok") for row in rows)
    assert any(row.startswith("measured, adam") for row in rows)
    assert any(page_store.EVIL in row for row in rows)  # a note of the prediction, as text
    assert "# subspan predict digits" in page.locator("#s-foretold code").text_content()
    choose_text(page, "prediction", page_store.EVIL)
    assert "curvature predicts nothing" in page.locator("#foretold-note").inner_text()
    assert page.evaluate("window.evil") is None


def test_figures_of_their_own_choice_follow_the_problem(open_page: Open) -> None:
    page = open_page()
    choose_text(page, "problem", page_store.EVIL)
    chosen = "id => document.getElementById(id).selectedOptions[0].text"
    assert page_store.EVIL in page.evaluate(chosen, "prediction")
    assert page_store.EVIL in page.evaluate(chosen, "trial")
    assert "curvature predicts nothing" in page.locator("#foretold-note").inner_text()
    choose_digits(page)
    assert page.evaluate(chosen, "prediction").startswith("digits")


def test_spectra_of_training_and_of_curvature(open_page: Open) -> None:
    page = open_page()
    choose_text(page, "spectra", "singular values of training")
    assert "2 full-space runs of 600 steps" in page.locator("#spectrum-note").inner_text()
    text = hover(page, "spectrum", 0, 1)
    assert "i = 2" in text
    assert "% of Σσ² up to here" in text
    choose_text(page, "spectra", "curvature near training loss ≤ 0.1")
    assert "of Σλ lies in" in page.locator("#spectrum-note").inner_text()
    assert "λ = 2" in hover(page, "spectrum", 0, 1)
    assert "draw_spectrum" in page.locator("#s-spectrum code").text_content()


def test_names_stay_names(open_page: Open) -> None:
    page = open_page()
    texts = page.locator("#problem option").all_text_contents()
    evil = next(i for i, text in enumerate(texts) if page_store.EVIL in text)
    page.select_option("#problem", str(evil))
    page.evaluate("drawAll()")
    assert page.evaluate("window.evil") is None
    assert page.locator("main img").count() == 0
    for folded in page.locator("#headline summary").all():
        folded.click()
    assert page_store.EVIL in page.locator("#headline").inner_text()
    assert "validation reward ≥ 20" in page.locator("#told").inner_text()


def test_the_table_is_filtered_sorted_and_leads_to_curves(open_page: Open) -> None:
    page = open_page()
    count, rows = page.locator("#count"), page.locator("#trials tbody tr")
    total = len(page_store.records())
    assert count.inner_text() == f"1–50 of {total} trials"
    page.fill("#filter", "burn-in:64")
    assert count.inner_text() == "1–40 of 40 trials"
    page.fill("#from", "100")
    page.fill("#to", "130")
    assert count.inner_text() == "1–8 of 8 trials"
    page.fill("#from", "")
    page.fill("#to", "")
    page.get_by_role("button", name="d", exact=True).click()
    page.get_by_role("button", name="d", exact=True).click()
    assert page.locator("th[aria-sort]").get_attribute("aria-sort") == "descending"
    assert rows.first.locator("td").nth(3).inner_text() == "256"
    key = rows.first.locator("td").all_inner_texts()[-2]
    rows.first.get_by_role("button").click()
    page.wait_for_selector("#learning .main-svg")
    assert key in page.locator("#s-learning code").text_content()


def test_dark_by_preference_and_by_button(open_page: Open) -> None:
    page = open_page(color_scheme="dark")
    paper = "getComputedStyle(document.documentElement).backgroundColor"
    assert page.evaluate(paper) == "rgb(18, 22, 28)"
    page.get_by_role("button", name="Dark").click()
    assert page.evaluate(paper) == "rgb(255, 255, 255)"
    assert page.locator("#theme").get_attribute("aria-pressed") == "false"
    ink = page.evaluate("document.getElementById('phase').layout.font.color")
    assert ink == "#1d2430"


def test_on_paper_every_figure_is_there_in_ink(open_page: Open, tmp_path: Path) -> None:
    page = open_page(color_scheme="dark")
    choose_digits(page)
    page.pdf(path=tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
    page.emulate_media(media="print")
    page.wait_for_function("document.documentElement.dataset.theme === 'light'")
    drawn = page.locator(".figure:not(.missing) .plot .main-svg").count()
    assert drawn >= 2 * page.locator(".figure:not(.missing)").count()
    assert not page.locator("#print").is_visible()
    sizes = page.evaluate(
        "[...document.querySelectorAll('.figure:not(.missing) .plot')].map((plot) => {"
        "const svg = plot.querySelector('.main-svg');"
        "return [svg.clientWidth, svg.clientHeight - plot.clientHeight]})"
    )
    assert sizes == [[680, 0]] * len(sizes)
    page.emulate_media(media="screen")
    page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    page.locator("#s-phase").scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('#phase .main-svg').clientWidth > 900")


A4 = 717  # pixels between Chromium's margins


def test_on_paper_nothing_is_cut_off_at_the_edge(open_page: Open) -> None:
    page = open_page(viewport={"width": A4, "height": 960})
    page.emulate_media(media="print")
    page.wait_for_function("document.documentElement.dataset.theme === 'light'")
    wide = """() => [...document.querySelectorAll("pre, table, .scroll")]
        .filter((e) => e.getClientRects().length && e.scrollWidth > e.clientWidth + 1)
        .map((e) => `${e.tagName} ${e.id}`)"""
    assert page.evaluate(wide) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= A4


def test_a_narrow_screen_needs_no_scrolling_sideways(open_page: Open) -> None:
    page = open_page(viewport={"width": 360, "height": 740})
    choose_digits(page)
    page.evaluate("drawAll()")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize(("scheme", "rules"), [("light", None), ("dark", ["color-contrast"])])
def test_axe_finds_nothing(
    open_page: Open, axe_finds: Open, scheme: str, rules: list[str] | None
) -> None:
    """All rules on light paper; in the dark the colours alone differ."""
    page = open_page(color_scheme=scheme)
    choose_digits(page)
    page.evaluate("drawAll()")
    for summary in page.locator("summary").all():
        if summary.is_visible():
            summary.click()
    assert axe_finds(page, rules) == []
