"""The documentation site, built once and opened from the disk in headless Chromium.

`make site` installs what it needs; elsewhere the tests are skipped with the reason.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PAGES = ("index", "concepts", "tutorials", "api")
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, browser: Any) -> Path:
    for name in ("mkdocs", "material", "mkdocstrings", "latex2mathml", "plotly"):
        pytest.importorskip(name, reason=f"no {name}: pip install 'subspan[docs,report]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def open_page(open_at: Open, site: Path) -> Open:
    def opened(name: str, **options: Any) -> Any:
        page = open_at((site / f"{name}.html").as_uri(), **options)
        page.wait_for_load_state("load")
        if name == "index" and options.get("java_script_enabled", True):
            page.wait_for_selector("#phase .heatmaplayer image")
        return page

    return opened


def test_the_slider_of_the_start_page_moves_the_threshold(open_page: Open) -> None:
    page = open_page("index")
    told = page.locator("#told")
    assert "70 % training accuracy: d* =" in told.inner_text()
    marks = "document.getElementById('phase').data[2].y[0]"
    at = page.evaluate(marks)
    page.locator("#goal").focus()
    page.keyboard.press("ArrowLeft")
    assert "70 % training accuracy:" not in told.inner_text()
    assert page.evaluate(marks) < at
    assert page.locator("#goal").get_attribute("aria-valuetext") in told.inner_text()
    methods = page.locator("#experiment option").all_text_contents()
    random, burn_in = (
        next(i for i, t in enumerate(methods) if name in t) for name in ("random", "burn-in")
    )
    page.select_option("#experiment", str(burn_in))
    other = told.inner_text()
    page.select_option("#experiment", str(random))
    assert told.inner_text() != other
    page.locator("#s-phase summary").first.click()
    page.wait_for_selector("#s-phase tbody tr:nth-child(5)")


def test_the_start_page_is_whole_without_scripts(open_page: Open) -> None:
    page = open_page("index", java_script_enabled=False)
    picture = page.locator("#s-phase img")
    assert picture.is_visible()
    assert picture.evaluate("image => image.naturalWidth") > 500
    assert not page.locator("#controls").is_visible()


def test_the_search_works_from_the_disk(open_page: Open) -> None:
    page = open_page("faq")
    page.click(".md-search__input")
    page.keyboard.type("burn in")  # of "burn-", on the way to "burn-in", lunr complains
    page.wait_for_selector(".md-search-result__item")
    texts = page.locator(".md-search-result__item h1, .md-search-result__item h2").all_inner_texts()
    assert any("Burn-in" in text for text in texts)


def test_dark_by_preference_and_by_button(open_page: Open) -> None:
    page = open_page("index", color_scheme="dark")
    ink = "document.getElementById('phase').layout.font.color"
    assert page.evaluate("document.body.dataset.mdColorScheme") == "slate"
    assert page.evaluate(ink) == "#e8ecf1"
    page.locator("label[title=Light]").click()
    page.wait_for_function("document.body.dataset.mdColorScheme === 'default'")
    assert page.evaluate(ink) == "#1d2430"


def test_formulas_are_typeset_and_drawings_wear_the_text_colour(open_page: Open) -> None:
    page = open_page("concepts", color_scheme="dark")
    assert page.locator("math[display=block]").count() >= 4
    assert page.locator("math[display=block] msub").count() > 0
    assert "$$" not in page.locator("article").inner_text()
    drawing = page.locator(".drawing svg text").first
    assert page.locator(".drawing").count() == 12
    body = page.evaluate("getComputedStyle(document.querySelector('.md-typeset')).color")
    assert drawing.evaluate("text => getComputedStyle(text).fill") == body


def test_code_can_be_copied(open_page: Open) -> None:
    page = open_page("tutorials", permissions=["clipboard-read", "clipboard-write"])
    code = page.locator(".highlight").first
    code.hover()
    code.locator("button, [data-clipboard-target]").first.click()
    page.wait_for_function("navigator.clipboard.readText().then((t) => t.includes('subspan'))")


@pytest.mark.parametrize("name", PAGES)
def test_a_narrow_screen_needs_no_scrolling_sideways(open_page: Open, name: str) -> None:
    page = open_page(name, viewport={"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


# Of entries that repeat, those that hold a kind of element (tag and classes) that no other has
# shown. The API reference has some hundreds, and axe's time grows with them.
ONE_OF_EACH_KIND = """() => {
    const seen = new Set(), entries = [...document.querySelectorAll('.doc-object, .md-nav__item')];
    for (const entry of entries.reverse()) {
        const parts = [entry, ...entry.querySelectorAll('*')];
        const kinds = parts.map((part) => `${part.tagName}.${part.className}`);
        if (kinds.some((kind) => !seen.has(kind)) || entry.querySelector('[data-kept]')) {
            kinds.forEach((kind) => seen.add(kind));
            entry.dataset.kept = '';
        } else entry.remove();
    }
    return seen.size;
}"""


@pytest.mark.parametrize(("scheme", "rules"), [("light", None), ("dark", ["color-contrast"])])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing(
    open_page: Open, axe_finds: Open, name: str, scheme: str, rules: list[str] | None
) -> None:
    """All rules in the light; in the dark the colours alone differ. No id stands twice."""
    page = open_page(name, color_scheme=scheme)
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert sorted(ids) == sorted(set(ids))
    assert page.evaluate(ONE_OF_EACH_KIND) > 3
    assert axe_finds(page, rules) == []


def test_what_is_left_of_a_page_for_axe_still_shows_a_fault(
    open_page: Open, axe_finds: Open
) -> None:
    page = open_page("api")
    page.evaluate(
        "document.querySelectorAll('.doc-object')[99].insertAdjacentHTML('beforeend', "
        "'<img class=fault src=\"\">')"
    )
    page.evaluate(ONE_OF_EACH_KIND)
    assert [rule for rule, _ in axe_finds(page, ["image-alt"])] == ["image-alt"]
