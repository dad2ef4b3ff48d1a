"""docs/adapters.md has a test for every feature and every defect, and each test exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest


def tables(page: str, header: str) -> list[list[str]]:
    """Rows of the table whose last column is called `header`, as lists of cells."""
    found = re.search(rf"^\|[^\n|]*\| {re.escape(header)} \|\n\|[-|]+\n((?:\|.*\n)+)", page, re.M)
    assert found is not None, header
    return [line.strip("|").split("|") for line in found[1].splitlines()]


def named_tests(text: str) -> set[str]:
    return set(re.findall(r"`(test_\w+)`", text))


@pytest.fixture
def page(repo_root: Path) -> str:
    return (repo_root / "docs" / "adapters.md").read_text(encoding="utf-8")


def test_the_page_names_tests_that_exist(page: str, repo_root: Path) -> None:
    files = [
        p for of in ("adapters", "tuning") for p in (repo_root / "tests" / of).glob("test_*.py")
    ]
    found = {n for f in files for n in re.findall(r"^def (test_\w+)", f.read_text(), re.M)}
    named = named_tests(page)
    assert len(named) > 20
    assert named <= found, named - found


@pytest.mark.parametrize(
    ("header", "least"),
    [("test in `tests/adapters/`", 20), ("test", 6)],
    ids=["features", "defects"],
)
def test_every_row_names_a_test(page: str, header: str, least: int) -> None:
    rows = tables(page, header)
    assert len(rows) >= least
    for row in rows:
        assert named_tests(row[-1]), row


def test_a_row_without_a_test_is_seen() -> None:
    page = "| defect | test |\n|---|---|\n| one | `test_one` |\n| two | none |\n"
    assert [bool(named_tests(row[-1])) for row in tables(page, "test")] == [True, False]
