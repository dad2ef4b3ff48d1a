"""32 trials of digits-mlp: the runner against plain PyTorch loops, one after another.

Both train the same number of steps at the same batch size in subspaces of the same dimension, and
evaluate at the end. The plain loop is what one writes by hand: a dense matrix, `functional_call`,
`backward`, `torch.optim.Adam`, in one process. It gets one thread, which is faster for it than two.
The two take turns; the ratio of each pair is printed. Target: 10 times the throughput.

    python benchmarks/ensemble.py
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch.func import functional_call

import subspan as ss
from subspan.subspaces import Draw
from subspan.training.batches import Batches

TRIALS, DIM, STEPS, BATCH = 32, 64, 550, 128


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--plain-trials", type=int, default=4, help="timed, then scaled to 32")
    args = parser.parse_args()
    problem = ss.problems.load("digits-mlp")
    spec = ss.TrainSpec(lr=0.05, steps=STEPS, batch_size=BATCH, eval_every=STEPS)
    maps = ("hadamard", "partition", "gaussian")
    torch.set_num_threads(1)
    ratios: dict[str, list[float]] = {name: [] for name in maps}
    plain_loop(problem, 5)
    for seed in range(args.pairs):
        clock = time.perf_counter()
        for _ in range(args.plain_trials):
            plain_loop(problem, STEPS)
        plain = (time.perf_counter() - clock) * TRIALS / args.plain_trials
        for name in maps:
            clock = time.perf_counter()
            ss.run(problem, f"random:{name}", [DIM], repeats=TRIALS, spec=spec, seed=seed)
            ours = time.perf_counter() - clock
            ratios[name].append(plain / ours)
            print(f"{name:10s} plain {plain:6.2f} s  ours {ours:6.2f} s  ratio {plain / ours:5.1f}")
    for name, values in ratios.items():
        low, high = min(values), max(values)
        print(f"{name}: median ratio {statistics.median(values):.1f} ({low:.1f} to {high:.1f})")


if __name__ == "__main__":
    main()
