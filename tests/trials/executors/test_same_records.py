"""One sweep, wherever it runs: the same records, bit for bit in float64."""

import contextlib
import os
import signal
import time
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import pytest
import torch
from torch import nn

import subspan as ss

FACTOR = 1.5  # of this module: shipped where it cannot be imported


def make():
    return nn.Sequential(nn.Linear(64, 6), nn.ReLU(), nn.Linear(6, 10))


def problem():
    x, y = ss.problems.load("digits-mlp", subset=60).batch()
    scale = FACTOR
    return ss.Problem(lambda: make(), (x * scale, y), name="anywhere")


@ss.trainable(name="loop", max_dim=100)
def loop(trial):
    weights = torch.randn(trial.dim, dtype=torch.float64).requires_grad_()
    optimizer = torch.optim.SGD([weights], lr=0.1)
    for step in range(1, 4):
        optimizer.zero_grad()
        loss = (weights - FACTOR).square().mean()
        loss.backward()
        optimizer.step()
        trial.report(step=step, loss=loss)


def results(**where):
    spec = ss.TrainSpec(steps=5, batch_size=16, dtype="float64")
    records = ss.run(problem(), "random", [2, 5], 3, spec, **where)
    records += ss.run(loop, dims=[1, 4], repeats=2, **where)
    return [
        (r.key, r.outcome, r.steps, repr(r.curve), repr(r.theta_norm), r.provenance["threads"])
        for r in records
    ]


@pytest.fixture(scope="module")
def here():
    found = results(executor="inline")
    assert all(outcome == "finished" for _, outcome, *_ in found)
    return found


def test_forked(here):
    assert results(executor="forked", workers=2) == here
    assert results(workers=2) == here


def test_spawned(here):
    assert results(executor="spawned", workers=2) == here


def test_pythons_own_pool(here):
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        assert results(executor=pool) == here


@contextlib.contextmanager
def dask(**workers):
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")
    with (
        distributed.LocalCluster(dashboard_address=None, **workers) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.mark.filterwarnings("ignore")
@pytest.mark.fault("a Dask worker is killed", "records equal to the local run's, to the bit")
def test_dask_with_a_worker_killed_in_mid_sweep(here, tmp_path):
    with dask(n_workers=2, threads_per_worker=1, processes=True) as client:
        assert results(executor=client.get_executor()) == here
        done, killed = [], []

        def progress(*event):
            done.append(event)
            if len(done) == 3:  # a nanny starts another
                workers = client.run(os.getpid)
                killed.append(next(iter(workers.values())))
                os.kill(killed[0], signal.SIGKILL)

        where = {"executor": client.get_executor(retries=3), "store": tmp_path / "runs.db"}
        assert results(progress=progress, **where) == here
    assert len(killed) == 1
    with ss.Store(tmp_path / "runs.db") as store:
        found = {r.key: repr(r.curve) for r in store.records()}
    assert found == {key: curve for key, _, _, curve, *_ in here}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.fault("Dask workers of several threads", "refused before the work")
def test_dask_workers_of_several_threads_are_refused():
    with (
        dask(n_workers=1, threads_per_worker=2, processes=False) as client,
        pytest.raises(ss.InputError, match=r"of one thread each.*--nthreads 1"),
    ):
        results(executor=client.get_executor())


def test_threads_of_which_nobody_knows_take_turns():
    class Threads:
        def __init__(self):
            self.submit = ThreadPoolExecutor(4).submit

    @ss.trainable(name="noisy", max_dim=100)
    def noisy(trial):
        total = 0.0
        for _ in range(20):
            total += float(torch.randn(3).sum())  # of the global generator
            time.sleep(0.001)
        return {"loss": total}

    def losses(executor):
        return [r.curve for r in ss.run(noisy, dims=[1, 2], repeats=4, executor=executor)]

    assert losses(Threads()) == losses("inline")


def test_a_job_that_died_is_a_failed_trial_and_the_others_go_on():
    class UncompletedJobError(RuntimeError):
        """As submitit's, by its name."""

    class Jobs:
        def submit(self, function, parcels, *call):
            future = Future()
            try:
                future.set_result(function(parcels, *call))
            except KeyError as error:
                future.set_exception(UncompletedJobError(f"job 7 has no output ({error})"))
            return future

    @ss.trainable(name="jobs", max_dim=100)
    def jobs(trial):
        return {"loss": 0.5}

    first = type(jobs).train

    def train(self, pairs, *rest):
        if any(pair[0] == 2 for pair in pairs):
            raise KeyError("killed")
        return first(self, pairs, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(jobs), "train", train)
        records = ss.run(jobs, dims=[1, 2, 3], repeats=1, executor=Jobs(), workers=2)
    assert [str(r.outcome) for r in records] == ["finished", "failed", "finished"]
    assert "job 7" in records[1].reason
