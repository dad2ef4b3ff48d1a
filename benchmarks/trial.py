"""A whole trial against the plain loop that one writes by hand: as many steps, as many evaluations.

Images of noise in the shape of MNIST and CIFAR-10 with labels drawn at random: what is timed does
not depend on what is learnt. One thread, one trial, `hadamard`, d = 1,000. Aim: ResNet20 at most
1.1 of plain. What it costs to evaluate both splits after each epoch, as `TrainSpec()` has it,
stands beside it; what it costs by default, in `evaluation.py`.

    python benchmarks/bench.py --only trial
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch
from table import Row, ratios, turns

import subspan as ss
from subspan.problems.models import CONV_CHANNELS, conv_net
from subspan.problems.resnet import resnet20
from subspan.streams import torch_generator
from subspan.subspaces import Draw
from subspan.training.batches import Batches
from subspan.training.ensemble import train

DIM, BATCH = 1000, 128
Make = Callable[[], torch.nn.Module]
NETWORKS: tuple[tuple[str, Make, tuple[int, ...], int], ...] = (
    ("mnist-conv2", lambda: conv_net(CONV_CHANNELS["conv2"], (1, 28, 28), 10), (1, 28, 28), 2),
    ("cifar10-resnet20", lambda: resnet20((3, 32, 32), 10), (3, 32, 32), 1),
)


def plain_steps(problem: ss.Problem, module: torch.nn.Module, steps: int) -> Iterator[int]:
    """Train all weights as one writes it by hand; yield the number of each step, from 1."""
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
    batches = Batches(0, problem.train_size, BATCH)
    for step in range(steps):
        x, y = problem.batch(batches.at(step))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(x), y).backward()
        optimizer.step()
        yield step + 1


def plain_loop(
    problem: ss.Problem, make: Make, spec: ss.TrainSpec, steps: int, every: int
) -> Callable[[], None]:
    def run() -> None:
        module = make()
        for step in plain_steps(problem, module, steps):
            if step % every == 0:
                weights = torch.cat([p.detach().flatten() for p in module.parameters()])
                for split in ("train", "test"):
                    problem.evaluate(weights, split=split)

    return run


def on_noise(name: str, make: Make, image: tuple[int, ...]) -> ss.Problem:
    """Return a network on 640 images of noise, of which a fifth are test data too."""
    generator = torch_generator(0, "benchmark", name)
    size = 5 * BATCH
    x = torch.randn(size, *image, generator=generator)
    y = torch.randint(0, 10, (size,), generator=generator)
    return ss.Problem(make, (x, y), (x[: size // 5], y[: size // 5]), name="trial")


def our_trial(problem: ss.Problem, spec: ss.TrainSpec, evaluate: bool) -> Callable[[], None]:
    draw = Draw(DIM, 0, 0)
    (subspace,) = ss.RandomAffine(map="hadamard").subspaces(problem, [draw])

    def run() -> None:
        train(problem, [subspace], spec, [draw.batch_seed], evaluate=evaluate)

    return run


def rows(quick: bool) -> Iterator[Row]:
    """Yield a trial of each network, and the share of it that evaluation takes once an epoch."""
    torch.set_num_threads(1)
    for name, make, image, count in NETWORKS:
        problem = on_noise(name, make, image)
        steps = 5 * count
        spec = ss.TrainSpec(steps=steps, batch_size=BATCH, lr=1e-3, eval_every=5)
        ways = {
            "plain": plain_loop(problem, make, spec, steps, 5),
            "ours": our_trial(problem, spec, True),
            "ours, never evaluated": our_trial(problem, spec, False),
        }
        turned = turns(ways, 2 if quick else 9, time.process_time)
        aim = 1.1 if "resnet" in name else None
        yield Row(f"{name}: trial, hadamard / plain loop", ratios(turned, "plain")["ours"], aim)
        share = tuple(
            1 - without / whole
            for whole, without in zip(turned["ours"], turned["ours, never evaluated"], strict=True)
        )
        yield Row(f"{name}: evaluation / trial, once an epoch, test a fifth of train", share)
