"""`DistributedDataParallel` over gloo on two processes: the same θ as one process with all rows."""

from __future__ import annotations

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
    dist.destroy_process_group()


def spawn(folder: Path, attempts: int = 5) -> None:
    """Run both workers. A process aborts now and then, cause not found: start again."""
    for attempt in range(attempts):
        own = folder / str(attempt)
        own.mkdir()
        try:
            mp.spawn(worker, args=(str(own),), nprocs=2)
        except mp.ProcessExitedException as error:
            if error.signal_name != "SIGABRT" or attempt == attempts - 1:
                raise
        else:
            for file in own.glob("*-[01]"):
                file.rename(folder / file.name)
            return


def test_two_processes_train_the_same_theta_as_one(tmp_path: Path) -> None:
    spawn(tmp_path)
    for name in ("partition", "hadamard"):
        got = [torch.tensor(json.loads((tmp_path / f"{name}-{r}").read_text())) for r in range(2)]
        module = mlp()
        attach(module, 7, map=name)
        alone = train(module, slice(None))
        assert torch.equal(got[0], got[1])
        torch.testing.assert_close(got[0], alone, rtol=1e-4, atol=1e-5)
