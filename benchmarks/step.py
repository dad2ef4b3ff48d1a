"""One training step in a subspace against the same module's plain step and a dense-matrix step.

mnist-mlp's network (D = 199,210), batch 128, Adam, one thread. Steps of all kinds take turns;
reported is the 10th percentile of each and its ratio to the plain step. Targets: at most 1.15 of
the plain step for `partition` and `hadamard` at any d up to D/2, and at most a quarter of the
dense step at d = 1000.

    python benchmarks/step.py
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from torch.func import functional_call

import subspan as ss
from subspan.maps.stack import stack
from subspan.problems.models import mlp
from subspan.streams import torch_generator
from subspan.training.optimizers import Adam

BATCH = 128
Step = Callable[[], None]


def plain_step(problem: ss.Problem, x: torch.Tensor, y: torch.Tensor) -> Step:
    module = mlp(784, 200, 200, 10)
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(x), y).backward()
        optimizer.step()

    return step


def dense_step(problem: ss.Problem, x: torch.Tensor, y: torch.Tensor, dim: int) -> Step:
    a = ss.maps.make("gaussian", dim=dim, ambient_dim=problem.ambient_dim, seed=0)
    matrix, offset = a.dense(), problem.init(0)
    theta = torch.zeros(dim, requires_grad=True)
    optimizer = torch.optim.Adam([theta], lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        weights = problem.layout.split(offset + matrix @ theta)
        torch.nn.functional.cross_entropy(
            functional_call(problem.module, weights, (x,)), y
        ).backward()
        optimizer.step()

    return step


def subspace_step(
    problem: ss.Problem, x: torch.Tensor, y: torch.Tensor, name: str, dim: int
) -> Step:
    """What the ensemble trainer does in a step, for one trial."""
    maps = stack([ss.maps.make(name, dim=dim, ambient_dim=problem.ambient_dim, seed=0)])
    offset, theta = problem.init(0)[None], torch.zeros(dim)
    optimizer = Adam(theta, ss.TrainSpec())

    def step() -> None:
        _, gradients = problem.grads(offset + maps.forward(theta), (x[None], y[None]))
        optimizer.step(theta, maps.adjoint(gradients), 1e-3)

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--dense-dim", type=int, default=1000, help="0 leaves the dense step out")
    args = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch_generator(0, "benchmark")
    x = torch.randn(BATCH, 784, generator=generator)
    y = torch.randint(0, 10, (BATCH,), generator=generator)
    problem = ss.Problem(lambda: mlp(784, 200, 200, 10), (x, y), name="mlp")
    half = problem.ambient_dim // 2
    steps = {"plain": plain_step(problem, x, y)}
    for name in ("partition", "hadamard"):
        for dim in (100, 1000, 10_000, half):
            steps[f"{name} d={dim}"] = subspace_step(problem, x, y, name, dim)
    if args.dense_dim:
        steps[f"dense d={args.dense_dim}"] = dense_step(problem, x, y, args.dense_dim)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(args.rounds):
        for name, step in steps.items():
            clock = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - clock)
    tenth = {name: float(np.percentile(values, 10)) for name, values in times.items()}
    for name, value in tenth.items():
        print(f"{name:22s} {1e3 * value:8.2f} ms   {value / tenth['plain']:6.2f} of plain")


if __name__ == "__main__":
    main()
