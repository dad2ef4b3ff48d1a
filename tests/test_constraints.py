"""The lock: every package that an extra of ours brings, by whatever way, is pinned once."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
LINE = re.compile(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.+!]+)")


def pins(text: str) -> dict[str, str]:
    """Versions by package; a line that is no pin, or a package twice, is refused."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        line = line.partition("#")[0].strip()
        if not line:
            continue
        match = LINE.fullmatch(line)
        assert match, f"no pin: {line}"
        name = canonicalize_name(match[1])
        assert name not in found, f"twice: {name}"
        found[name] = match[2]
    return found


def closure(name: str, extras: frozenset[str]) -> set[str]:
    """All installed packages that a package needs here, with its extras, and what they need."""
    found: set[str] = set()
    waiting = [(name, extras)]
    seen = set()
    while waiting:
        one, wanted = waiting.pop()
        if (one, wanted) in seen:
            continue
        seen.add((one, wanted))
        try:
            needs = metadata.requires(one) or []
        except metadata.PackageNotFoundError:  # an extra that is not installed
            continue
        found.add(canonicalize_name(one))
        for text in needs:
            need = Requirement(text)
            marked = need.marker is None or any(
                need.marker.evaluate({"extra": extra}) for extra in wanted | {""}
            )
            if marked:
                waiting.append((need.name, frozenset(need.extras)))
    return found


def test_every_package_that_is_brought_is_pinned() -> None:
    known = pins((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    extras = metadata.metadata("subspan").get_all("Provides-Extra") or []
    brought = closure("subspan", frozenset(extras)) - {"subspan"}
    assert {"torch", "numpy", "hypothesis", "packaging"} <= brought
    assert sorted(brought - known.keys()) == []


def test_what_builds_the_package_is_pinned_too() -> None:
    known = pins((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    needs = {canonicalize_name(Requirement(r).name) for r in project["build-system"]["requires"]}
    assert needs
    assert needs <= known.keys()


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_every_install_of_the_makefile_is_under_the_lock() -> None:
    """But that of the audit, which is no part of the environment."""
    asked = ["make", "--always-make", "--dry-run", "test", "docs", "audit"]
    told = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    installs = [
        line
        for line in told.replace("\\\n", " ").splitlines()
        if "pip install" in line and "pip-audit" not in line
    ]
    assert len(installs) >= 2
    for line in installs:
        assert "-c constraints.txt" in line
        assert "PIP_CONSTRAINT=constraints.txt" in line  # of the build, by pip before 25.3
        assert "PIP_BUILD_CONSTRAINT=constraints.txt" in line


@pytest.mark.parametrize("text", ["torch>=2", "torch", "-e .", "a==1\nA==2", "a == 1 ; b"])
def test_a_line_that_pins_nothing_is_found(text: str) -> None:
    with pytest.raises(AssertionError):
        pins(text)
