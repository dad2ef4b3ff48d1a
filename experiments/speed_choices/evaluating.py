"""What brought evaluation down: memory that is kept, and images with their channels last.

An evaluation of 128 rows of noise, milliseconds of the processor, medians, one thread. There is no
way back from `keep_freed_memory`, so each way is a process of its own, and the processes take
turns; the median is over all of a way's processes.

    python experiments/speed_choices/evaluating.py [--turns 10] [--processes 3]
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import subprocess
import sys
import time

import torch

import subspan as ss
from subspan.problems import module
from subspan.problems.models import CONV_CHANNELS, conv_net
from subspan.problems.resnet import resnet20
from subspan.streams import torch_generator
from subspan.trials.executors.freed_memory import keep_freed_memory

ROWS = 128
NETWORKS = {
    "mnist-conv2": functools.partial(conv_net, CONV_CHANNELS["conv2"], (1, 28, 28), 10),
    "cifar10-resnet20": functools.partial(resnet20, (3, 32, 32), 10),
}
WAYS = ("given back", "kept", "kept, channels last")


def milliseconds(name: str, way: str, turns: int) -> list[float]:
    """Return those of each evaluation, in this process."""
    torch.set_num_threads(1)
    if way != "given back":
        keep_freed_memory()
    if "channels last" not in way:
        module.takes_channels_last = lambda part: False  # type: ignore[assignment]
    shape = (1, 28, 28) if name == "mnist-conv2" else (3, 32, 32)
    x = torch.randn(ROWS, *shape, generator=torch_generator(0, "evaluating"))
    data = x, torch.arange(ROWS) % 10
    problem = ss.Problem(NETWORKS[name], data, data, name=name)
    weights, spent = problem.init(0)[None], []
    for turn in range(turns + 1):
        start = time.thread_time()
        problem.evaluate_many(weights, "test")
        if turn:  # the first warms up
            spent.append(1e3 * (time.thread_time() - start))
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--of", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.of:
        print(*milliseconds(*args.of, args.turns))
        return
    print("| network | " + " | ".join(WAYS) + " |\n" + "|---" * (len(WAYS) + 1) + "|", flush=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name in NETWORKS:
        spent: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(args.processes):
            for way, own in spent.items():
                command = [sys.executable, __file__, "--turns", str(args.turns), "--of", name, way]
                printed = subprocess.check_output(command, env=environment, text=True)
                own += map(float, printed.split())
        told = " | ".join(f"{statistics.median(own):.1f}" for own in spent.values())
        print(f"| {name} | {told} |", flush=True)


if __name__ == "__main__":
    main()
