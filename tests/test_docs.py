"""The Python blocks of README.md and docs/ run, but for those below `<!-- not run: reason -->`.

A block that is the same code as one of README.md, as on the start page, runs there.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.program

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(
    r"^(?:<!--\s*not run:\s*(?P<reason>.*?)\s*-->\s*\n)?"
    r"(?P<indent>[ \t]*)```python[^\n]*\n(?P<code>.*?)^(?P=indent)```\s*$",
    re.M | re.S,
)


@dataclass(frozen=True)
class Block:
    code: str
    line: int
    reason: str | None


def blocks(text: str) -> list[Block]:
    """The Python blocks of a page, in order."""
    found = []
    for match in _BLOCK.finditer(text):
        indent = match["indent"]
        lines = [line.removeprefix(indent) for line in match["code"].splitlines()]
        found.append(
            Block("\n".join(lines), text[: match.start("code")].count("\n") + 1, match["reason"])
        )
    return found


def run(page: str, text: str, elsewhere: str = "") -> int:
    """Run a page's blocks in one namespace, in order; return how many ran.

    Args:
        page: its name.
        text: what it says.
        elsewhere: another page's text, whose blocks are run there.
    """
    namespace: dict[str, object] = {"__name__": "docs"}
    known = {ast.dump(ast.parse(block.code)) for block in blocks(elsewhere)}
    ran = 0
    for block in blocks(text):
        if block.reason is None and ast.dump(ast.parse(block.code)) not in known:
            # Leading newlines make a traceback point at the page's own line.
            exec(compile("\n" * (block.line - 1) + block.code, page, "exec"), namespace)
            ran += 1
    return ran


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    readme = ROOT / "README.md"
    elsewhere = "" if page == readme else readme.read_text(encoding="utf-8")
    run(str(page), page.read_text(encoding="utf-8"), elsewhere)


def test_the_readme_has_blocks_that_run() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert any(block.reason is None for block in blocks(text))


def test_a_block_left_out_gives_a_reason() -> None:
    for page in PAGES:
        for block in blocks(page.read_text(encoding="utf-8")):
            assert block.reason is None or len(block.reason) > 3, f"{page.name}:{block.line}"


def test_a_wrong_block_fails_at_its_line() -> None:
    text = "# Title\n\n```python\nx = 1\n```\n\nText.\n\n```python\nassert x == 2\n```\n"
    with pytest.raises(AssertionError) as caught:
        run("page.md", text)
    assert caught.traceback[-1].lineno + 1 == 10


def test_a_block_of_another_page_runs_there() -> None:
    text = "```python\nx = 1\n```\n```python\ny = 2\n```\n"
    assert run("page.md", text, "```python\nx = 1  # the same\n```\n") == 1


def test_a_marked_block_is_left_out_and_others_are_not() -> None:
    left_out = "<!-- not run: needs a GPU -->\n```python\n1 / 0\n```\n\n"
    text = left_out + "```python\nx = 1\n```\n```bash\nls\n```\n"
    assert [block.reason for block in blocks(text)] == ["needs a GPU", None]
    assert run("page.md", text) == 1


def test_the_concepts_show_each_drawing_and_name_the_script() -> None:
    text = (ROOT / "docs" / "concepts.md").read_text(encoding="utf-8")
    drawings = {path.name for path in (ROOT / "docs" / "images" / "concepts").glob("*.svg")}
    assert set(re.findall(r"^!\[[^\]]+\]\(images/concepts/(.*?)\)$", text, re.M)) == drawings
    assert "experiments/concepts/draw.py" in text
    script = (ROOT / "experiments" / "concepts" / "draw.py").read_text(encoding="utf-8")
    assert all(f'"{name.removesuffix(".svg")}"' in script for name in drawings)


def ragged(text: str) -> list[int]:
    """The lines of tables that have not as many cells as the table's head, counted from 1."""
    lines = re.sub(r"`[^`\n]*`", "", text).split("\n")
    cells = [len(re.split(r"(?<!\\)\|", line)) if line.startswith("|") else 0 for line in lines]
    wrong, head = [], 0
    for number, count in enumerate(cells, 1):
        head = (head or count) if count else 0
        if count != head:
            wrong.append(number)
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_tables_have_as_many_cells_in_every_line(page: Path) -> None:
    """A rule of seven cells under a head of eight is no table but a paragraph of bars."""
    assert ragged(page.read_text(encoding="utf-8")) == []


def test_a_rule_too_short_is_found() -> None:
    assert ragged("| a | b |\n|---|\n| 1 | 2 |\n\n| c |\n|---|\n| `x|y` |") == [2]


def test_links_inside_the_repository_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if not re.match(r"\w+:", target):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"
