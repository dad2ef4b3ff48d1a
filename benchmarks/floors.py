"""How far each stage of a step is from what the machine allows: measured seconds over the floor's.

The floor of a stage is the larger of its operations over this core's matrix product (1,024 cubed,
float32) and of the bytes that it must move over this core's copy: from memory (64 MiB), or within a
cache (512 KiB) where the stage moves no more than a cache holds. Rates and stages take turns in one
run, in seconds of this thread's processor; a stage of microseconds runs many times in its turn, and
finds its numbers in the cache as in training. One thread, batch 128 (MiniLM: 32 x 64 tokens), in a
process that keeps freed memory, as workers do. What is counted: `stages.py`.

Two columns say where the rest goes: what its linear and convolutional layers take alone, with the
same inputs, and what the stage takes on next to nothing: one row (of one token), a map into 16
weights, Adam on one number. The latter is the price of the calls.

Besides, maps of mnist-mlp at large d, as they run in a step that takes turns with a plain one: over
their floor, and over what 1.15 of the plain step leaves for them beside the network's gradient, the
offset and Adam on d numbers.

    python benchmarks/floors.py [--quick] [--measured benchmarks/measured/bench.json]
    python benchmarks/floors.py --operators [mnist-mlp,mnist-conv2]

prints the table; with `--measured` that of a file which `bench.py` wrote, without measuring. With
`--operators` it prints which of PyTorch's operators the forward and backward passes and evaluations
spend their time in, by PyTorch's profiler.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from stages import BATCH, BYTES, DIM, Stage, Way, map_operations, networks, stages
from step import plain_step
from table import Row, line, turns

import subspan as ss
from subspan.maps.stack import stack
from subspan.problems.models import mlp
from subspan.streams import torch_generator
from subspan.training.optimizers import Adam
from subspan.trials.executors.freed_memory import keep_freed_memory

SIDE, COPIED, IN_CACHE = 1024, 2**24, 2**17  # numbers
CACHE = 2**21  # bytes
LEAST = 2e-3  # seconds of a turn
SMALL = 1, 16  # a map on next to nothing: d, D
RATES = ("product", "copy", "copy in cache", "an operator on one number")
HEAD = (
    "| network | stage | MFLOP | MB | floor, ms | measured, ms | ratio | its layers alone, ms "
    "| on next to nothing, ms |"
)


class Machine:
    """What this core can do, as ways that take turns with the stages."""

    def __init__(self) -> None:
        a, b, product = torch.randn(3, SIDE, SIDE)
        source, target = torch.randn(2, COPIED)
        near, by = torch.randn(2, IN_CACHE)
        one = torch.zeros(1)
        ways = (
            lambda: torch.mm(a, b, out=product),
            lambda: target.copy_(source),
            lambda: by.copy_(near),
            lambda: one.add_(1.0),
        )
        self.ways: dict[str, Way] = dict(zip(RATES, ways, strict=True))

    @staticmethod
    def rates(seconds: dict[str, list[float]]) -> list[tuple[float, float, float]]:
        """Return FLOP/s and bytes/s, from memory and in a cache, of each turn."""
        product, copy, near = (np.array(seconds[name]) for name in RATES[:3])
        work = 2 * SIDE**3, 2 * BYTES * COPIED, 2 * BYTES * IN_CACHE
        return list(zip(work[0] / product, work[1] / copy, work[2] / near, strict=True))


def floor(operations: float, moved: float, rates: tuple[float, float, float]) -> float:
    """Return the seconds below which no program goes."""
    flops, memory, cache = rates
    return max(operations / flops, moved / (cache if moved <= CACHE else memory))


def timed(ways: dict[str, Way], rounds: int) -> dict[str, list[float]]:
    """Return seconds of each way, turn by turn, each so often in a turn that it can be timed."""
    counts, many = {}, {}
    for name, way in ways.items():
        way()
        start = time.thread_time()
        way()
        counts[name] = max(1, math.ceil(LEAST / max(time.thread_time() - start, 1e-7)))

        def repeated(way: Way = way, count: int = counts[name]) -> None:
            for _ in range(count):
                way()

        many[name] = repeated
    seconds = turns(many, rounds, time.thread_time)
    return {name: [s / counts[name] for s in own] for name, own in seconds.items()}


def large_maps(rounds: int, machine: Machine) -> Iterator[Row]:
    """Yield the maps of mnist-mlp at large d over their floors, and over what is left for them."""
    generator = torch_generator(0, "floors")
    x = torch.randn(BATCH, 784, generator=generator)
    y = torch.arange(BATCH) % 10
    problem = ss.Problem(lambda: mlp(784, 200, 200, 10), (x, y), name="floors")
    plain = plain_step(mlp(784, 200, 200, 10), x, y)
    size, batch, offset = problem.ambient_dim, (x[None], y[None]), problem.init(0)[None]
    for kind in ("partition", "hadamard"):
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
            rates = np.median(machine.rates(timed(machine.ways, 10)), 0)
            what = f"mnist-mlp: {kind} and its adjoint, d = {dim:,}"
            least = floor(map_operations(kind, dim, size), 3.0 * BYTES * size, tuple(rates))
            own = seconds["map"][-rounds:]  # `turns` begins with one that is not kept
            yield Row(f"{what} / floor", tuple(one / least for one in own))
            left = [
                1.15 * whole - rest
                for whole, rest in zip(seconds["plain"], seconds["rest"][-rounds:], strict=True)
            ]
            name = f"{what} / what 1.15 of a plain step leaves it, of medians"
            yield Row(name, (float(np.median(own) / np.median(left)),), 1)


def told(
    network: str,
    stage: Stage,
    seconds: dict[str, list[float]],
    rates: list[tuple[float, float, float]],
) -> Row:
    """Return a stage's row: measured over floor, and in its detail what the table says of it."""
    floors = [floor(stage.operations, stage.moved, each) for each in rates]
    detail: dict[str, float] = {
        "operations": stage.operations,
        "bytes": stage.moved,
        "floor_ms": 1e3 * float(np.median(floors)),
        "measured_ms": 1e3 * float(np.median(seconds[stage.name])),
    }
    for part in ("layers", "nothing"):
        if f"{stage.name}: {part}" in seconds:
            detail[f"{part}_ms"] = 1e3 * float(np.median(seconds[f"{stage.name}: {part}"]))
    values = tuple(s / f for s, f in zip(seconds[stage.name], floors, strict=True))
    return Row(f"{network}: {stage.name} / floor", values, detail=detail)


