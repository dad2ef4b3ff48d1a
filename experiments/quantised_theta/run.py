"""What storing θ in fewer bits costs: test accuracy and file size of digits in d numbers.

The network of digits-mlp (64-32-10, D = 2,410), attached at d numbers, trained by Adam until the
rate has fallen to zero, saved with θ in float32, bfloat16 and int8, and loaded again. The seed
draws the network, the map and the batches. Change: accuracy less that of float32, run by run;
intervals: 95 %, Student's t over seeds.

    python experiments/quantised_theta/run.py
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from scipy import stats
from torch import nn

import subspan as ss
from subspan.streams import scoped_torch_rng, torch_generator

HERE = Path(__file__).parent
DTYPES = ("float32", "bfloat16", "int8")


def train(dim: int, seed: int, name: str, epochs: int, rows: tuple[torch.Tensor, torch.Tensor]):
    """The network at θ = 0, and the handle of the trained copy."""
    x, y = rows
    with scoped_torch_rng(seed, "quantised", "init"):
        base = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    module = copy.deepcopy(base)
    handle = ss.attach(module, dim, name, seed)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    generator = torch_generator(seed, "quantised", "batches")
    for _ in range(epochs):
        for batch in torch.randperm(len(x), generator=generator).split(128):
            loss = nn.functional.cross_entropy(module(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    return base, handle


def mean(values: list[float]) -> list[float]:
    """The mean and the ends of its 95 % interval, to two places."""
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return [round(float(np.mean(values) + s * half), 2) for s in (0, -1, 1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dims", default="32,128,512")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--map", default="partition")
    parser.add_argument("--out", default=str(HERE / "results.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    problem = ss.problems.load("digits-mlp")
    rows, test = problem.batch(split="train"), problem.batch(split="test")
    results = []
    for dim in map(int, options.dims.split(",")):
        accuracy: dict[str, list[float]] = {dtype: [] for dtype in DTYPES}
        sizes, losses = {}, []
        for seed in range(options.seeds):
            base, handle = train(dim, seed, options.map, options.epochs, rows)
            with torch.no_grad():
                losses.append(float(nn.functional.cross_entropy(handle.module(rows[0]), rows[1])))
            for dtype in DTYPES:
                with tempfile.TemporaryDirectory() as folder:
                    path = Path(folder) / "theta.safetensors"
                    ss.save(handle, path, dtype=dtype)
                    sizes[dtype] = path.stat().st_size
                    module = ss.load(copy.deepcopy(base), path).merge()
                with torch.no_grad():
                    hits = module(test[0]).argmax(1) == test[1]
                accuracy[dtype].append(100 * float(hits.double().mean()))
        for dtype in DTYPES:
            change = np.subtract(accuracy[dtype], accuracy["float32"]).tolist()
            results.append(
                {
                    "dim": dim,
                    "dtype": dtype,
                    "bytes": sizes[dtype],
                    "accuracy": mean(accuracy[dtype]),
                    "change": mean(change),
                    "largest_change": round(max(map(abs, change)), 2),
                    "train_loss": round(float(np.mean(losses)), 4),
                }
            )
            print(json.dumps(results[-1]), flush=True)
    command = f"python experiments/quantised_theta/run.py --seeds {options.seeds}"
    Path(options.out).write_text(json.dumps({"command": command, "rows": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
