"""A Ray cluster: its laws, and a node killed in mid-sweep. Records as locally, to the bit."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest
from torch import nn

import subspan as ss
from subspan.errors import InputError
from subspan.trials.executors.base import WorkerDied, WorkerError
from subspan.trials.executors.shipping import by_value

by_value(sys.modules[__name__])  # its functions: no other process can import a test
pytest.importorskip("ray", reason="ray is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def cluster():
    """Two nodes on this machine, one of which may be lost."""
    import ray
    from ray.cluster_utils import Cluster

    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "include_dashboard": False, "object_store_memory": 10**8},
    )
    try:
        yield made
    finally:
        ray.shutdown()
        made.shutdown()
        for number, handler in before.items():
            signal.signal(number, handler)


def double(value):
    return 2 * value


def refuse():
    raise InputError("seven: expected eight")


def oops():
    raise KeyError("oops")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def add(shared, value):
    return shared()["base"] + value


def one(executor, function, *arguments):
    future = executor.submit(function, *arguments)
    assert list(executor.completed([future])) == [future]
    return future.result()


def make():
    return nn.Sequential(nn.Linear(64, 6), nn.ReLU(), nn.Linear(6, 10))


def results(**where):
    x, y = ss.problems.load("digits-mlp", subset=60).batch()
    problem = ss.Problem(lambda: make(), (x, y), name="anywhere")
    spec = ss.TrainSpec(steps=20, batch_size=16, dtype="float64")
    records = ss.run(problem, "random", [2, 5, 9], 4, spec, **where)

    @ss.trainable(name="sleepy", max_dim=100)
    def sleepy(trial):
        time.sleep(0.2)
        return {"loss": 1 / (1 + trial.dim + trial.repeat)}

    records += ss.run(sleepy, dims=[1, 2, 3, 4], repeats=6, **where)
    return [
        (r.key, r.outcome, r.steps, repr(r.curve), repr(r.theta_norm), r.provenance["threads"])
        for r in records
    ]


@pytest.mark.slow  # each worker of Ray imports PyTorch anew
@pytest.mark.fault("a Ray node is killed", "records equal to the local run's, to the bit")
def test_laws_a_node_that_is_lost_and_a_hung_task(cluster):
    from subspan.trials.executors.ray import Ray

    executor = Ray(address=cluster.address)
    futures = [executor.submit(double, i) for i in range(6)]
    assert sorted(f.result() for f in executor.completed(futures)) == [0, 2, 4, 6, 8, 10]
    shared = [executor.share({"base": base}) for base in (10, 20)]
    assert [one(executor, add, shared[i % 2], i) for i in range(4)] == [10, 21, 12, 23]
    with pytest.raises(InputError, match="seven: expected eight"):
        one(executor, refuse)
    with pytest.raises(WorkerError, match="KeyError: 'oops'"):
        one(executor, oops)
    with pytest.raises(WorkerDied, match="died 3 times"):
        one(executor, die)
    future = executor.submit(time.sleep, 600)
    for _ in range(100):  # until a worker has begun with it
        assert list(executor.completed([future], 1.0)) == []
        if future.running():
            break
    assert future.running()
    executor.abandon(future)
    with pytest.raises(WorkerDied, match="given up"):
        future.result()
    assert one(executor, double, 4) == 8

    here = results(executor="inline")
    node = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    done = []

    def progress(*event):
        done.append(event)
        if len(done) == 18:  # in the midst of the second sweep
            cluster.remove_node(node, allow_graceful=False)

    assert results(executor=executor, progress=progress) == here
    assert len(done) == 36
    executor.close()


def test_the_command(cluster, tmp_path):
    line = [
        *("surface", "quadratic", "--dims", "10,100", "--goals", "loss<=0.3", "--repeats", "2"),
        *("--executor", "ray", "--ray-address", cluster.address, "--store", "runs.db"),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "subspan", *line],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with contextlib.closing(ss.Store(tmp_path / "runs.db")) as store:
        assert len(store) == 4


def test_an_address_without_its_executor_is_refused(cli):
    code, _, err = cli("threshold quadratic --goal 'loss<=1' --ray-address x:1")
    assert code == 2
    assert "--executor ray" in err
