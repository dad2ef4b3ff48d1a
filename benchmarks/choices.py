"""What a choice makes of a step: ResNet20 in a subspace, bfloat16, compiled gradients.

Batch 128, Adam, one thread, seconds of the processor; images of noise. ResNet20's step in d numbers
against its plain step, gradients of ResNet20 under `dtype="bfloat16"` against float32, and those of
Conv-2 compiled against plain ones, as `TrainSpec(compile=True)` takes and times them: by the median
of turns. Compiling wants a C++ compiler.

    python benchmarks/bench.py --only choices
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import torch
from step import BATCH, network
from table import Row, ratios, turns

import subspan as ss
from subspan.problems.models import CONV_CHANNELS, conv_net
from subspan.problems.resnet import resnet20
from subspan.streams import torch_generator

AHEAD = 10**9  # steps: so many that compiling is tried


def noise(name: str) -> ss.Problem:
    """Conv-2 or ResNet20 on images of noise."""
    generator = torch_generator(0, "benchmark", name)
    shape = (1, 28, 28) if name == "mnist-conv2" else (3, 32, 32)
    x = torch.randn(2 * BATCH, *shape, generator=generator)
    y = torch.randint(0, 10, (len(x),), generator=generator)
    if name == "mnist-conv2":
        return ss.Problem(lambda: conv_net(CONV_CHANNELS["conv2"], shape, 10), (x, y), name=name)
    return ss.Problem(lambda: resnet20(shape, 10), (x, y), name=name)


def rows(quick: bool) -> Iterator[Row]:
    """Yield each choice against the plain step."""
    torch.set_num_threads(1)
    name = "cifar10-resnet20"
    rounds = 2 if quick else 9
    yield from network(
        name, lambda: resnet20((3, 32, 32), 10), (3, 32, 32), rounds, dims=(1000, 10_000)
    )
    yield bfloat16(noise(name), rounds)
    yield compiled(noise("mnist-conv2"), rounds)


def bfloat16(problem: ss.Problem, rounds: int) -> Row:
    """A gradient in bfloat16 over one in float32."""
    batch = problem.batch(torch.arange(BATCH)[None])
    weights = problem.init(0)[None]
    ways = {
        name: functools.partial(problem.in_precision(name).grads, weights, batch)
        for name in ("float32", "bfloat16")
    }
    shares = ratios(turns(ways, rounds), "float32")["bfloat16"]
    return Row(f"{problem.name}: gradient, bfloat16 / float32", shares)


def compiled(problem: ss.Problem, rounds: int) -> Row:
    """A compiled gradient over a plain one."""
    what = f"{problem.name}: gradient, compiled / plain"
    new, found = problem.compiled(BATCH, 1, AHEAD)
    if found.compiled_ms is None:
        return Row(what, absent=found.why)
    if not found.taken:
        return Row(what, (found.compiled_ms / (found.plain_ms or 1.0),))
    batch, weights = problem.batch(torch.arange(BATCH)[None]), problem.init(0)[None]
    ways = {
        "plain": lambda: problem.grads(weights, batch),
        "compiled": lambda: new.grads(weights, batch),
    }
    detail = {"compiling_s": found.seconds or 0.0}
    return Row(what, ratios(turns(ways, 3 * rounds), "plain")["compiled"], detail=detail)
