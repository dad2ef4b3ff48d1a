"""What the parts of a step in a subspace take, in turns with a plain step of mnist-mlp's network.

Milliseconds of the processor, medians: the offset + A θ, gradients of all weights, Aᵀ, Adam
on θ. `room` is what 1.15 of a plain step leaves beside the gradients, for all other parts together.
Beside Adam's own stands PyTorch's fused kernel, in one pass in place of eight calls, and whether it
gives the same bits.

    python experiments/speed_choices/parts.py [--turns 150]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

import subspan as ss
from subspan.maps.stack import stack
from subspan.problems.models import mlp
from subspan.streams import torch_generator
from subspan.training.optimizers import Adam

DIMS = (100, 1000, 10_000, 99_605)
PARTS = ("offset + A θ", "gradients", "Aᵀ", "Adam")
LR = 1e-3


def data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch_generator(0, "benchmark")
    x = torch.randn(128, 784, generator=generator)
    return x, torch.randint(0, 10, (128,), generator=generator)


def measured(kind: str, dim: int, turns: int) -> tuple[list[float], float, float]:
    """Medians of the parts and of a plain step, ms; and the median ratio of the whole step."""
    x, y = data()
    module = mlp(784, 200, 200, 10)
    problem = ss.Problem(lambda: mlp(784, 200, 200, 10), (x, y), name="parts")
    plain = torch.optim.Adam(module.parameters(), lr=LR)
    maps = stack([ss.maps.make(kind, dim=dim, ambient_dim=problem.ambient_dim, seed=0)])
    offset, theta = problem.init(0)[None], torch.zeros(dim)
    optimizer, now = Adam(theta, ss.TrainSpec()), time.thread_time
    taken, plainly = [], []
    for _ in range(turns + 10):
        start = now()
        plain.zero_grad()
        torch.nn.functional.cross_entropy(module(x), y).backward()
        plain.step()
        plainly.append(now() - start)
        at = [now()]
        weights = maps.forward(theta, offset)
        at.append(now())
        _, gradients = problem.grads(weights, (x[None], y[None]))
        at.append(now())
        pulled = maps.adjoint(gradients)
        at.append(now())
        optimizer.step(theta, pulled, LR)
        at.append(now())
        taken.append(np.diff(at))
    parts, whole = np.array(taken[10:]) * 1e3, np.array(plainly[10:]) * 1e3
    ratio = float(np.median(parts.sum(1) / whole))
    return list(np.median(parts, 0)), float(np.median(whole)), ratio


def fused(dim: int, turns: int) -> tuple[float, float, bool]:
    """Adam's step as it is and by PyTorch's fused kernel, ms; whether θ is the same to the bit."""
    gradient = torch.randn(dim, generator=torch_generator(0, "gradient"))
    ours, theirs = torch.zeros(dim), torch.zeros(dim)
    optimizer = Adam(ours, ss.TrainSpec())
    state = [torch.zeros(dim), torch.zeros(dim), torch.tensor(0.0)]
    spent: tuple[list[float], list[float]] = [], []
    for _ in range(turns):
        start = time.thread_time()
        optimizer.step(ours, gradient, LR)
        middle = time.thread_time()
        state[2] += 1
        torch._fused_adam_(
            [theirs], [gradient], [state[0]], [state[1]], [], [state[2]],
            lr=LR, beta1=0.9, beta2=0.999, weight_decay=0.0, eps=1e-7,
            amsgrad=False, maximize=False,
        )  # fmt: skip
        spent[0].append(middle - start)
        spent[1].append(time.thread_time() - middle)
    one, other = (1e3 * float(np.median(each)) for each in spent)
    return one, other, torch.equal(ours, theirs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=150)
    turns = parser.parse_args().turns
    torch.set_num_threads(1)
    columns = ["map, d", "plain step", *PARTS, "room", "all but gradients", "step / plain"]
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|", flush=True)
    for kind in ("partition", "hadamard"):
        for dim in DIMS:
            parts, plain, ratio = measured(kind, dim, turns)
            room, others = 1.15 * plain - parts[1], sum(parts) - parts[1]
            numbers = [plain, *parts, room, others, ratio]
            told = " | ".join(f"{number:.2f}" for number in numbers)
            print(f"| {kind}, {dim:,} | {told} |", flush=True)
    one, other, same = fused(DIMS[-1], turns)
    print(f"\nAdam, d = {DIMS[-1]:,}: {one:.3f} ms, fused {other:.3f}; the same bits: {same}")


if __name__ == "__main__":
    main()
