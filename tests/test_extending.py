"""The examples of docs/extending/: each runs as it stands, and what it registers works.

Nothing else in the library has to know of it: it stands in the help of the command line, in keys,
in stores. What an example registers is taken out again.
"""

from __future__ import annotations

import importlib
import json
import re
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import subspan as ss
from subspan import metrics
from subspan.maps.base import LinearMap
from subspan.problems.registry import PROBLEMS
from subspan.subspaces.base import Method
from subspan.trials.executors.base import Executor
from subspan.trials.stores.base import RecordStore

DOCS = Path(__file__).resolve().parents[1] / "docs"
EXAMPLES = sorted((DOCS / "extending").glob("*.py"))
OWN_TEST = ("metric", "optimiser", "linear_map", "method", "problem", "executor", "store")
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
SPEC = ss.TrainSpec(steps=3, batch_size=16)
Cli = Callable[[str], tuple[int, str, str]]


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


@pytest.fixture(scope="module")
def digits() -> Any:
    return ss.problems.load("digits-mlp", subset=60)


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """Run an example in an empty folder; return what it defines."""
    monkeypatch.chdir(tmp_path)
    return lambda name: runpy.run_path(str(DOCS / "extending" / f"{name}.py"))


@pytest.fixture
def helped(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    monkeypatch.setenv("COLUMNS", "400")
    return lambda command: cli(f"{command} --help")[1]


Example = Callable[[str], dict[str, Any]]
Helped = Callable[[str], str]


def test_each_extension_point_has_an_example_and_the_page_shows_it() -> None:
    page = (DOCS / "extending.md").read_text(encoding="utf-8")
    assert len(EXAMPLES) == 10
    for path in EXAMPLES:
        assert f"extending/{path.name}" in page


def test_the_page_names_every_conformance_suite() -> None:
    from subspan import testing

    page = (DOCS / "extending.md").read_text(encoding="utf-8")
    assert [name for name in testing.__all__ if f"`{name}" not in page] == []


@pytest.mark.parametrize("name", [p.stem for p in EXAMPLES if p.stem not in OWN_TEST])
def test_an_example_runs(example: Example, name: str) -> None:
    example(name)


def test_a_metric(example: Example, digits: Any, helped: Helped) -> None:
    record = example("metric")["record"]
    assert metrics.known("brier").higher is False
    surface = ss.success_surface([record], ["brier<=2", "brier<=0.001"])
    assert [cell.successes for cell in surface.cells] == [1, 0]
    with pytest.raises(ss.InputError, match="lower is better"):
        ss.parse_goal("brier>=0.1")
    assert "brier" in helped("threshold")


def test_an_optimiser(example: Example, digits: Any, helped: Helped) -> None:
    example("optimiser")
    spec = ss.TrainSpec("signs", lr=0.01)
    assert (spec.batch_size, spec.steps) == (None, 4)
    (record,) = ss.run(digits, "random", [4], 1, spec, workers=2, executor="forked")
    assert record.trial.spec["optimizer"] == "signs"
    assert "signs" in helped("surface")


def test_a_map(
    example: Example, digits: Any, helped: Helped, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = example("linear_map")["FirstMap"]
    monkeypatch.setattr(first, "revision", classmethod(lambda cls, dim: int(dim > 100)))
    method = ss.parse_method("random:first,skip=2")
    small, large = ss.run(digits, method, [4, 101], 1, SPEC, workers=1)
    assert small.trial.method["map"] == "first"
    monkeypatch.setattr(first, "revision", classmethod(lambda cls, dim: 0))
    same = ss.run(digits, method, [4, 101], 1, SPEC, workers=1)
    assert small.key == same[0].key
    assert large.key != same[1].key, "a revision of a map's bits is part of the key"
    module = torch.nn.Linear(4, 3)
    before = module.weight.detach().clone()
    handle = ss.attach(module, dim=3, map="first", skip=1)
    with torch.no_grad():
        handle.theta.copy_(torch.tensor([1.0, 2.0, 3.0]))
    moved = (module.weight - before).flatten().tolist() + module.bias.tolist()
    assert moved[1:4] == pytest.approx([1.0, 2.0, 3.0], abs=1e-6)
    assert "first" in helped("threshold")


def test_a_method(example: Example, digits: Any, helped: Helped, cli: Cli) -> None:
    tail = example("method")["Tail"]
    table = ss.compare(digits, ["tail:3", tail(7)], [4], 2, SPEC, workers=1)
    assert table.methods == ("random", "tail:3", "tail:7")
    code, out, err = cli(
        'surface digits-mlp --subset 60 --dims 4 --repeats 1 --goals "loss<=2" --method tail:2 '
        "--steps 2 --json --workers 1"
    )
    assert code == 0, err
    assert json.loads(out)["experiment"]["method"] == {"name": "tail", "gap": 2}
    assert "tail:GAP" in helped("threshold")


def test_a_problem(example: Example, helped: Helped, cli: Cli) -> None:
    example("problem")
    code, out, err = cli(
        'surface xor --dims 2 --repeats 1 --goals "loss<=9" --subset 12 --json --workers 1'
    )
    assert code == 0, err
    assert json.loads(out)["experiment"]["problem"]["name"] == "xor"
    assert ss.problems.load("xor", noise=0.5).origin == {"name": "xor", "options": {"noise": 0.5}}
    named = {entry["name"] for entry in json.loads(cli("problems --json")[1])}
    assert {"xor", "digits-mlp"} <= named
    assert f"{len(PROBLEMS)} in all" in helped("threshold")


def test_an_executor(example: Example, digits: Any, helped: Helped, cli: Cli) -> None:
    example("executor")
    ours = ss.run(digits, "random", [4, 5], 2, SPEC, executor="at-once")
    inline = ss.run(digits, "random", [4, 5], 2, SPEC, executor="inline")
    assert [repr(r.curve) for r in ours] == [repr(r.curve) for r in inline]
    code, _, err = cli(
        'surface digits-mlp --subset 60 --dims 4 --repeats 1 --goals "loss<=2" --steps 2 '
        "--executor at-once"
    )
    assert code == 0, err
    assert "at-once" in helped("compare")


def test_a_store(example: Example, cli: Cli) -> None:
    records = example("store")["again"][0]
    trials = json.loads(cli("trials folder://runs --json")[1])
    assert [trial["key"] for trial in trials] == [record.key for record in records]
    code, out, _ = cli("resume folder://runs")
    assert (code, out[:20]) == (0, "Nothing to go on wit")


def test_the_command_of_the_example_counts(
    cli: Cli, digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from subspan.cli import app

    spec = ss.TrainSpec(steps=2)
    ss.run(digits, "random", [4], 3, spec, workers=1, store=tmp_path / "runs.db")
    monkeypatch.syspath_prepend(str(DOCS / "extending"))
    monkeypatch.setitem(app.COMMANDS, "count-trials", "count_trials")
    code, out, _ = cli(f"count-trials {tmp_path / 'runs.db'}")
    assert (code, out) == (0, "3 trials\n")


@pytest.mark.parametrize(
    ("row", "interface"),
    [
        ("an executor", Executor),
        ("a store", RecordStore),
        ("a map", LinearMap),
        ("a method", Method),
    ],
)
def test_the_table_names_what_an_interface_asks_for(row: str, interface: Any) -> None:
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {row} |")]
    write = line.split("|")[3]
    named = {name for name in re.findall(r"`(\w+)[^`]*`", write)}  # also `completed(futures, …)`
    wanted = {
        name.strip("_") if name == "__len__" else name for name in interface.__abstractmethods__
    }
    assert wanted <= named, wanted - named
