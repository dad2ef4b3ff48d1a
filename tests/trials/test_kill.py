"""`kill -9` of the parent or of a worker at any moment: nothing is lost, nothing is done twice."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from subspan.trials.stores.sql import Store

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")

# A convolution on the digits as images: each trial is a job of its own, so there are sixty.
SWEEP = """
import sys
import torch
import subspan as ss

flat = ss.problems.load("digits-mlp", subset=400).batch()
def make():
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 10))

problem = ss.Problem(make, (flat[0].reshape(-1, 1, 8, 8), flat[1]), name="digits-conv")
spec = ss.TrainSpec(steps=60, batch_size=32, eval_every=20)
records = ss.run(problem, "random", [4, 8, 16, 32, 64, 128], repeats=10, spec=spec, seed=0,
                 store=sys.argv[1], workers=2, progress=lambda *event: print(*event, flush=True))
print("done", len(records), flush=True)
"""


def start(store: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", SWEEP, str(store)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def workers_of(pid: int) -> list[int]:
    return [int(p.name) for p in Path("/proc").glob("[0-9]*") if status(int(p.name))[1] == pid]


def status(pid: int) -> tuple[str, int]:
    """State letter and parent of a process; a process that is gone is dead and has none."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return "X", 0
    return state, int(parent)


def alive(pid: int) -> bool:
    return status(pid)[0] not in "ZX"


def contents(store: Path) -> list:
    """Everything that is a result: not the seconds, nor who shared the ensemble."""
    with Store(store, readonly=True) as opened:
        return [
            (r.trial, r.outcome, r.steps, repr(r.curve), r.theta_norm, r.search_steps)
            for r in opened.records()
        ]


def kill_repeatedly(store: Path, kills: int, seed: int) -> list[str]:
    """Run the sweep under `kills` kills at random moments, then let it finish. What was killed."""
    rng = random.Random(seed)
    killed: list[str] = []
    while len(killed) < kills:
        process = start(store)
        began = len(contents(store)) if store.exists() else 0
        for _ in range(rng.randint(1, 12)):  # trials done, or found in the store
            process.stdout.readline()
        victim = rng.choice(["parent", "worker"])
        time.sleep(rng.uniform(0, 0.05))
        workers = workers_of(process.pid)
        if victim == "worker" and workers and process.poll() is None:
            os.kill(rng.choice(workers), signal.SIGKILL)
            killed.append("worker")
            for _ in range(rng.randint(1, 12)):  # the sweep goes on without it
                process.stdout.readline()
        if process.poll() is None:
            workers = workers_of(process.pid)
            process.kill()
            killed.append("parent")
            process.wait()
            deadline = time.time() + 10
            while any(alive(w) for w in workers):
                assert time.time() < deadline, "workers outlived their parent"
                time.sleep(0.02)
        process.wait()
        process.stdout.close()
        assert len(contents(store)) >= began, "a stored record was lost"
        if len(contents(store)) == 60 and len(killed) < kills:  # it got through: begin another
            for part in store.parent.glob(store.name + "*"):
                part.unlink()
    last = start(store)
    output = last.communicate()[0].splitlines()
    assert last.returncode == 0
    assert output[-1] == "done 60"
    return killed


@pytest.fixture(scope="module")
def undisturbed_store(tmp_path_factory):
    store = tmp_path_factory.mktemp("undisturbed") / "runs.db"
    process = start(store)
    process.communicate()
    assert process.returncode == 0
    return store


@pytest.fixture
def undisturbed(undisturbed_store):
    return contents(undisturbed_store)


@pytest.mark.fault("driver or worker killed, any moment", "the store equals the undisturbed one")
@pytest.mark.parametrize("kills", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_store_equals_that_of_an_undisturbed_run(kills, undisturbed, tmp_path):
    store = tmp_path / "runs.db"
    killed = kill_repeatedly(store, kills, seed=kills)
    assert len(undisturbed) == 60
    assert contents(store) == undisturbed
    assert len(killed) >= kills
    if kills >= 20:
        assert {"parent", "worker"} == set(killed)


def test_a_finished_sweep_trains_nothing_again(undisturbed_store, undisturbed, tmp_path):
    store = Path(shutil.copy(undisturbed_store, tmp_path))  # it ended well: one file is all of it
    before = store.stat().st_size
    output = start(store).communicate()[0].splitlines()
    assert output == ["60 60 found in the store", "done 60"]
    assert store.stat().st_size == before
    assert contents(store) == undisturbed
