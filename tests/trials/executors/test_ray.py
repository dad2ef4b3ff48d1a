"""A Ray cluster: its laws, and a node killed in mid-sweep. Records as locally, to the bit."""

import contextlib
import signal
import subprocess
import sys
import time

import calls
import pytest
from calls import check, die, double, one, oops
from torch import nn

import subspan as ss
from subspan.errors import StoreError
from subspan.trials.executors.base import WorkerDied, WorkerError
from subspan.trials.executors.shipping import by_value

for module in (calls, sys.modules[__name__]):  # no other process can import a test
    by_value(module)
pytest.importorskip("ray", reason="ray is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def cluster():
    """Two nodes on this machine, one of which may be lost."""
    import ray
    from ray.cluster_utils import Cluster

    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    patch.setenv("RAY_worker_niceness", "0")  # as urgent as the test that waits for them
    made = Cluster(
        initialize_head=True,
        head_node_args={
            **{"num_cpus": 1, "num_gpus": 1},  # the GPU in name alone
            **{"include_dashboard": False, "object_store_memory": 10**8},
        },
    )
    try:
        yield made
    finally:
        ray.shutdown()
        made.shutdown()
        patch.undo()
        for number, handler in before.items():
            signal.signal(number, handler)


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


@pytest.mark.fault("a Ray worker is killed, or hangs", "given out again; given up in the end")
def test_laws_and_a_hung_task(cluster, capfd):
    from subspan.trials.executors.ray import Ray

    executor = Ray(address=cluster.address)
    check(executor)
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
    executor.close()
    assert capfd.readouterr() == ("", "")  # what Ray has to say is not ours to print


def resources():
    import ray

    return ray.get_runtime_context().get_assigned_resources()


def test_a_task_takes_its_share_of_a_gpu(cluster):
    from subspan.trials.executors.ray import Ray

    executor = Ray(address=cluster.address, cpus=0.25, gpus=0.5)
    assert executor.workers == 2  # of two halves, where cores would be enough for four
    assert one(executor, resources) == {"CPU": 0.25, "GPU": 0.5}
    executor.close()
    assert Ray(address=cluster.address, cpus=0.25).workers == 4


@pytest.mark.slow  # a node takes its time to come and to be missed
@pytest.mark.fault("a Ray node is killed", "records equal to the local run's, to the bit")
def test_a_node_that_is_lost_in_mid_sweep(cluster):
    from subspan.trials.executors.ray import Ray

    executor = Ray(address=cluster.address)
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


SLOW = """
import time
import subspan as ss
@ss.trainable(name="slow", max_dim=100)
def slow(trial):
    time.sleep(0.5 if trial.repeat < 2 else 600)
    return {"loss": 1.0}
"""


@pytest.mark.fault("Ctrl-C, SIGTERM in a sweep on Ray", "tasks cancelled, what was done is kept")
@pytest.mark.parametrize(
    ("number", "code", "said"),
    [(signal.SIGINT, 130, "Interrupted"), (signal.SIGTERM, 143, "Ended by SIGTERM")],
)
def test_a_signal_cancels_and_keeps_what_was_done(number, code, said, cluster, tmp_path):
    import ray

    (tmp_path / "mine.py").write_text(SLOW)
    line = [
        *("surface", "mine.py:slow", "--dims", "10", "--goals", "loss<=0.3", "--repeats", "9"),
        *("--executor", "ray", "--ray-address", cluster.address, "--store", "runs.db"),
    ]
    with subprocess.Popen(
        [sys.executable, "-m", "subspan", *line],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as running:  # fmt: skip
        stored = 0
        for _ in range(600):
            time.sleep(0.1)
            with contextlib.suppress(StoreError), ss.Store(tmp_path / "runs.db") as store:
                stored = len(store)
            if stored == 2 or running.poll() is not None:
                break
        running.send_signal(number)
        _, err = running.communicate(timeout=60)
    assert (stored, running.returncode) == (2, code), err
    assert err.startswith(f"{said} after 2 trials"), err
    if not ray.is_initialized():
        ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)
    for _ in range(100):  # the place is free again
        if ray.available_resources().get("CPU") == ray.cluster_resources()["CPU"]:
            break
        time.sleep(0.1)
    else:
        raise AssertionError("a task goes on")


QUICK = """
import time
import subspan as ss
@ss.trainable(name="quick", max_dim=100)
def quick(trial):
    time.sleep(0.2)
    return {"loss": 1.0 / (1 + trial.dim + trial.repeat)}
"""


def stored(path):
    with contextlib.suppress(StoreError), ss.Store(path, readonly=True) as store:
        return {(r.key, r.outcome, repr(r.curve)) for r in store.records()}
    return set()


@pytest.mark.slow  # a cluster of its own takes its time to come
@pytest.mark.fault("the node of driver and store dies", "begun again, all is as in a local run")
@pytest.mark.parametrize("driver_too", [True, False])
def test_the_node_with_the_drivers_store_on_it_dies(driver_too, cluster, tmp_path):
    """With the driver, as a machine without power does; or Ray's processes there alone."""
    from ray.cluster_utils import Cluster

    own = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 2, "include_dashboard": False, "object_store_memory": 10**8},
    )
    (tmp_path / "mine.py").write_text(QUICK)
    sweep = [*("surface", "mine.py:quick", "--dims", "1,2,3", "--goals", "loss<=0.3")]
    line = [sys.executable, "-m", "subspan", *sweep, "--repeats", "20", "--store"]

    def run(store, *where):
        return subprocess.Popen(
            [*line, store, *where], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip

    try:
        with run("runs.db", "--executor", "ray", "--ray-address", own.address) as driver:
            until = time.monotonic() + 100
            while len(stored(tmp_path / "runs.db")) < 10 and time.monotonic() < until:
                time.sleep(0.05)
            if driver_too:
                driver.kill()
            own.head_node.kill_all_processes(check_alive=False, allow_graceful=False)
            _, err = driver.communicate(timeout=100)
        kept = stored(tmp_path / "runs.db")
        assert 10 <= len(kept) < 60, err
        if not driver_too:
            assert driver.returncode, "not a word of success"
    finally:
        own.shutdown()
    for store in ("runs.db", "local.db"):
        with run(store, "--workers", "1") as again:
            _, err = again.communicate(timeout=100)
        assert again.returncode == 0, err
    assert kept < stored(tmp_path / "runs.db") == stored(tmp_path / "local.db")


def test_an_address_without_its_executor_is_refused(cli):
    code, _, err = cli("threshold quadratic --goal 'loss<=1' --ray-address x:1")
    assert code == 2
    assert "--executor ray" in err