def rows(quick: bool) -> Iterator[Row]:
    """Yield measured over floor for each stage of each network."""
    torch.set_num_threads(1)
    keep_freed_memory()
    machine, found = Machine(), []
    for network in networks():
        whole, least = stages(network, DIM), stages(network.smallest, *SMALL)
        ways = dict(machine.ways)
        for stage, small in zip(whole, least, strict=True):
            ways |= {stage.name: stage.run, f"{stage.name}: nothing": small.run}
            if stage.layers is not None:
                ways[f"{stage.name}: layers"] = stage.layers
        seconds = timed(ways, 3 if quick else 7)
        rates = machine.rates(seconds)
        yield from (told(network.name, stage, seconds, rates) for stage in whole)
        found += [(*rate, call) for rate, call in zip(rates, seconds[RATES[3]], strict=True)]
    yield from large_maps(10 if quick else 30, machine)
    flops, memory, cache, call = (tuple(map(float, each)) for each in np.array(found).T)
    yield Row("this core: matrix product", tuple(f / 1e9 for f in flops), unit="GFLOP/s")
    yield Row("this core: copy from memory", tuple(m / 1e9 for m in memory), unit="GB/s")
    yield Row("this core: copy within a cache", tuple(c / 1e9 for c in cache), unit="GB/s")
    yield Row("this core: an operator on one number", tuple(1e6 * s for s in call), unit="µs")


def stage_table(rows: Iterable[dict[str, Any]]) -> str:
    """Return the table of network × stage as Markdown, of rows as JSON."""
    lines = [HEAD, "|---" * (HEAD.count("|") - 1) + "|"]
    for row in rows:
        detail = row.get("detail") or {}
        if "floor_ms" in detail:
            network, stage = row["name"].removesuffix(" / floor").split(": ", 1)
            numbers = (
                detail["operations"] / 1e6,
                detail["bytes"] / 1e6,
                detail["floor_ms"],
                detail["measured_ms"],
                row["median"],
            )
            cells = [network, stage, *(f"{number:.3g}" for number in numbers)]
            for part in ("layers_ms", "nothing_ms"):
                cells.append(f"{detail[part]:.3g}" if part in detail else "")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def operators(only: str = "", rounds: int = 10, most: int = 5) -> Iterator[str]:
    """Yield a line for each pass of each network: its operators with their shares of its time."""
    torch.set_num_threads(1)
    keep_freed_memory()
    for network in networks():
        if only and network.name not in only.split(","):
            continue
        for stage in stages(network, DIM):
            if stage.name not in ("forward", "backward", "evaluation of a chunk"):
                continue
            stage.run()
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as found:
                for _ in range(rounds):
                    stage.run()
            spent = {each.key: each.self_cpu_time_total for each in found.key_averages()}
            first = sorted(spent, key=lambda name: -spent[name])[:most]
            whole = sum(spent.values())
            shares = ", ".join(f"{name} {spent[name] / whole:.0%}" for name in first)
            calls = sum(each.count for each in found.key_averages()) / rounds
            yield f"{network.name}, {stage.name}: {calls:,.0f} calls; {shares}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few turns")
    parser.add_argument("--measured", type=Path, help="print the table of this file")
    names = {"nargs": "?", "const": "", "metavar": "NETWORKS"}
    parser.add_argument("--operators", help="where passes spend their time", **names)
    args = parser.parse_args()
    if args.operators is not None:
        for text in operators(args.operators):
            print(text, flush=True)
        return
    if args.measured:
        print(stage_table(json.loads(args.measured.read_text())))
        return
    found = list(rows(args.quick))
    print(stage_table(row.to_json() for row in found) + "\n")
    for row in found:
        if "floor_ms" not in row.detail:
            print(line(row))


if __name__ == "__main__":
    main()
