"""Wheel and source distribution: built, installed where nothing of the checkout is seen, and used.

What others wrote comes from the environment of the tests, so that nothing is downloaded.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BUILD = """
import sys
from setuptools import build_meta
print(getattr(build_meta, sys.argv[1])(sys.argv[2]))
"""
USE = """
import pathlib, sys
import subspan as ss
from importlib import resources
assert pathlib.Path(ss.__file__).is_relative_to(sys.prefix), ss.__file__
assert (pathlib.Path(ss.__file__).parent / "py.typed").exists()
problem = ss.problems.load("digits-mlp", subset=60)
spec = ss.TrainSpec(steps=2, batch_size=16)
ss.run(problem, "random", [4, 8], 2, spec, store="runs.db", workers=1)
from subspan.maps import kernels
import shutil
assert kernels.LIBRARY is not None or not (shutil.which("gcc") or shutil.which("clang"))
ss.report.write_page("runs.db", "report.html")
print(ss.__version__)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_it_is_built_installed_and_used_elsewhere(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("plotly", reason="the page is drawn by plotly: pip install subspan[report]")
    source, built, place = (tmp_path / name for name in ("source", "built", "venv"))
    built.mkdir()
    source.mkdir()
    for name in ("src", "pyproject.toml", "README.md", "LICENSE"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}

    def call(*command: str | Path, cwd: Path) -> str:
        done = subprocess.run(
            list(map(str, command)), cwd=cwd, env=clean, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    name = call(sys.executable, "-c", BUILD, f"build_{kind}", built, cwd=source).split()[-1]
    venv.create(place, with_pip=False)
    python = place / "bin" / "python"
    (inside,) = place.glob("lib/python*/site-packages")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index"]
    libraries = inside / "libraries.pth"
    libraries.write_text(sysconfig.get_paths()["purelib"])  # setuptools to build an sdist with, too
    call(*pip, "--no-build-isolation", "--ignore-installed", built / name, cwd=tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    version = call(python, "-c", USE, cwd=elsewhere).split()[-1]
    assert f"-{version}" in name
    assert (elsewhere / "report.html").stat().st_size > 1e6
    told = call(place / "bin" / "subspan", "trials", "runs.db", cwd=elsewhere)
    assert "digits-mlp" in told
