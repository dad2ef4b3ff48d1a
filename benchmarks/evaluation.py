"""What evaluation takes of training in one trial, as `threshold` has it by default.

Aim: a tenth. Whole trials of the two problems that users measure, as registered, of as many rows as
MNIST and 5,000 of CIFAR-10, far from their goals; and near, where one evaluation of the goal's
whole split is the floor. Then five epochs of 640 rows, with goals on the loss and on test accuracy.
Images and labels are noise: what is timed does not depend on what is learnt. Seconds of the
processor, one thread, `hadamard`, d = 1,000, in a process that keeps what it frees, as workers do
(`trials/executors/freed_memory.py`).

    python benchmarks/bench.py --only evaluation
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from table import Row
from trial import BATCH, NETWORKS, on_noise, our_trial

import subspan as ss
from subspan.problems import data, registry
from subspan.streams import torch_generator
from subspan.trials.executors.freed_memory import keep_freed_memory


def rows(quick: bool) -> Iterator[Row]:
    """Yield what evaluation takes of training: as registered, then of few rows in many turns."""
    torch.set_num_threads(1)
    keep_freed_memory()
    if not quick:
        for problem, goal, near, dtype in (
            (as_registered("mnist-conv2", 60_000), "accuracy>=0.9", "accuracy>=0.65", "float32"),
            (as_registered("cifar10-resnet20", 5000), "accuracy>=0.6", "", "bfloat16"),
        ):
            yield from as_users_measure(problem, goal, near, dtype)
    spec = ss.TrainSpec(epochs=5, batch_size=BATCH, lr=1e-3, eval_every="tenth")
    for name, make, image, _ in NETWORKS:
        problem = on_noise(name, make, image)
        for goal in ("loss<=1e-6", "test:accuracy>=1"):
            rounds = 2 if quick else (5 if "resnet" in name else 15)
            shares = evaluation_shares(problem, spec.replace(stop_at=goal), rounds)
            what = f"{name}: evaluation / training, by default, 5 epochs, {goal}"
            yield Row(what, shares, 0.1)


def as_registered(name: str, size: int) -> ss.Problem:
    """Return a registered problem on noise, with `size` training rows and 10,000 test rows."""
    _, source, make, spec = registry.PROBLEMS[name].args  # type: ignore[attr-defined]
    keywords = registry.PROBLEMS[name].keywords  # type: ignore[attr-defined]
    generator = torch_generator(0, "benchmark", name, "registered")
    shape = data.SOURCES[source].shape
    train, test = (
        (torch.randn(n, *shape, generator=generator), torch.arange(n) % 10) for n in (size, 10_000)
    )
    return ss.Problem(make, train, test, name=name, default_spec=spec, **keywords)


def as_users_measure(problem: ss.Problem, goal: str, near: str, dtype: Any) -> Iterator[Row]:
    """Yield what evaluation takes in a whole trial by default, and at `"auto"`; one turn each.

    Labels are noise, a tenth of which is hit: far from `goal`, not far from `near`, met by neither.
    """
    spec = problem.default_spec.replace(lr=1e-3, dtype=dtype)
    problem = problem.in_precision(dtype)
    size = f"{problem.name}, {dtype}, {spec.epochs} epochs of {problem.train_size:,} rows"
    for word, stop_at, told, aim in (
        ("tenth", goal, f"by default, {goal}", 0.1),
        ("tenth", near, f"by default, {near}, near: floor, one look at all rows", None),
        ("auto", goal, f"'auto', {goal}: all splits at the end", None),
    ):
        if stop_at:
            shares = evaluation_shares(problem, spec.replace(eval_every=word, stop_at=stop_at), 1)
            yield Row(f"{size}: evaluation / training, {told}", shares, aim)


def evaluation_shares(problem: ss.Problem, spec: ss.TrainSpec, rounds: int) -> tuple[float, ...]:
    """Return what evaluation takes of training, in each of some trials.

    Both parts of one trial: two trials, one without evaluation, differ by more than a tenth.
    """
    warm = our_trial(problem, spec.replace(steps=2), True)
    trial = our_trial(problem, spec, True)
    values = []
    with evaluations_timed(problem) as spent:
        if rounds > 1:
            trial()
        else:
            warm()
        for _ in range(rounds):
            spent.clear()
            start = time.process_time()
            trial()
            evaluated = sum(spent)
            values.append(evaluated / (time.process_time() - start - evaluated))
    return tuple(values)


@contextlib.contextmanager
def evaluations_timed(problem: ss.Problem) -> Iterator[list[float]]:
    """Yield a list that gains the seconds of the processor of each evaluation of a trial."""
    spent: list[float] = []

    def timed(evaluate: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            start = time.process_time()
            found = evaluate(*args, **options)
            spent.append(time.process_time() - start)
            return found

        return call

    # Of the end and of looks; of glances; of parts, at the end.
    names = "measure_many", "measure_rows", "evaluate_rows"
    for each in names:
        setattr(problem, each, timed(getattr(problem, each)))
    try:
        yield spent
    finally:
        for each in names:
            delattr(problem, each)
