"""One training step in a subspace against the same module's plain step and a dense-matrix step.

The networks of mnist-mlp (D = 199,210) and mnist-conv2, batch 128, Adam, one thread, seconds of the
processor. Steps of all kinds take turns, and each is divided by the plain one of its turn. Nine
ways in turns find nothing of theirs in the cache; so those of mnist-mlp take turns with the plain
step alone besides, which is how a loop of either runs. Aims: at most 1.15 of the plain step for
`partition` and `hadamard` at any d up to D/2, and at most a quarter of the dense step at d = 1000.

    python benchmarks/bench.py --only step
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch
from table import Row, ratios, turns
from torch.func import functional_call

import subspan as ss
from subspan.maps.stack import stack
from subspan.problems.models import CONV_CHANNELS, conv_net, mlp
from subspan.streams import torch_generator
from subspan.training.optimizers import Adam

BATCH = 128
Step = Callable[[], None]


def plain_step(module: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> Step:
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
        weights = maps.forward(theta, offset)
        _, gradients = problem.grads(weights, (x[None], y[None]))
        optimizer.step(theta, maps.adjoint(gradients), 1e-3)

    return step


def _turns(ways: dict[str, Step], rounds: int) -> dict[str, list[float]]:
    return turns(ways, rounds, time.thread_time)


def rows(quick: bool) -> Iterator[Row]:
    """Yield the steps of both networks."""
    torch.set_num_threads(1)
    for name, make, shape, rounds in (
        ("mnist-mlp", lambda: mlp(784, 200, 200, 10), (784,), 100),
        ("mnist-conv2", lambda: conv_net(CONV_CHANNELS["conv2"], (1, 28, 28), 10), (1, 28, 28), 30),
    ):
        yield from network(name, make, shape, rounds // 10 if quick else rounds)


def network(
    name: str,
    make: Callable[[], torch.nn.Module],
    shape: tuple[int, ...],
    rounds: int,
    dims: tuple[int, ...] = (100, 1000, 10_000),
) -> Iterator[Row]:
    generator = torch_generator(0, "benchmark")
    x = torch.randn(BATCH, *shape, generator=generator)
    y = torch.randint(0, 10, (BATCH,), generator=generator)
    problem = ss.Problem(make, (x, y), name="steps")
    steps = {"plain": plain_step(make(), x, y)}
    for kind in ("partition", "hadamard"):
        for dim in (*dims, problem.ambient_dim // 2):
            steps[f"{kind}, d = {dim:,}"] = subspace_step(problem, x, y, kind, dim)
    for way, values in ratios(_turns(steps, rounds), "plain").items():
        yield Row(f"{name}: step, {way} / plain", values, 1.15)
    if name == "mnist-mlp":
        for way in [way for way in steps if way != "plain"]:
            pair = _turns({"plain": steps["plain"], way: steps[way]}, rounds)
            what = f"{name}: step, {way}, in turns with plain alone / plain"
            yield Row(what, ratios(pair, "plain")[way], 1.15)
        ours = subspace_step(problem, x, y, "hadamard", 1000)
        dense = dense_step(problem, x, y, 1000)
        both = _turns({"ours": ours, "dense": dense}, max(rounds // 5, 3))
        yield Row(
            f"{name}: step, hadamard / dense matrix by autograd, d = 1,000",
            ratios(both, "dense")["ours"],
            0.25,
        )
