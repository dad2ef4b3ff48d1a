"""Two worker processes of one thread against one process of two threads; and a worker's memory.

Four trials on images of noise, `hadamard`, d = 1,000, by the clock, since it is cores that are
shared out. Both ways are processes of their own which train two trials first, to warm up, and take
turns: a busy machine slows both. The ratio is of throughputs; aim: workers are no slower.

A worker's memory is the most that it alone held (`Private` in the kernel's `smaps_rollup`, looked
at every 5 ms), while two of them trained on 60,000 images that they share with their parent.

    python benchmarks/bench.py --only workers
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import multiprocessing
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import torch
from table import Row

import subspan as ss
from subspan.problems.models import CONV_CHANNELS, conv_net, mlp
from subspan.streams import torch_generator

BATCH, DIM, TRIALS = 128, 1000, 4
WAYS = {"two workers": ("forked", 1), "two threads": ("inline", 2)}
STEPS = {"mnist-mlp": 200, "mnist-conv2": 30}


def problem(name: str, rows: int) -> ss.Problem:
    """Noise in the shape of MNIST."""
    make: Callable[[], torch.nn.Module] = functools.partial(mlp, 784, 200, 200, 10)
    shape: tuple[int, ...] = (784,)
    if name == "mnist-conv2":
        shape = (1, 28, 28)
        make = functools.partial(conv_net, CONV_CHANNELS["conv2"], shape, 10)
    generator = torch_generator(0, "benchmark", name)
    x = torch.randn(rows, *shape, generator=generator)
    return ss.Problem(make, (x, torch.arange(rows) % 10), name=name)


def run(one: ss.Problem, executor: str, steps: int, repeats: int, seed: int) -> None:
    spec = ss.TrainSpec(lr=1e-3, steps=steps, batch_size=BATCH, eval_every=steps)
    workers = 2 if executor == "forked" else None
    ss.run(
        one,
        "random",
        [DIM],
        repeats=repeats,
        spec=spec,
        seed=seed,
        executor=executor,
        workers=workers,
    )


def timed(name: str, way: str) -> float:
    """Return the seconds of the trials, in this process."""
    executor, threads = WAYS[way]
    torch.set_num_threads(threads)
    one = problem(name, 10 * BATCH)
    run(one, executor, 2, 2, seed=1)
    start = time.perf_counter()
    run(one, executor, STEPS[name], TRIALS, seed=0)
    return time.perf_counter() - start


def seconds_of(name: str, way: str) -> float:
    """Return the same, in a process of its own."""
    threads = {"OMP_NUM_THREADS": str(WAYS[way][1]), "MKL_NUM_THREADS": str(WAYS[way][1])}
    command = [sys.executable, __file__, "--timed", name, way]
    return float(subprocess.check_output(command, env={**os.environ, **threads}))


def rows(quick: bool) -> Iterator[Row]:
    """Yield throughputs of both networks, and the memory of a worker."""
    for name in STEPS:
        what = f"{name}: throughput of {TRIALS} trials, two workers / one process, two threads"
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
        if cores < 2:
            yield Row(what, aim=1, side="at least", absent="fewer than two cores")
            continue
        values = []
        for _ in range(2 if quick else 3):
            threads, workers = (seconds_of(name, way) for way in ("two threads", "two workers"))
            values.append(threads / workers)
        yield Row(what, tuple(values), 1, "at least")
    torch.set_num_threads(1)
    for name, steps in STEPS.items():
        yield from memory(name, steps)


def memory(name: str, steps: int) -> Iterator[Row]:
    """Yield the most that a worker alone held, in MB, and what the workers share."""
    what = f"{name}: memory of a worker beyond what it shares"
    if not os.path.exists("/proc/self/smaps_rollup"):
        yield Row(what, unit="MB", absent="no smaps_rollup here")
        return
    one = problem(name, 60_000)
    with watched() as most:
        run(one, "forked", steps, TRIALS, seed=0)
    if not most:
        yield Row(what, unit="MB", absent="no worker was seen")
        return
    yield Row(what, tuple(own / 1e6 for own in most.values()), unit="MB")
    (x, _) = one.batch()
    yield Row(f"{name}: training data that workers share", (x.nbytes / 1e6,), unit="MB")


@contextlib.contextmanager
def watched() -> Iterator[dict[int, int]]:
    """Yield the most bytes, by process, that each child of this one has had for itself."""
    most: dict[int, int] = {}
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.005):
            for child in multiprocessing.active_children():
                with contextlib.suppress(OSError, ValueError):
                    most[child.pid] = max(most.get(child.pid, 0), private(child.pid))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield most
    finally:
        ended.set()
        thread.join()


def private(pid: int) -> int:
    """Return the bytes that no other process has."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return sum(1024 * int(text.split()[1]) for text in file if text.startswith("Private_"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--timed", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.timed:
        print(timed(*args.timed))
        return
    for row in rows(False):
        print(row.name, f"{statistics.median(row.values):.3g}" if row.values else row.absent)


if __name__ == "__main__":
    main()
