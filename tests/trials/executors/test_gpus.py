"""Several GPUs, one worker each: device names are made up, and what runs there is on a CPU."""

import os
import time

import pytest
import torch
from calls import die, one

import subspan as ss
from subspan.trials.executors.base import WorkerDied
from subspan.trials.executors.forked import Workers
from subspan.trials.executors.inline import Inline
from subspan.trials.executors.registry import make_executor

CUDA = torch.device("cuda")
SPEC = ss.TrainSpec(steps=3, batch_size=16, lr=0.01, dtype="float64")


@pytest.fixture
def three_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def device_once_all_are_here(folder, count):
    """Return the device that this worker was given, when so many workers have been here."""
    (folder / str(os.getpid())).touch()
    until = time.monotonic() + 60
    while len(list(folder.iterdir())) < count:
        assert time.monotonic() < until
        time.sleep(0.01)
    return os.environ["CUDA_VISIBLE_DEVICES"]


def devices(executor, folder, count):
    folder.mkdir()
    futures = [executor.submit(device_once_all_are_here, folder, count) for _ in range(count)]
    return sorted(future.result() for future in executor.completed(futures))


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_each_worker_has_a_device_of_its_own_and_one_in_place_of_a_dead_one_has_its(
    start, tmp_path
):
    with Workers(None, start, devices=("3", "GPU-5f")) as executor:
        assert executor.workers == 2
        assert devices(executor, tmp_path / "before", 2) == ["3", "GPU-5f"]
        with pytest.raises(WorkerDied):
            one(executor, die)
        assert devices(executor, tmp_path / "after", 2) == ["3", "GPU-5f"]


def test_more_workers_than_devices_share_them_evenly(tmp_path):
    with Workers(4, "fork", devices=("0", "1")) as executor:
        assert devices(executor, tmp_path / "here", 4) == ["0", "0", "1", "1"]


@pytest.mark.parametrize(("executor", "workers"), [(None, None), ("processes", None), (None, 3)])
def test_on_cuda_each_gpu_has_a_spawned_worker(executor, workers, three_gpus):
    made = make_executor(executor, workers, device=CUDA)
    assert isinstance(made, Workers)
    assert (made.workers, made.devices, made.forks) == (3, ("0", "1", "2"), False)


@pytest.mark.parametrize(("device", "workers"), [("cuda:1", None), ("cuda", 1)])
def test_on_one_gpu_all_is_done_here(device, workers, three_gpus):
    assert isinstance(make_executor(None, workers, device=torch.device(device)), Inline)


def test_one_gpu_alone_needs_no_worker(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert isinstance(make_executor(None, None, device=CUDA), Inline)


def test_on_a_cpu_gpus_are_left_alone(three_gpus):
    assert make_executor(None, 2, device=torch.device("cpu")).devices == ()


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_records_do_not_depend_on_the_devices(start):
    problem = ss.problems.load("digits-mlp", subset=64)

    def records(executor):
        found = ss.run(problem, "random", [2, 5], 3, SPEC, executor=executor)
        return [(r.key, repr(r.curve), r.theta_norm) for r in found]

    with Workers(None, start, devices=("0", "1")) as executor:
        assert records(executor) == records("inline")


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_real_gpus():
    problem = ss.problems.load("digits-mlp", subset=64).to("cuda")
    # As many pieces as GPUs, so that both train.
    found = ss.run(problem, "random", [2, 5], 4, SPEC)
    here = ss.run(problem, "random", [2, 5], 4, SPEC, executor="inline")
    for a, b in zip(found, here, strict=True):
        assert a.key == b.key
        torch.testing.assert_close(a.final_train_loss, b.final_train_loss)
