"""`--device`: where a command computes, and what it says of a device that is not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import typer.main

from subspan.cli.app import build
from subspan.cli.target import load_subject
from subspan.errors import InputError
from subspan.problems import devices
from subspan.problems.module import Problem
from subspan.trials.stores.sql import Store

SURFACE = "surface digits-mlp --subset 60 --dims 4 --goals loss<=1 --repeats 1 --steps 3 --lr 0.1"
LINES = [
    'threshold digits-mlp --goal "loss<=0.1" --max-trials 2 --steps 4 --workers 1',
    SURFACE,
    "compare digits-mlp --dims 4 --repeats 1 --steps 3",
    'predict digits-mlp --goal "loss<=0.1"',
    "spectroscopy digits-mlp",
    "demo",
]

FUNCTION = """
import subspan as ss

@ss.trainable(name="mine", max_dim=10, version="1")
def mine(trial):
    return {"loss": 1.0}
"""


def test_every_command_that_computes_has_it() -> None:
    commands: Any = typer.main.get_command(build())
    have = {n for n, c in commands.commands.items() if "device" in {p.name for p in c.params}}
    assert have == {line.split()[0] for line in LINES} | {"experiment"}


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.split()[0])
@pytest.mark.parametrize("name", ["cuda:99", "meta"])
def test_a_device_that_is_not_there_is_one_clear_line(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = cli(f"{line} --device {name}")
    assert (code, out) == (2, "")
    told = f"error: device: expected one that is there: {', '.join(devices.names())}, got '{name}'."
    assert err.startswith(told)
    assert len(err.splitlines()) == 1


def test_it_is_refused_before_data_is_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="device: expected one that is there"):
        load_subject("mnist-conv2", tmp_path / "nowhere", None, "meta")


def test_on_the_cpu_trials_are_those_without_it(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    records = []
    for store, more in (("a.db", ""), ("b.db", " --device cpu")):
        assert cli(f"{SURFACE} --store {store}{more}")[0] == 0
        with Store(store, readonly=True) as opened:
            records.append([(r.key, r.curve) for r in opened.records()])
    assert records[0]
    assert records[0] == records[1]


def test_a_problem_goes_there_by_its_name_or_from_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "find", torch.device)
    moved: list[Any] = []

    def noted(problem: Problem, device: Any = None, dtype: Any = None) -> Problem:
        moved.append(device)
        return problem

    monkeypatch.setattr(Problem, "to", noted)
    file = tmp_path / "mine.py"
    file.write_text(
        "import subspan as ss\nproblem = ss.problems.load('digits-mlp', subset=60)\n", "utf-8"
    )
    for name in ("digits-mlp", f"{file}:problem"):
        load_subject(name, None, None, None)
        assert moved == []
        load_subject(name, None, None, "cuda:1")
        assert moved.pop() == "cuda:1"


def test_a_function_chooses_its_own(cli: Any, tmp_path: Path) -> None:
    file = tmp_path / "loop.py"
    file.write_text(FUNCTION, "utf-8")
    code, _, err = cli(f"surface {file}:mine --dims 2 --goals loss<=1 --device cpu")
    assert code == 2
    assert "--device: expected none for a function, which chooses its own, got 'cpu'" in err


@pytest.mark.gpu
def test_on_a_gpu_records_say_so(cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli(f"{SURFACE} --store runs.db --device cuda")[0] == 0
    with Store("runs.db", readonly=True) as opened:
        assert all(r.provenance["device"].startswith("cuda") for r in opened.records())


@pytest.mark.gpu
def test_a_prediction_is_computed_on_a_gpu(cli: Any) -> None:
    line = 'predict digits-mlp --subset 200 --goal "loss<=1" --steps 20 --directions 2'
    code, out, err = cli(f"{line} --device cuda --json")
    assert code == 0, err
    assert json.loads(out)["value"] is not None
