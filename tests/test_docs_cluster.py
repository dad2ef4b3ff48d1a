"""docs/cluster.md: its scripts and manifests; the script for SLURM is run, `srun` stood in for."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from subspan import Store
from test_docs_commands import fault

pytestmark = pytest.mark.program

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "cluster.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.M | re.S)


def test_scripts_of_a_shell_can_be_parsed(tmp_path: Path) -> None:
    assert len(blocks("bash")) >= 6
    for i, text in enumerate([*blocks("bash"), 'if true; then "']):
        (tmp_path / "s.sh").write_text(text)
        done = subprocess.run(["bash", "-n", str(tmp_path / "s.sh")], capture_output=True)
        assert (done.returncode == 0) == (i < len(blocks("bash"))), (text, done.stderr)


def test_the_manifest_is_a_ray_job_whose_entrypoint_is_a_command() -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    (text,) = blocks("yaml")
    job: dict[str, Any] = yaml.safe_load(text)
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert fault(shlex.split(job["spec"]["entrypoint"])) is None
    cluster = job["spec"]["rayClusterSpec"]
    pods = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for pod in pods:
        (container,) = pod["template"]["spec"]["containers"]
        assert {"name", "image"} <= container.keys()
        mounts = {each["name"] for each in container.get("volumeMounts", [])}
        assert mounts == {each["name"] for each in pod["template"]["spec"].get("volumes", [])}


STANDS_IN = {
    "srun": 'while [ "${1#--}" != "$1" ]; do shift; done\nexec "$@"\n',
    "subspan": f'exec {sys.executable} -m subspan "$@"\n',
    "ray": f'exec {Path(sys.executable).with_name("ray")} "$@"\n',
}


@pytest.mark.slow
def test_the_script_for_slurm_makes_a_cluster_and_a_sweep(tmp_path: Path) -> None:
    """Two nodes on this host: what `srun` would start elsewhere is started here."""
    pytest.importorskip("ray", reason="ray is not installed")
    (script,) = [text for text in blocks("bash") if "srun" in text]
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    (tmp_path / "job.sh").write_text(script.replace("6379", str(port)))
    for name, text in STANDS_IN.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}")
        (tmp_path / name).chmod(0o755)
    job = subprocess.Popen(
        ["bash", str(tmp_path / "job.sh")],
        cwd=tmp_path,
        env={
            **os.environ,
            "HOME": str(tmp_path),  # where the token is
            **{"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_NNODES": "2"},
            **{"SLURM_CPUS_PER_TASK": "1", "RAY_USAGE_STATS_ENABLED": "0"},
            **{"RAY_worker_niceness": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"},
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until = time.monotonic() + 500
    while job.poll() is None and time.monotonic() < until:
        time.sleep(0.2)
    ended = job.returncode
    with contextlib.suppress(ProcessLookupError):  # what SLURM does when the job's script is done
        os.killpg(job.pid, signal.SIGTERM)
    _, err = job.communicate(timeout=60)
    assert ended == 0, err
    with Store(tmp_path / "runs.db") as store:
        assert len(store) == 30
