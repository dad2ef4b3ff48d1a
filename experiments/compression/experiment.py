"""What is a method's knowledge worth at equal degrees of freedom, each at its best learning rate?

Test accuracy over the compression ratio D/d: random subspaces, burn-in, lottery subspaces, and d
kept weights by lottery tickets, magnitude, SNIP and SynFlow. Every method has its own learning rate
at every d, chosen by equally many pilot trials. Each is held against the random subspace by paired
tests, with Holm's correction over the table of a problem.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from matplotlib.figure import Figure

from subspan.comparison.table import ComparisonRow
from subspan.estimate import Estimate
from subspan.report.against_null import comparisons
from subspan.report.figure import SERIES
from subspan.reproduction import Lab, Step, Trials
from subspan.spec import TrainSpec

METRIC, CONFIDENCE, NULL = "test:accuracy", 0.95, "random"
METHODS = {
    NULL: "random",
    "burn-in, 64 steps": "burn-in:64",
    "lottery subspace": "lottery-subspace",
    "lottery ticket, 5 rounds": "lottery-ticket:rounds=5",
    "magnitude": "magnitude",
    "SNIP": "snip",
    "SynFlow": "synflow",
}
NO_SYNFLOW = {name: text for name, text in METHODS.items() if name != "SynFlow"}  # norm layers
SCALES: dict[str, dict[str, Any]] = {
    "cpu": {
        "problems": {"mnist-conv2": METHODS},
        "subset": 3000,
        "epochs": 4,
        "dims": (32, 128, 512),
        "snapshots": "snapshots=512,every=2",
        "repeats": 10,
    },
    "full": {
        "problems": {
            **{"mnist-conv2": METHODS, "cifar10-conv2": METHODS},
            "cifar10-resnet20": NO_SYNFLOW,
        },
        "subset": None,
        "epochs": 10,
        "dims": (8, 32, 128, 512, 2048, 8192),
        "snapshots": "snapshots=8192,every=5",
        "repeats": 12,
    },
}


def steps(lab: Lab) -> Iterator[Step]:
    """A method of a problem, beside the null, then the next."""
    for problem, methods in lab["problems"].items():
        for name, text in methods.items():
            yield Step(f"{problem}: {name}", partial(_trials, lab, problem, text))


def numbers(trials: Trials) -> dict[str, Estimate]:
    """Mean test accuracy of each cell, and what it has over the null's."""
    found: dict[str, Estimate] = {}
    for problem, rows in tables(trials).items():
        for row in rows:
            cell = f"{problem}, {row.method}, d = {row.dim:,}"
            found[f"test accuracy, {cell}"] = Estimate(
                row.value, row.low, row.high, CONFIDENCE, row.repeats
            )
            if row.method != NULL:
                status = row.note or f"p = {row.p_adjusted:.2g} by Holm"
                found[f"over random, {cell}"] = Estimate(
                    row.difference,
                    row.difference_low,
                    row.difference_high,
                    CONFIDENCE,
                    row.pairs,
                    status,
                )
    return found


def draw(trials: Trials) -> Figure:
    """Test accuracy over D/d, a line a method, a panel a problem."""
    found = tables(trials)
    figure = Figure(figsize=(3.1 + 5.4 * len(found), 4.6), layout="constrained")
    panels = figure.subplots(1, len(found), squeeze=False)[0]
    for axes, (problem, rows) in zip(panels, found.items(), strict=True):
        names = list(dict.fromkeys(row.method for row in rows))
        for i, name in enumerate(names):
            line = [row for row in rows if row.method == name]
            x = [row.compression * 1.03 ** (i - len(names) / 2) for row in line]
            colour = "black" if name == NULL else SERIES[(i - 1) % len(SERIES)]
            axes.vlines(x, [row.low for row in line], [row.high for row in line], colour)
            axes.plot(x, [row.value for row in line], "o-", color=colour, label=name)
        axes.set(xscale="log", xlabel="compression, D/d", ylabel="test accuracy", title=problem)
        ratios = sorted({row.compression for row in rows})
        axes.set_xticks(ratios, [f"{ratio:,.0f}" for ratio in ratios])
        axes.set_xticks([], minor=True)
        axes.grid(linewidth=0.4)
    figure.legend(*panels[0].get_legend_handles_labels(), fontsize=8, loc="outside right center")
    return figure


def tables(trials: Trials) -> dict[str, list[ComparisonRow]]:
    """The rows of each problem's comparison, named as here and in that order, the null first."""
    order = list(METHODS)
    found = {}
    for told in comparisons(trials.experiments):
        rows = [replace(row, method=_named(row.method)) for row in told.table.rows]
        rows.sort(key=lambda row: (order.index(row.method), row.dim))
        found[told.table.problem] = rows
    return found


def _named(label: str) -> str:
    """A method's name here, from what the command line calls it."""
    if label == "lottery-ticket:rewind=end":
        return "magnitude"
    name = label.partition(":")[0]
    return next(own for own, text in METHODS.items() if text.partition(":")[0] == name)


def _text(lab: Lab, text: str) -> str:
    return f"{text}:{lab['snapshots']}" if text == "lottery-subspace" else text


def _trials(lab: Lab, problem: str, text: str) -> None:
    spec = TrainSpec(
        lr="auto", epochs=lab["epochs"], batch_size=128, schedule="linear", eval_every=10**6
    )
    lab.compare(
        lab.load(problem, subset=lab["subset"]),
        methods=list(dict.fromkeys([METHODS[NULL], _text(lab, text)])),
        dims=lab["dims"],
        repeats=lab["repeats"],
        spec=spec,
        metric=METRIC,
    )
