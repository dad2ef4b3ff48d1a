"""What workers × threads × trials at once are worth, alone and beside a busy process; their memory.

Trials of each network through the processes that the package starts, in turns, so that what else
the machine does meets all alike. Trials a second, as multiples of one worker of one thread with one
trial at a time. With `--memory`: what a worker was seen to take, and what is planned for it.

    python experiments/speed_choices/workers.py [--beside 1] [--turns 5] [--only digits-mlp]
    python experiments/speed_choices/workers.py --memory
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

import subspan as ss
from subspan.problems.models import CONV_CHANNELS, conv_net
from subspan.streams import torch_generator
from subspan.subspaces import Draw
from subspan.training.ensemble import train
from subspan.trials.executors.forked import Workers
from subspan.trials.executors.machine import available_cores
from subspan.trials.problem_trainable import ProblemTrainable
from subspan.trials.workers import find_room

METHOD = ss.RandomAffine()
TRIALS, DIM = 8, 64
STEPS = {"digits-mlp": 60, "mnist-mlp": 6, "mnist-conv2": 1}
SETTINGS = [  # workers, threads, trials at once
    *((1, 1, 1), (1, 1, 8), (1, 2, 1), (1, 2, 8)),
    *((2, 1, 1), (2, 1, 4), (2, 2, 4), (4, 1, 2)),
]


def problem_of(name: str) -> ss.Problem:
    """The network on its digits, or on noise in the shape of its images: speed does not tell."""
    if name == "digits-mlp":
        return ss.problems.load(name)
    generator = torch_generator(0, "workers", name)
    x = torch.rand(2000, 1, 28, 28, generator=generator)
    y = torch.arange(2000) % 10
    if name == "mnist-conv2":
        return ss.Problem(lambda: conv_net(CONV_CHANNELS["conv2"], (1, 28, 28), 10), (x, y), (x, y))
    sizes = (784, 200, 200, 10)
    return ss.Problem(lambda: mlp(sizes), (x.flatten(1), y), (x.flatten(1), y))


def mlp(sizes: tuple[int, ...]) -> torch.nn.Sequential:
    layers: list[torch.nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        layers += [torch.nn.Linear(a, b), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def piece(share: Any, repeats: list[int], threads: int, spec: ss.TrainSpec) -> None:
    """Train trials as one ensemble, in a worker."""
    torch.set_num_threads(threads)
    problem = share()
    draws = [Draw(DIM, 0, repeat) for repeat in repeats]
    train(
        problem,
        METHOD.subspaces(problem, draws),
        spec,
        [d.batch_seed for d in draws],
        evaluate=False,
    )


def seconds(problem: ss.Problem, spec: ss.TrainSpec, setting: tuple[int, int, int]) -> float:
    """How long all trials take by a setting, workers that have begun."""
    workers, threads, together = setting
    pieces = [list(range(i, min(i + together, TRIALS))) for i in range(0, TRIALS, together)]
    with Workers(workers, "fork") as executor:
        share = executor.share(problem)
        first = [
            executor.submit(piece, share, [0], 1, spec.replace(steps=1)) for _ in range(workers)
        ]
        list(executor.completed(first))
        began = time.perf_counter()
        futures = [executor.submit(piece, share, own, threads, spec) for own in pieces]
        for future in executor.completed(futures):
            future.result()
        return time.perf_counter() - began


def busy() -> None:
    while True:
        pass


@contextmanager
def beside(count: int) -> Iterator[None]:
    others = [multiprocessing.Process(target=busy, daemon=True) for _ in range(count)]
    for other in others:
        other.start()
    yield
    for other in others:
        other.kill()


def table(names: list[str], turns: int) -> None:
    print("| network | workers × threads × at once | trials a second, of the first row's |")
    print("|---" * 3 + "|", flush=True)
    for name in names:
        problem = problem_of(name)
        spec = ss.TrainSpec(steps=STEPS[name], batch_size=128, lr=0.01)
        settings = [s for s in SETTINGS if s[2] == 1 or problem.vectorized]
        for count in sorted({s[2] for s in settings}):
            problem.warm_up(count, 128)
        times: dict[tuple[int, int, int], list[float]] = {setting: [] for setting in settings}
        for _, setting in itertools.product(range(turns), settings):
            times[setting].append(seconds(problem, spec, setting))
            print(name, setting, f"{times[setting][-1]:.2f} s", file=sys.stderr, flush=True)
        for setting, own in times.items():
            ratios = [a / b for a, b in zip(times[settings[0]], own, strict=True)]
            spread = f"{min(ratios):.2f}–{max(ratios):.2f}"
            shown = " × ".join(map(str, setting))
            print(f"| {name} | {shown} | {statistics.median(ratios):.2f} ({spread}) |", flush=True)


def held(share: Any, pairs: list[tuple[int, int]], spec: ss.TrainSpec) -> int:
    """Train in a worker; return the bytes that it then holds for itself, files not counted."""
    share().train(pairs, spec, 0)
    with open("/proc/self/smaps_rollup") as lines:
        told = {line.split()[0]: int(line.split()[1]) * 1024 for line in lines if "kB" in line}
    return min(told["Anonymous:"], told["Private_Dirty:"])


def memory() -> None:
    print("| network | started by | trials at once | seen, MiB | planned, MiB |")
    print("|---" * 5 + "|")
    spec = ss.TrainSpec(steps=3, batch_size=128, lr=0.01)
    for name in STEPS:
        for start in ("fork", "spawn"):
            trainable = ProblemTrainable(problem_of(name), METHOD)
            pairs = [(DIM, repeat) for repeat in range(trainable.width)]
            with Workers(1, start) as executor:  # type: ignore[arg-type]
                room = find_room(executor, trainable.training_bytes(spec))
                trainable.warm_up([pairs], spec)
                future = executor.submit(held, executor.share(trainable), pairs, spec)
                list(executor.completed([future]))
                seen, planned = future.result() / 2**20, room.each / 2**20 if room else 0
            print(f"| {name} | {start} | {len(pairs)} | {seen:.0f} | {planned:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--beside", type=int, default=0)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--only", default=",".join(STEPS))
    parser.add_argument("--memory", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.memory:
        import workers  # this file, so that spawned processes find what they are to call

        workers.memory()
        return
    with open("/proc/loadavg") as lines:
        load = lines.read().split()[0]
    print(f"{available_cores()} cores, load {load} before, {args.beside} busy beside\n", flush=True)
    with beside(args.beside):
        table(args.only.split(","), args.turns)


if __name__ == "__main__":
    main()
