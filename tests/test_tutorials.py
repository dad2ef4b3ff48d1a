"""The tutorials run as they stand, each in a folder of its own; the site's formulas are typeset."""

from __future__ import annotations

import importlib.util
import runpy
from pathlib import Path

import pytest

pytestmark = pytest.mark.program

DOCS = Path(__file__).resolve().parents[1] / "docs"
TUTORIALS = sorted((DOCS / "tutorials").glob("*.py"))


def test_there_are_tutorials_and_the_site_shows_each() -> None:
    page = (DOCS / "tutorials.md").read_text(encoding="utf-8")
    assert len(TUTORIALS) >= 7
    for path in TUTORIALS:
        assert f"tutorials/{path.name}" in page


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda p: p.stem)
def test_a_tutorial_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(path))


def test_formulas_become_mathml_and_code_stays() -> None:
    pytest.importorskip("latex2mathml", reason="of the extra `docs`")
    spec = importlib.util.spec_from_file_location("mathml", DOCS / "hooks" / "mathml.py")
    assert spec is not None
    assert spec.loader is not None
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    text = "In \\(w = A\\theta\\):\n\n$$P_s \\ge 1-\\delta$$\n\n`\\(x\\)`\n\n```\n$$y$$\n```\n"
    made = hook.typeset(text)
    assert made.count("<math") == 2
    assert 'display="block"' in made
    assert "`\\(x\\)`" in made
    assert "```\n$$y$$\n```" in made
