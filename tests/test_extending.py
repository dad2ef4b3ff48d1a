"""The examples of docs/extending/ run as they stand; what they register is taken out again."""

from __future__ import annotations

import importlib
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"
EXAMPLES = sorted((DOCS / "extending").glob("*.py"))
REGISTRIES = {
    "metrics": "METRICS",
    "optimizers": "OPTIMIZERS",
    "maps": "MAPS",
    "subspaces.registry": "METHODS",
    "problems.registry": "PROBLEMS",
    "trials.executors.registry": "EXECUTORS",
    "trials.stores.registry": "STORES",
    "cli.app": "COMMANDS",
}


@pytest.fixture(autouse=True)
def registries_as_before() -> Iterator[None]:
    tables = [
        getattr(importlib.import_module(f"subspan.{module}"), name)
        for module, name in REGISTRIES.items()
    ]
    before = [dict(table) for table in tables]
    yield
    for table, held in zip(tables, before, strict=True):
        table.clear()
        table.update(held)


def test_each_extension_point_has_an_example_and_the_page_shows_it() -> None:
    page = (DOCS / "extending.md").read_text(encoding="utf-8")
    assert len(EXAMPLES) == 10
    for path in EXAMPLES:
        assert f"extending/{path.name}" in page


def test_the_page_names_every_conformance_suite() -> None:
    from subspan import testing

    page = (DOCS / "extending.md").read_text(encoding="utf-8")
    assert [name for name in testing.__all__ if f"`{name}" not in page] == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(path))


def test_the_command_of_the_example_counts(
    cli: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import subspan as ss
    from subspan.cli import app

    problem = ss.problems.load("digits-mlp", subset=60)
    spec = ss.TrainSpec(steps=2)
    ss.run(problem, "random", [4], 3, spec, workers=1, store=tmp_path / "runs.db")
    monkeypatch.syspath_prepend(str(DOCS / "extending"))
    monkeypatch.setitem(app.COMMANDS, "count-trials", "count_trials")
    code, out, _ = cli(f"count-trials {tmp_path / 'runs.db'}")  # type: ignore[operator]
    assert (code, out) == (0, "3 trials\n")
