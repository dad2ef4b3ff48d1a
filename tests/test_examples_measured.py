"""Every file in examples/measure is measured by `threshold`, from the command line."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.program

# file → what it needs beyond the package's own, the function in it, and a goal
FILES = {
    "plain": ([], "digits", "test:accuracy>=0.5"),
    "with_lightning": (["lightning"], "digits", "test:accuracy>=0.5"),
    "with_trainer": (["transformers", "accelerate"], "tokens", "val:accuracy>=0.6"),
}


def test_every_file_is_measured(repo_root: Path) -> None:
    assert {p.stem for p in (repo_root / "examples" / "measure").glob("*.py")} == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_a_threshold_of_an_example(name: str, repo_root: Path, tmp_path: Path, cli: Any) -> None:
    needs, function, goal = FILES[name]
    for module in needs:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    file = repo_root / "examples" / "measure" / f"{name}.py"
    store = tmp_path / "runs.db"
    command = [
        *(sys.executable, "-m", "subspan", "threshold", f"{file}:{function}", "--goal", goal),
        *("--store", store, "--max-trials", "3", "--workers", "1", "--json"),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout[done.stdout.index("{\n") :])["trials"] == 3
    code, listed, _ = cli(f"trials {store} --json")
    assert code == 0
    trials = json.loads(listed)
    assert [t["outcome"] in ("finished", "stopped") for t in trials] == [True] * 3, trials
    split = goal.partition(":")[0]
    assert all(0 <= t["best"][f"{split}:accuracy"] <= 1 for t in trials)
