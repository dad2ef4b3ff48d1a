"""Cores and memory as made-up files of Linux tell them, in either version of control groups."""

import os

import pytest
import torch

from subspan.trials.executors import machine
from subspan.trials.executors.machine import Memory, available_cores, available_memory, visible_gpus

GiB = 2**30
MEMINFO = "MemTotal: 16777216 kB\nMemFree: 1 kB\nMemAvailable: 8388608 kB\nHugePages_Total: 0\n"
V2 = "0::/jobs/mine\n"
V1 = "9:name=systemd:/\n5:cpu,cpuacct:/docker/a\n4:memory:/docker/a\n0::/\n"


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def write(root, texts):
    """Write files below a root, by their paths."""
    for name, text in texts.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("groups", "texts", "cores"),
    [
        (V2, {"jobs/mine/cpu.max": "max 100000"}, 8),
        (V2, {"jobs/mine/cpu.max": "300000 100000"}, 3),
        (V2, {"jobs/mine/cpu.max": "150000 100000"}, 2),  # part of a core is used by a worker
        (V2, {"jobs/mine/cpu.max": "20000 100000"}, 1),
        (V2, {"jobs/mine/cpu.max": "max 100000", "jobs/cpu.max": "200000 100000"}, 2),
        (V2, {"cpu.max": "400000 100000"}, 4),  # a container: its group is the root that it sees
        (V2, {"jobs/mine/cpu.max": "6400000 100000"}, 8),  # more than the affinity allows
        (V2, {"jobs/mine/cpu.max": "nonsense"}, 8),
        (V1, {"cpu/docker/a/cpu.cfs_quota_us": "-1", "cpu/docker/a/cpu.cfs_period_us": "9"}, 8),
        (V1, {"cpu/docker/a/cpu.cfs_quota_us": "200000", "cpu/docker/a/cpu.cfs_period_us": "0"}, 8),
        (V1, {"cpu/cpu.cfs_quota_us": "250000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ("", {"cpu.max": "100000 100000"}, 8),
    ],
)
def test_cores_are_those_of_the_affinity_and_of_each_quota(groups, texts, cores, tmp_path):
    write(tmp_path, {"proc/self/cgroup": groups})
    write(tmp_path / "sys/fs/cgroup", texts)
    assert available_cores(tmp_path) == cores


def test_cores_where_there_are_no_files(tmp_path, monkeypatch):
    assert available_cores(tmp_path) == 8
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert available_cores(tmp_path) == 5


@pytest.mark.parametrize(
    ("groups", "texts", "memory"),
    [
        (V2, {}, Memory(8 * GiB, 16 * GiB)),
        (V2, {"jobs/mine/memory.max": "max"}, Memory(8 * GiB, 16 * GiB)),
        (
            V2,
            {"jobs/mine/memory.max": f"{4 * GiB}", "jobs/mine/memory.current": f"{GiB}"},
            Memory(3 * GiB, 4 * GiB),
        ),
        (
            V2,
            {
                "jobs/memory.max": f"{4 * GiB}",
                "jobs/memory.current": f"{3 * GiB}",
                "jobs/memory.stat": f"anon 7\ninactive_file {GiB}\n",
                "jobs/mine/memory.max": f"{5 * GiB}",
                "jobs/mine/memory.current": f"{3 * GiB}",
            },
            Memory(2 * GiB, 4 * GiB),
        ),
        (
            V2,
            {"memory.max": f"{GiB}", "memory.current": f"{2 * GiB}"},
            Memory(0, GiB),
        ),
        (
            V1,
            {
                "memory/docker/a/memory.limit_in_bytes": f"{6 * GiB}",
                "memory/docker/a/memory.usage_in_bytes": f"{5 * GiB}",
                "memory/docker/a/memory.stat": f"inactive_file 0\ntotal_inactive_file {GiB}\n",
            },
            Memory(2 * GiB, 6 * GiB),
        ),
        (
            V1,
            {
                "memory/memory.limit_in_bytes": "9223372036854771712",  # none
                "memory/memory.usage_in_bytes": f"{5 * GiB}",
            },
            Memory(8 * GiB, 16 * GiB),
        ),
    ],
)
def test_memory_is_the_least_that_the_machine_and_each_group_allow(groups, texts, memory, tmp_path):
    write(tmp_path, {"proc/self/cgroup": groups, "proc/meminfo": MEMINFO})
    write(tmp_path / "sys/fs/cgroup", texts)
    assert available_memory(tmp_path) == memory


def test_where_nothing_tells_no_memory_is_known(tmp_path):
    assert available_memory(tmp_path) is None


@pytest.mark.skipif(not os.path.exists("/proc/meminfo"), reason="Linux's file")
def test_this_machine():
    found = machine.available_memory()
    assert 0 < found.free <= found.total


@pytest.mark.parametrize(
    ("named", "gpus"),
    [
        (None, ["0", "1"]),
        ("", ["0", "1"]),
        ("3, GPU-5f", ["3", "GPU-5f"]),
        ("4,5,-1,6", ["4", "5"]),  # CUDA takes none after one that there is not
    ],
)
def test_gpus_are_named_as_this_process_sees_them(named, gpus, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert visible_gpus() == gpus
