"""Headless Chromium for the tests of pages.

Chromium comes from the system (`apt-get install chromium`), playwright and axe from pip; where one
is missing the tests are skipped.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright (pip)")
    if CHROMIUM is None:
        pytest.skip("no chromium (apt-get install chromium)")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield opened
        opened.close()


@pytest.fixture
def open_at(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open an address; at the end nothing may have been complained of or fetched."""
    said: list[str] = []
    contexts = []

    def opened(address: str, **options: Any) -> Any:
        context = browser.new_context(**({"viewport": {"width": 1100, "height": 900}} | options))
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: said.append(f"error: {error}"))
        page.on("requestfailed", lambda request: said.append(f"failed: {request.url}"))
        page.on("request", lambda r: said.append(r.url) if r.url.startswith("http") else None)
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert said == []


@pytest.fixture
def axe_finds() -> Callable[..., list[tuple[str, str]]]:
    """What axe-core has against a page: the rule, and the first element that breaks it."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe (pip)")

    def found(page: Any, rules: list[str] | None = None) -> list[tuple[str, str]]:
        # From the disk a script may read no style sheet: axe, not the page, would complain of that.
        options: dict[str, Any] = {"preload": False, "resultTypes": ["violations"]}
        if rules is not None:
            options["runOnly"] = {"type": "rule", "values": rules}
        violations = axe.Axe().run(page, options=options).response["violations"]
        return [(v["id"], v["nodes"][0]["html"][:200]) for v in violations]

    return found
