"""32 trials of digits-mlp: the runner against plain PyTorch loops, one after another.

Both train the same number of steps at the same batch size in subspaces of the same dimension, and
evaluate at the end. The plain loop is what one writes by hand: a dense matrix, `functional_call`,
`backward`, `torch.optim.Adam`, in one process. It gets one thread, which is faster for it than two.
The two take turns. Aim: 10 times the throughput with the default map, `hadamard`.

    python benchmarks/bench.py --only ensemble
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from table import Row
from torch.func import functional_call

import subspan as ss
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
