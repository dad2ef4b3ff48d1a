"""`DistributedDataParallel` over gloo on two processes: the same θ as one process with all rows."""

from __future__ import annotations

import gc
import json
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from small_modules import inputs, mlp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from subspan.adapters import attach

STEPS, ROWS = 5, 8


def train(module: nn.Module, rows: slice) -> torch.Tensor:
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    for step in range(STEPS):
        optimizer.zero_grad()
        module(inputs(ROWS, seed=step)[rows]).square().mean().backward()
        optimizer.step()
    return next(module.parameters()).detach()


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    store = dist.FileStore(f"{folder}/store", 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2)
    for name in ("partition", "hadamard"):
        module = mlp()
        if rank == 1:  # DistributedDataParallel starts every process from the weights of the first
            with torch.no_grad():
                module[0].weight.zero_()
        attach(module, 7, map=name)
        theta = train(DistributedDataParallel(module), slice(4 * rank, 4 * rank + 4))
        Path(folder, f"{name}-{rank}").write_text(json.dumps(theta.tolist()))
        del module, theta
    # What a module or a cycle still holds of the group would be torn down with the interpreter,
    # whose exit then aborts now and then: a thread of gloo's is running.
    gc.collect()
    dist.barrier()
    dist.destroy_process_group()


def test_two_processes_train_the_same_theta_as_one(tmp_path: Path) -> None:
    mp.spawn(worker, args=(str(tmp_path),), nprocs=2)
    for name in ("partition", "hadamard"):
        got = [torch.tensor(json.loads((tmp_path / f"{name}-{r}").read_text())) for r in range(2)]
        module = mlp()
        attach(module, 7, map=name)
        alone = train(module, slice(None))
        assert torch.equal(got[0], got[1])
        torch.testing.assert_close(got[0], alone, rtol=1e-4, atol=1e-5)
