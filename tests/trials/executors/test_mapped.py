"""What workers share is in memory once: the parent's pages, or a file's."""

import os
from pathlib import Path

import pytest
import torch

import subspan as ss
from subspan.trials.executors import mapped, shipping
from subspan.trials.executors.forked import Workers

MiB = 2**20
SIZE = 200_000_000  # bytes
linux = pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="Linux's file")


@pytest.fixture
def files():
    made = mapped.Files()
    yield made
    made.close()


def crossed(value, files):
    return shipping.unpack(shipping.pack(value, files))


def test_tensors_come_as_they_went(files):
    large = torch.arange(MiB, dtype=torch.float32)
    module = torch.nn.Linear(1024, 512)
    value = {"whole": large, "part": large[7:300:2], "turned": large.view(1024, -1).T}
    value |= {"ints": torch.arange(MiB), "half": large.bfloat16(), "small": torch.arange(3)}
    found, again = crossed((value, module), files)
    for name, tensor in value.items():
        assert torch.equal(found[name], tensor)
        assert found[name].dtype == tensor.dtype
        assert found[name].stride() == tensor.stride()
    assert torch.equal(again.weight, module.weight)
    assert again.weight.requires_grad


def test_views_of_one_storage_are_views_of_one_again_and_take_one_file(files):
    large = torch.zeros(MiB)
    found, view = crossed((large, large[10:]), files)
    found[10] = 5
    assert view[0] == 5
    assert large[10] == 0
    assert files._count == 1


def test_bytes_hold_no_large_tensor(files):
    large = torch.zeros(MiB)
    assert len(shipping.pack(large, files)) < 10_000
    assert len(shipping.pack(large)) > 4 * MiB


def test_a_full_disk_sends_tensors_with_the_rest(files, monkeypatch):
    def full(storage):
        raise OSError("No space left on device")

    monkeypatch.setattr(files, "write", full)
    large = torch.arange(MiB)
    assert torch.equal(crossed(large, files), large)


def test_files_are_gone_once_closed(files):
    shipping.pack(torch.zeros(MiB), files)
    folder = Path(files._folder.name)
    assert [path.stat().st_size for path in folder.iterdir()] == [4 * MiB]
    files.close()
    assert not folder.exists()


def private():
    """Return how many bytes this process alone holds at most, those of files not counted."""
    with open("/proc/self/smaps_rollup") as lines:
        told = {line.split()[0]: int(line.split()[1]) * 1024 for line in lines if "kB" in line}
    return min(told["Anonymous:"], told["Private_Dirty:"])


def read_all(share):
    x, _ = share().batch()
    assert float(x.sum()) == x.numel() == SIZE // 4
    return private()


def of_two(executor, function, *arguments):
    futures = [executor.submit(function, *arguments) for _ in range(2)]
    return [future.result() for future in executor.completed(futures)]


@linux
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_hold_no_copy_of_a_problem(start):
    """Each of two reads 200 MB; a copy of its own would be private to it."""
    rows = SIZE // 4000
    problem = ss.Problem(
        lambda: torch.nn.Linear(1000, 2), (torch.ones(rows, 1000), torch.arange(rows) % 2)
    )
    with Workers(2, start) as executor:
        idle = of_two(executor, private)
        found = of_two(executor, read_all, executor.share(problem))
    assert max(found) - max(idle) < SIZE / 4
