"""Whole measurements by the clock, as a user starts them, and what they cost in full trainings.

`subspan threshold` at its default ratio, 1.5, the learning rate included, on two workers. Aims:
digits-mlp within a minute, mnist-conv2 at 90 % training accuracy within ten, at most 10 full
trainings for the first and 20 for the second, whose trials scatter more. MNIST is read from
`--data-dir`. On a GPU the paper's phase diagram of Conv-2, 13 dims × 10 runs × 3 epochs of MNIST,
within 60 s.

    python benchmarks/bench.py --only whole --data-dir DATA
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import torch
from table import Row

import subspan as ss

SEEDS = 5
DIAGRAM = [2**i for i in range(13)]


def measured(name: str, goal: str, seed: int, *options: str) -> tuple[float, float]:
    """Return the seconds and the full trainings of one threshold, in processes of its own."""
    command = ["threshold", name, "--goal", goal, "--seed", str(seed), "--workers", "2", "--json"]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "subspan", *command, *options],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
        return time.perf_counter() - start, float(json.loads(done.stdout)["trainings"])


def rows(quick: bool) -> Iterator[Row]:
    """Yield seconds and trainings of both problems, and the diagram's seconds on a GPU."""
    found = [measured("digits-mlp", "loss<=0.1", seed) for seed in range(1 if quick else SEEDS)]
    yield from told("digits-mlp, loss<=0.1", found, 60, 10)
    data = os.environ.get("BENCH_DATA")
    goal = "accuracy>=0.9"
    found = [measured("mnist-conv2", goal, 0, "--data-dir", data)] if data else []
    yield from told(f"mnist-conv2, {goal}", found, 600, 20)
    name = "mnist-conv2: phase diagram, 13 dims × 10 runs × 3 epochs, GPU"
    if not torch.cuda.is_available():
        yield Row(name, aim=60, unit="s", absent="no GPU")
    elif not data:
        yield Row(name, aim=60, unit="s", absent="no --data-dir")
    else:
        yield Row(name, (diagram(data),), 60, unit="s")


def told(
    what: str, found: list[tuple[float, float]], seconds: float, trainings: float
) -> Iterator[Row]:
    """Yield both rows of a threshold."""
    absent = "" if found else "no --data-dir"
    clock, cost = zip(*found, strict=True) if found else ((), ())
    yield Row(f"threshold {what}: whole, two workers", clock, seconds, unit="s", absent=absent)
    yield Row(f"threshold {what}: cost", cost, trainings, unit="trainings", absent=absent)


def diagram(data: str) -> float:
    """Return the seconds of the paper's phase diagram on a GPU."""
    problem = ss.problems.load("mnist-conv2", data_dir=data).to("cuda")
    start = time.perf_counter()
    ss.run(problem, "random", DIAGRAM, repeats=10, spec=ss.TrainSpec(epochs=3))
    return time.perf_counter() - start
