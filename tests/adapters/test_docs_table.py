"""Every test that docs/adapters.md names exists."""

from __future__ import annotations

import re
from pathlib import Path


def test_the_tables_name_tests_that_exist(repo_root: Path) -> None:
    page = (repo_root / "docs" / "adapters.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+)`", page))
    files = (repo_root / "tests" / "adapters").glob("test_*.py")
    found = {n for f in files for n in re.findall(r"^def (test_\w+)", f.read_text(), re.M)}
    assert len(named) > 20
    assert named <= found, named - found
