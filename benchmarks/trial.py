"""A whole trial against the plain loop that one writes by hand: as many steps, as many evaluations.

Images of noise in the shape of MNIST and CIFAR-10 with labels drawn at random: what is timed does
not depend on what is learnt. One thread, one trial, `hadamard`, d = 1,000. Aims: ResNet20 at most
1.1 of plain, and evaluation at most a tenth of training as `threshold` has it by default, here with
goals that are never met, on the loss and on test accuracy, in a process that keeps what it frees,
as workers do (`trials/executors/freed_memory.py`). Then whole trials of the two problems that users
measure, as registered, of as many rows as MNIST's and CIFAR-10's 5,000, far from their goals; and
near, where one evaluation of the goal's whole split is the floor. What it costs to evaluate both
splits after each epoch, as `TrainSpec()` has it, stands beside it, in a process that does not.

    python benchmarks/bench.py --only trial
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from table import Row, ratios, turns

import subspan as ss
from subspan.problems import data, registry
from subspan.problems.models import CONV_CHANNELS, conv_net
from subspan.problems.resnet import resnet20
from subspan.streams import torch_generator
from subspan.subspaces import Draw
from subspan.training.batches import Batches
from subspan.training.ensemble import train
from subspan.trials.executors.freed_memory import keep_freed_memory

DIM, BATCH = 1000, 128
Make = Callable[[], torch.nn.Module]


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


def our_trial(problem: ss.Problem, spec: ss.TrainSpec, evaluate: bool) -> Callable[[], None]:
    draw = Draw(DIM, 0, 0)
    (subspace,) = ss.RandomAffine(map="hadamard").subspaces(problem, [draw])

    def run() -> None:
        train(problem, [subspace], spec, [draw.batch_seed], evaluate=evaluate)

    return run


def rows(quick: bool) -> Iterator[Row]:
    """Yield a trial of each network, and the share of it that evaluation takes."""
    torch.set_num_threads(1)
    problems: dict[str, ss.Problem] = {}
    for name, make, image, count in (
        ("mnist-conv2", lambda: conv_net(CONV_CHANNELS["conv2"], (1, 28, 28), 10), (1, 28, 28), 2),
        ("cifar10-resnet20", lambda: resnet20((3, 32, 32), 10), (3, 32, 32), 1),
    ):
        generator = torch_generator(0, "benchmark", name)
        size = 5 * BATCH
        x = torch.randn(size, *image, generator=generator)
        y = torch.randint(0, 10, (size,), generator=generator)
        problem = ss.Problem(make, (x, y), (x[: size // 5], y[: size // 5]), name="trial")
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
        problems[name] = problem
    keep_freed_memory()
    for name, problem in problems.items():
        spec = ss.TrainSpec(epochs=5, batch_size=BATCH, lr=1e-3, eval_every="tenth")
        for goal in ("loss<=1e-6", "test:accuracy>=1"):
            rounds = 2 if quick else (5 if "resnet" in name else 15)
            shares = evaluation_shares(problem, spec.replace(stop_at=goal), rounds)
            what = f"{name}: evaluation / training, by default, 5 epochs, {goal}"
            yield Row(what, shares, 0.1)
    if not quick:
        for problem, goal, near, dtype in (
            (as_registered("mnist-conv2", 60_000), "accuracy>=0.9", "accuracy>=0.65", "float32"),
            (as_registered("cifar10-resnet20", 5000), "accuracy>=0.6", "", "bfloat16"),
        ):
            yield from as_users_measure(problem, goal, near, dtype)


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
