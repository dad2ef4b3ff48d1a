"""`make audit ADVISORIES=folder`: which pinned versions an advisory holds for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import advisories

ADVISORY = """
id: PYSEC-1
affected:
- package: {name: Some_Package, ecosystem: PyPI}
  ranges:
  - type: ECOSYSTEM
    events: [{fixed: 1.10.0}, {introduced: "0"}, {introduced: "2.0"}, {last_affected: "2.3"}]
  - type: GIT
    events: [{introduced: "0"}]
  versions: [3.5.post1]
"""


@pytest.mark.parametrize(
    ("version", "code"),
    [("1.9", 1), ("1.10.0", 0), ("1.11", 0), ("2.3", 1), ("2.3.1", 0), ("3.5.post1", 1)],
)
def test_versions_that_an_advisory_holds_for(version, code, tmp_path, capsys):
    (tmp_path / "PYSEC-1.yaml").write_text(ADVISORY)
    lock = tmp_path / "lock.txt"
    lock.write_text(f"some-package=={version}\nother==1.0\n")
    assert advisories.main(tmp_path, lock) == code
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "1 advisories; 1 of 2 pinned packages have some"
    assert told[1:] == [f"some-package=={version}: PYSEC-1"] * code
    (tmp_path / "PYSEC-1.yaml").write_text(ADVISORY + "withdrawn: 2026-01-01T00:00:00Z\n")
    assert advisories.main(tmp_path, lock) == 0


def test_a_folder_without_any_is_no_audit(tmp_path):
    assert advisories.main(tmp_path, advisories.ROOT / "constraints.txt") == 1
