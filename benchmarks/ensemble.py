"""32 trials of digits-mlp: the runner against plain PyTorch loops, one after another.

Both train the same number of steps at the same batch size in subspaces of the same dimension, and
evaluate at the end. The plain loop is what one writes by hand: a dense matrix, `functional_call`,
`backward`, `torch.optim.Adam`, in one process. It gets one thread, which is faster for it than two.
The two take turns. Aim: 10 times the throughput with the default map, `hadamard`.

Networks whose step is arithmetic gain nothing by standing side by side, and the machine's limit is
its cores: trials of mnist-mlp and mnist-conv2 (images of noise) are held against plain PyTorch
training in full space, one training after another.

    python benchmarks/bench.py --only ensemble
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch
from table import Row
from torch.func import functional_call
from trial import plain_steps

import subspan as ss
from subspan.problems.models import CONV_CHANNELS, conv_net, mlp
from subspan.streams import torch_generator
from subspan.subspaces import Draw
from subspan.training.batches import Batches

TRIALS, DIM, STEPS, BATCH = 32, 64, 550, 128
MAPS = ("hadamard", "partition", "gaussian")


def plain_loop(problem: ss.Problem, steps: int) -> None:
    draw = Draw(DIM, 0, 0)
    dense = ss.maps.make("gaussian", dim=DIM, ambient_dim=problem.ambient_dim, seed=0).dense()
    offset = problem.init(draw.init_seed)
    theta = torch.zeros(DIM, requires_grad=True)
    optimizer = torch.optim.Adam([theta], lr=0.05)
    batches = Batches(draw.batch_seed, problem.train_size, BATCH)
    for step in range(steps):
        x, y = problem.batch(batches.at(step))
        optimizer.zero_grad()
        weights = problem.layout.split(offset + dense @ theta)
        out = functional_call(problem.module, weights, (x,))
        torch.nn.functional.cross_entropy(out, y).backward()
        optimizer.step()
    problem.evaluate((offset + dense @ theta).detach())


def rows(quick: bool) -> Iterator[Row]:
    """Yield the throughput of the runner, pair by pair, in multiples of the plain loop's."""
    pairs, timed = (2, 2) if quick else (5, 4)
    problem = ss.problems.load("digits-mlp")
    spec = ss.TrainSpec(lr=0.05, steps=STEPS, batch_size=BATCH, eval_every=STEPS)
    torch.set_num_threads(1)
    ratios: dict[str, list[float]] = {name: [] for name in MAPS}
    plain_loop(problem, 5)
    for seed in range(pairs):
        clock = time.perf_counter()
        for _ in range(timed):
            plain_loop(problem, STEPS)
        plain = (time.perf_counter() - clock) * TRIALS / timed
        for name in MAPS:
            clock = time.perf_counter()
            ss.run(problem, f"random:{name}", [DIM], repeats=TRIALS, spec=spec, seed=seed)
            ratios[name].append(plain / (time.perf_counter() - clock))
    for name, values in ratios.items():
        what = f"digits-mlp: throughput of {TRIALS} trials, {name} / plain loops, dense matrix"
        yield Row(what, tuple(values), 10 if name != "gaussian" else None, "at least")
    yield from against_full_space(quick)


def against_full_space(quick: bool) -> Iterator[Row]:
    """Yield the throughput of trials of larger networks in multiples of plain full training's."""
    for name, make, shape, trials, steps in (
        ("mnist-mlp", lambda: mlp(784, 200, 200, 10), (784,), 8, 200),
        (
            "mnist-conv2",
            lambda: conv_net(CONV_CHANNELS["conv2"], (1, 28, 28), 10),
            (1, 28, 28),
            8,
            40,
        ),
    ):
        generator = torch_generator(0, "benchmark")
        x = torch.randn(10 * BATCH, *shape, generator=generator)
        y = torch.randint(0, 10, (len(x),), generator=generator)
        problem = ss.Problem(make, (x, y), name=name)
        spec = ss.TrainSpec(lr=1e-3, steps=steps, batch_size=BATCH, eval_every=steps)
        values = []
        for seed in range(2 if quick else 5):
            clock = time.perf_counter()
            for _ in range(trials // 4):
                full_loop(problem, make, steps)
            plain = (time.perf_counter() - clock) * 4
            clock = time.perf_counter()
            ss.run(problem, "random", [1000], repeats=trials, spec=spec, seed=seed)
            values.append(plain / (time.perf_counter() - clock))
        what = (
            f"{name}: throughput of {trials} trials, hadamard, d = 1,000 / plain loops, all weights"
        )
        yield Row(what, tuple(values))


def full_loop(problem: ss.Problem, make: Callable[[], torch.nn.Module], steps: int) -> None:
    module = make()
    for _ in plain_steps(problem, module, steps):
        pass
    problem.evaluate(torch.cat([p.detach().flatten() for p in module.parameters()]))
