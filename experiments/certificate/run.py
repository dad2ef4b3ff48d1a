"""A bound on the error of LeNets that were trained in d numbers, beside the error on test rows.

Nothing but θ, d and the seed knows the training rows: pixels are scaled to [-1/2, 1/2] by
constants, the net is drawn by PyTorch's default from the seed that the map has too. θ is trained by
Adam in full precision, then trained on while it is rounded in the forward pass (straight-through),
at the step with the best bound and at coarser ones, and bounded again. The best bound is taken: it
holds for all θ at once. Runs in results.json are not made again.

    python experiments/certificate/run.py --data ../shared/data --sets mnist,fashion_mnist,cifar10
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import nn

import subspan as ss
from subspan.streams import scoped_torch_rng, torch_generator

HERE = Path(__file__).parent
COLUMNS = {"mnist": "image", "fashion_mnist": "image", "cifar10": "img"}
PEER = {"mnist": 11.6, "fashion_mnist": 32.8, "cifar10": 58.2}  # tight-pac-bayes, from scratch, %


def read(folder: Path, name: str, cache: dict) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    import numpy as np
    from datasets import load_dataset

    if name not in cache:
        data, splits = load_dataset(str(folder / name)), {}
        for split in ("train", "test"):
            pixels = np.stack([np.asarray(i) for i in data[split][COLUMNS[name]]])
            x = torch.from_numpy(pixels).float() / 255 - 0.5
            x = x[:, None] if x.ndim == 3 else x.permute(0, 3, 1, 2).contiguous()
            splits[split] = (x, torch.tensor(data[split]["label"][:]))
        cache[name] = splits
    return cache[name]


def lenet(channels: int, seed: int) -> nn.Module:
    """LeNet-5 with max pooling; 44,426 weights at 1 × 28 × 28, 62,006 at 3 × 32 × 32."""
    side = 16 * (5 * 5 if channels == 3 else 4 * 4)
    with scoped_torch_rng(seed, "certificate", "init"):
        return nn.Sequential(
            *(nn.Conv2d(channels, 6, 5), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
            *(nn.Linear(side, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
        )


@torch.no_grad()
def mistakes(module: nn.Module, rows: tuple[torch.Tensor, torch.Tensor]) -> int:
    x, y = rows
    return sum(
        int((module(a).argmax(1) != b).sum())
        for a, b in zip(x.split(500), y.split(500), strict=True)
    )


def put(handle, theta: torch.Tensor) -> None:
    with torch.no_grad():
        handle.theta.copy_(theta)


def fit(handle, rows, epochs: float, lr: float, key: str, step: float = 0.0) -> None:
    """Train θ by Adam, lr falling along a cosine; at a step, with θ rounded in the forward pass."""
    x, y = rows
    steps = round(epochs * len(x) / 128)
    optimizer = torch.optim.Adam([handle.theta], lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    draws = torch_generator(handle.seed, "certificate", key)
    for batch in (torch.randint(len(x), (128,), generator=draws) for _ in range(steps)):
        free = handle.theta.detach().clone()
        if step:
            put(handle, torch.round(free / step) * step)
        loss = nn.functional.cross_entropy(handle.module(x[batch]), y[batch])
        optimizer.zero_grad()
        loss.backward()
        if step:
            put(handle, free)
        optimizer.step()
        schedule.step()


def certify(name: str, splits: dict, dim: int, seed: int, epochs: float, lr: float) -> dict:
    clock = time.process_time()
    rows, channels = splits["train"], splits["train"][0].shape[1]
    handle = ss.attach(lenet(channels, seed), dim, "partition", seed)

    def count(theta: torch.Tensor) -> int:
        put(handle, theta)
        return mistakes(handle.module, rows)

    fit(handle, rows, epochs, lr, "train")
    trained = handle.theta.detach().clone()
    full = mistakes(handle.module, rows), mistakes(handle.module, splits["test"])
    best = ss.theory.generalization_bound(
        trained, count, len(rows[1]), seed=seed, steps=(0.5, 0.8, 1.3)
    )
    plain = best.bound
    first = best.step
    for coarser in (1.0, 1.6):
        put(handle, trained)
        step = first * coarser
        fit(handle, rows, epochs / 5, lr / 5, f"rounded {coarser}", step)
        size = float(handle.theta.detach().square().mean().sqrt())
        found = ss.theory.generalization_bound(
            handle.theta.detach().clone(), count, len(rows[1]), seed=seed, steps=(step / size,)
        )
        best = min(best, found, key=lambda one: one.bound)
    put(handle, torch.from_numpy(best.theta))
    return {
        "set": name,
        "dim": dim,
        "seed": seed,
        "epochs": epochs,
        "lr": lr,
        "ambient_dim": handle.ambient_dim,
        "train_error": full[0] / len(rows[1]),
        "test_error": full[1] / len(splits["test"][1]),
        "bound": best.bound,
        "bound_without_training_on": plain,
        "bits": best.bits,
        "levels": len(set(best.integers.tolist())),
        "rounded_train_error": best.train_error,
        "rounded_test_error": mistakes(handle.module, splits["test"]) / len(splits["test"][1]),
        "cpu_seconds": round(time.process_time() - clock, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--sets", default="mnist,fashion_mnist,cifar10")
    parser.add_argument("--dims", default="500")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    done = json.loads(options.out.read_text())["rows"] if options.out.exists() else []
    cache: dict = {}
    for seed in map(int, options.seeds.split(",")):
        for name in options.sets.split(","):
            for dim in map(int, options.dims.split(",")):
                key = (name, dim, seed, options.epochs, options.lr)
                known = [(r["set"], r["dim"], r["seed"], r["epochs"], r["lr"]) for r in done]
                if key in known:
                    continue
                done.append(certify(name, read(options.data, name, cache), *key[1:]))
                print(json.dumps(done[-1]), flush=True)
                body = {"command": "python experiments/certificate/run.py", "rows": done}
                options.out.write_text(json.dumps(body, indent=1) + "\n")


if __name__ == "__main__":
    main()
