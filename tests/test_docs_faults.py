"""docs/faults.md: its table lists the faults that tests are marked with, and what comes of each."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.program

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "faults.md"


def marked(source: str) -> set[tuple[str, ...]]:
    """Fault and outcome of each `pytest.mark.fault` of a file."""
    return {
        tuple(ast.literal_eval(argument) for argument in node.args)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.fault"
    }


def rows(page: str) -> list[tuple[str, ...]]:
    """The rows of a page's tables, without their heads."""
    lines = re.findall(r"^\| (.*) \|$", page, re.M)
    return [tuple(line.split(" | ")) for line in lines if line != "fault | what comes of it"]


def test_the_table_is_that_of_the_tests() -> None:
    found = [pair for p in (ROOT / "tests").rglob("*.py") for pair in marked(p.read_text("utf-8"))]
    told = rows(PAGE.read_text(encoding="utf-8"))
    assert sorted(told) == sorted(set(found))
    assert len(told) > 30
    faults = [fault for fault, _ in set(found)]
    assert len(faults) == len(set(faults)), "one fault has two outcomes"


def test_a_mark_and_a_row_are_found() -> None:
    assert marked('@pytest.mark.fault(\n    "a", "b"\n)\ndef test_x(): pass') == {("a", "b")}
    assert rows("| fault | what comes of it |\n|---|---|\n| a | b |\n") == [("a", "b")]
