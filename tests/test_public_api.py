"""The public names, in one file, so that a change is seen; and as type checkers see them."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import subspan

HERE = Path(__file__).parent
LISTED = HERE / "public_api.txt"
MODULES = ("maps", "metrics", "problems", "report", "subspaces", "testing", "theory")


def public() -> list[str]:
    """`threshold`, `report.write_page`, …: what the package and its public modules offer."""
    names = [name for name in subspan.__all__ if name != "__version__"]
    for module in MODULES:
        found = importlib.import_module(f"subspan.{module}")
        own = getattr(found, "__all__", None) or [
            name
            for name, value in vars(found).items()
            if not name.startswith("_")
            and getattr(value, "__module__", "").startswith("subspan.")
            and callable(value)
        ]
        names += [f"{module}.{name}" for name in own]
    return sorted(set(names))


def test_the_public_names_are_those_that_are_listed() -> None:
    listed = LISTED.read_text(encoding="utf-8").split()
    added, gone = set(public()) - set(listed), set(listed) - set(public())
    assert (added, gone) == (set(), set()), (
        "If that is meant: python tests/test_public_api.py rewrites tests/public_api.txt."
    )
    assert listed == sorted(listed)


def referred() -> list[object]:
    """What `::: subspan.…` of docs/api.md names; of a module named whole what is defined in it.

    What a module imports from elsewhere the reference leaves out.
    """
    page = (HERE.parent / "docs" / "api.md").read_text(encoding="utf-8")
    found: list[object] = []
    for path in re.findall(r"^::: (subspan[\w.]*)$", page, re.M):
        thing = _at(path)
        found.append(thing)
        if inspect.ismodule(thing):
            found += [
                value
                for name, value in vars(thing).items()
                if not name.startswith("_") and getattr(value, "__module__", "") == thing.__name__
            ]
    return found


def _at(path: str) -> object:
    """The module or the member that a dotted path names."""
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        parent, _, name = path.rpartition(".")
        return getattr(_at(parent), name)


def test_the_reference_has_every_public_name() -> None:
    known = {id(thing) for thing in referred()}
    modules = {name for name in public() if inspect.ismodule(_at(f"subspan.{name}"))}
    missing = [n for n in public() if n not in modules and id(_at(f"subspan.{n}")) not in known]
    assert missing == [], "each wants a line `::: subspan.NAME` in docs/api.md"


@pytest.mark.slow
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_a_users_file_is_well_typed(checker: str, tmp_path: Path) -> None:
    pytest.importorskip(checker, reason=f"no {checker} (pip)")
    options = {
        "mypy": ["--ignore-missing-imports", "--follow-imports=silent", "--config-file="],
        "pyright": ["--pythonpath", sys.executable],
    }[checker]
    done = subprocess.run(
        [sys.executable, "-m", checker, *options, str(HERE / "user_code.py")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    if checker == "pyright" and "error" in done.stderr.lower() and not done.stdout.strip():
        pytest.skip(f"pyright could not start, it fetches Node: {done.stderr.strip()[-200:]}")
    assert done.returncode == 0, done.stdout + done.stderr


if __name__ == "__main__":
    LISTED.write_text("\n".join(public()) + "\n", encoding="utf-8")
