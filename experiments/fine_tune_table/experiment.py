"""Is an adapter better than a random subspace of as many numbers?

Parts: the last layer of MiniLM with a linear head on SST-2's sentences; the same layer on
docstrings, told apart by the library they document; all six layers on SST-2; and the first once
more, trained for a third as long on fewer rows. Everything below the layers that are tuned is
computed once and kept. Every method starts at the same pretrained layers and at the same head,
drawn by the seed, has the same batches, and its own learning rate, chosen by the loss on validation
rows with equally many pilots; where the best is at an end of the range, the range moves on. The
null is `attach` over the layers and the head, at the smallest d that was run and is not below the
method's count. Prompts and prefixes need the tokens: they have MiniLM's embeddings too, frozen as
its six layers are. Methods are as `peft` sets them, and on SST-2's last layer as their authors do
too (`recommended.py`); those of `FURTHER` were added later and are families of their own against
the same nulls.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

import subspan as ss
from subspan.comparison.paired import holm, mean_interval, paired_test
from subspan.estimate import Estimate
from subspan.goals import parse_goal
from subspan.reproduction import Lab, Step, Trials
from subspan.success.estimate import estimate_from_counts
from subspan.success.posterior import Count, Range
from subspan.trials.stores.registry import open_store

sys.path.insert(0, str(Path(__file__).parent))  # the files beside it
import design
from design import (
    APART,
    FACTORS,
    HEAD_RATE,
    MOVES,
    NULL,
    PARTS,
    RATES,
    RATES_OF,
    UNNAMED,
    WIDE_FROM,
    WIDE_RANK,
    Part,
)
from recommended import OWN, RECOMMENDED

SCALES = design.SCALES
CONFIDENCE = 0.95
SEEDS = 10  # that methods are compared by
FEWEST = 5  # trials of a cell that is told of
METRIC = "accuracy"
Key = tuple[str, int]  # a method and its count of numbers


def steps(lab: Lab) -> Iterator[Step]:
    """Cell by cell, each a part that can be resumed; then what a step costs."""
    for part, name, wanted, seeds in lab["cells"]:
        title = f"{part}: {name} at {wanted}, {seeds} seeds"
        yield Step(title, partial(_cell, lab, part, name, wanted, seeds))
    for name in RATES:
        yield Step(f"cost of {name}", partial(_cost, lab, name))


class Cell(NamedTuple):
    """One method at one count: what trains it."""

    task: object
    method: ss.tuning.TuningMethod
    dim: int
    room: int


def _made(lab: Lab, part: str, name: str, wanted: int) -> Cell | None:
    """One method at the largest count that it can make up to a wanted one; None where none."""
    import tasks

    told, size = PARTS[part], lab[part]
    kept = {key: size[key] for key in ("train", "val", "test", "length")}
    layers = None if name in design.PROMPTS else told.layers  # those need the tokens
    if layers is None and told.layers < tasks.LAYERS:
        return None  # the null would have fewer layers than it acts on
    task = tasks.load(told.data, str(lab.data_dir or "stanfordnlp/sst2"), layers, **kept)
    method = _method(name, wanted, told)
    module = task.make(0)
    dim = 0
    if wanted:
        try:
            dim = method.nearest(module, wanted).numbers
        except ss.InputError:
            return None  # the method cannot make as few
        if dim < wanted / 4 or (name == "head" and wanted != told.head):
            return None  # counted at the number before
    total = sum(p.numel() for p in module.parameters())
    base = name.removesuffix(APART)
    rank = WIDE_RANK[base] if wanted >= WIDE_FROM.get(base, math.inf) else 4
    room = FACTORS * rank // 4 * told.layers if base == "lora-subspace" else total
    return Cell(task, method, dim, room)


def _method(name: str, wanted: int, part: Part) -> ss.tuning.TuningMethod:
    if name.endswith(OWN):
        own = RECOMMENDED[name.removesuffix(OWN)]
        head = [] if own.head == "as drawn" else ["classifier"]
        return ss.tuning.method(own.method, targets=own.targets, head=head, **own.options)
    if name.removesuffix(APART) == NULL:
        head = [] if name == NULL else ["classifier"]
        return ss.tuning.method(NULL, head=head, map="partition")
    name = name.removesuffix(APART)
    free = ("head", "bitfit", "ln-tuning", "full", *design.PROMPTS)
    targets = None if name in free else ["query", "value"]
    head = ["classifier"] if name == "head" or wanted >= part.head else []
    options = dict(part.options.get(name, {}))
    if wanted >= WIDE_FROM.get(name, math.inf):
        options["r"] = WIDE_RANK[name]
        if name == "lora-subspace":
            options["lora_alpha"] = 2 * options["r"]  # as at rank 4
    return ss.tuning.method(name, targets=targets, head=head, **options)


def _cell(lab: Lab, part: str, name: str, wanted: int, seeds: int) -> None:
    cell = _made(lab, part, name, wanted)
    if cell is None:
        return
    with open_store(lab.store) as store:
        held = _held(lab.store, len(store)).get((part, name, cell.dim), 0)
    if held >= seeds:
        return  # trained, if by a processor whose kernels make other bits of the rows
    own = RECOMMENDED[name.removesuffix(OWN)] if name.endswith(OWN) else None
    rows, dim, room = cell.task.rows, cell.dim, cell.room
    made = partial(
        ss.tuning.trainable,
        cell.method,
        cell.task.make,
        rows["train"],
        {"val": rows["val"], "test": rows["test"]},
        max_dim=max(room, dim),
        steps=lab[part]["steps"],
        batch_size=lab[part]["rows"],
        lr_unit=(lambda d: math.sqrt(room / d)) if "subspace" in name else None,
        head_lr=HEAD_RATE if _head_apart(name) else None,
        lr_factors=own.lr_factors if own else None,
        name=name if part == UNNAMED else f"{part}: {name}",
    )
    rates = RATES_OF[own.method if own else name.removesuffix(APART)]
    if not wanted:
        lab.run(made(lr=rates), dims=[0], repeats=seeds, spec=ss.LoopSpec())
        return
    spec = ss.LoopSpec(lr="auto", stop_at="val:loss<=0")  # never met: it says what serves
    low, high = rates
    for _ in range(MOVES + 1):
        function = made(lr=(low, high))
        first = lab.run(function, dims=[dim], repeats=1, spec=spec)[0]
        edge = first.trial.spec["lr_choice"]["at_edge"]
        if edge is None:
            break
        low, high = (end * (4 if edge == "high" else 0.25) for end in (low, high))
    lab.run(function, dims=[dim], repeats=seeds, spec=spec)


@cache
def _held(store: str | Path, trials: int) -> dict[tuple[str, str, int], int]:
    """How many trials each cell has; read anew when there are more in the store."""
    with open_store(store) as opened:
        return {key: len(records) for key, records in _measured(Trials(opened)).items()}


def _head_apart(name: str) -> bool:
    """Whether the head has a rate of its own."""
    own = name.removesuffix(OWN)
    return name.endswith(APART) or (own != name and RECOMMENDED[own].head == "apart")


def _cost(lab: Lab, name: str) -> None:
    """Time and memory of a step, and bytes of the file, at the method's largest count here."""
    import costs

    part = cost_part(lab["cells"], name)
    counts = {n for own, one, n, _ in lab["cells"] if (own, one) == (part, name) and n}
    cells = [cell for n in counts if (cell := _made(lab, part, name, n)) is not None]
    if cells:
        cell = max([c for c in cells if c.dim <= 10_000] or cells, key=lambda c: c.dim)
        lab.once(f"cost of {name}", lambda: costs.measure(cell.task, cell.method, cell.dim))


def cost_part(cells: Iterable[tuple[str, str, int, int]], name: str) -> str:
    """The part in which a method's step is measured: with the last layer, where it has such."""
    own = {part for part, one, _, _ in cells if one == name}
    return next(part for part in ("last", "further", *PARTS) if part in own or part == UNNAMED)


def numbers(trials: Trials) -> dict[str, Estimate]:
    """Accuracy of each method at each count, its gain over the null, and d* by method."""
    found: dict[str, Estimate] = {}
    counted = accuracies(trials)
    every = compared(counted)
    for part in PARTS:
        cells = {key[1:]: values for key, values in every.items() if key[0] == part}
        prefix = prefix_of(part)
        measured = dict(cells)
        if PARTS[part].beside and cells:
            both = [(PARTS[part].beside, name) for name in (NULL, NULL + APART, "head")]
            cells |= {k[1:]: v for k, v in every.items() if k[:2] in both}
        for (name, dim), own in measured.items():
            told = _estimate(mean_interval(list(own.values()), CONFIDENCE), len(own))
            found[f"{prefix}accuracy, {name}, {dim:,} numbers"] = told
        own_settings = [key for key in measured if key[0].endswith(OWN)]
        apart = [key for key in measured if key[0].endswith(APART)]
        plain = [key for key in cells if not key[0].endswith((APART, OWN))]
        adapters = [key for key in plain if key[0] != NULL and key in measured]
        nulls = sorted(d for n, d in plain if n == NULL)
        for dim in nulls:
            pairs = [(key, (NULL, dim)) for key in adapters if _next(nulls, key[1]) == dim]
            found |= _gains(cells, pairs, f"{prefix}gain over {dim:,} random")
        heads = [key for key in plain if key[0] == "head"]
        for head, dim in ((head, dim) for head in heads for dim in (*nulls, None)):
            over = [k for k in adapters if k[0] != "head" and _next(nulls, k[1]) == dim]
            pairs = [(key, head) for key in over if key[1] > head[1]]
            found |= _gains(cells, pairs, f"{prefix}gain over the head alone")
        pairs = [(k, one) for k in apart if (one := (k[0].removesuffix(APART), k[1])) in cells]
        found |= _gains(cells, pairs, f"{prefix}gain of a head apart")
        fair = sorted(d for n, d in apart if n == NULL + APART)
        for dim in fair:
            over = [k for k in apart if k[0] != NULL + APART and _next(fair, k[1]) == dim]
            pairs = [(key, (NULL + APART, dim)) for key in over]
            found |= _gains(cells, pairs, f"{prefix}gain over random with a head apart")
        pairs = [(k, one) for k in own_settings if (one := null_of(cells, *k)) is not None]
        found |= _gains(cells, pairs, f"{prefix}own settings: gain over random")
        pairs = [(k, h) for k in own_settings for h in plain if h[0] == "head" and k[1] > h[1]]
        found |= _gains(cells, pairs, f"{prefix}own settings: gain over the head alone")
        for level in PARTS[part].goals:
            own = {key[1:]: values for key, values in counted.items() if key[0] == part}
            found |= _thresholds(own, level, prefix)
    return found


def prefix_of(part: str) -> str:
    """How the names of a part's numbers begin."""
    return "" if part == "last" else f"{part}: "


def null_of(cells: Iterable[Key], name: str, dim: int) -> Key | None:
    """The random subspace of as many numbers or the next; its head apart where the method's is."""
    null = NULL + APART if _head_apart(name) else NULL
    least = _next(sorted(d for n, d in cells if n == null), dim)
    return None if least is None else (null, least)


def _next(nulls: list[int], dim: int) -> int | None:
    return min((d for d in nulls if d >= dim), default=None)


def _gains(cells: dict, pairs: list[tuple[Key, Key]], title: str) -> dict[str, Estimate]:
    """What cells gain over others, each beside its own; Holm's correction is over these."""
    tests = {}
    for (name, dim), reference in pairs:
        values, null = cells[name, dim], cells[reference]
        gained = [values[repeat] - null[repeat] for repeat in values if repeat in null]
        tests[f"{name}, {dim:,} numbers"] = paired_test(gained, CONFIDENCE)
    known = {label: test.p for label, test in tests.items() if not math.isnan(test.p)}
    adjusted = dict(zip(known, holm(list(known.values())), strict=True))
    return {
        f"{title}, {label}": _estimate(
            test[:3],
            test.pairs,
            f"p = {adjusted[label]:.2g} by Holm" if label in adjusted else "untested",
        )
        for label, test in tests.items()
    }


def _thresholds(cells: dict, level: float, prefix: str) -> dict[str, Estimate]:
    """d* of each method: 90 % of its trainings reach the accuracy."""
    found = {}
    for method in dict.fromkeys(name for name, _ in cells):
        counts = [
            Count(dim, sum(v >= level for v in own.values()), len(own))
            for (name, dim), own in cells.items()
            if name == method and dim
        ]
        if not counts or method.endswith((APART, OWN)):
            continue
        told = estimate_from_counts(
            counts,
            parse_goal(f"test:{METRIC}>={level}"),
            Range(counts[0].dim, counts[-1].dim, 0.1),
            ambient_dim=counts[-1].dim,
            confidence=CONFIDENCE,
        )
        found[f"{prefix}d* at {level:.0%}, {method}"] = told.estimate
    return found


def gains(numbers: dict[str, Estimate], prefix: str) -> dict[Key, tuple[int, Estimate]]:
    """What is gained over the null, by method and count: the null's count, and the estimate."""
    found = {}
    for name, estimate in numbers.items():
        if name.startswith(f"{prefix}gain over ") and " random, " in name:
            start, method, count = name.removesuffix(" numbers").split(", ")
            null = int(start.removeprefix(f"{prefix}gain over ").split()[0].replace(",", ""))
            found[method, int(count.replace(",", ""))] = null, estimate
    return found


def told_p(gain: Estimate) -> str:
    """The p of a gain, by Holm, where it is below 0.05; else nothing."""
    p = gain.status.removeprefix("p = ").removesuffix(" by Holm")
    return f", p = {p}" if p != "untested" and float(p) < 0.05 else ""


def draw(trials: Trials) -> Figure:
    """Accuracy over trained numbers, a panel a part, adapters by what is told of them."""
    import drawing

    own = [part for part, told in PARTS.items() if part != UNNAMED and not told.beside]
    found, verdicts = numbers(trials), {}
    for part in PARTS:
        shown = PARTS[part].beside or part
        for (name, dim), (_, gain) in gains(found, prefix_of(part)).items():
            side = "above" if (gain.value or 0) > 0 else "below"
            if name != "head":
                verdicts[shown, name, dim] = side if told_p(gain) else "not told"
    every = compared(accuracies(trials))
    beside = {(PARTS[k[0]].beside, *k[1:]): v for k, v in every.items() if PARTS[k[0]].beside}
    return drawing.panels(every | beside, {part: PARTS[part].title for part in own}, verdicts)


def accuracies(trials: Trials) -> dict[tuple[str, str, int], dict[int, float]]:
    """Test accuracy of the measured trials by (part, method, numbers), by repeat."""
    return {
        key: {r.trial.repeat: r.final(METRIC, "test") for r in records}
        for key, records in _measured(trials).items()
    }


def compared(every: dict) -> dict[tuple[str, str, int], dict[int, float]]:
    """Of accuracies, the first repeats of each: those that were trained beyond are for d* alone."""
    return {key: dict(list(values.items())[:SEEDS]) for key, values in every.items()}


def learning_rates(trials: Trials) -> dict[str, list[tuple[float, str | None]]]:
    """The learning rate at each count of a method on the last layer, and the end it is at."""
    found: dict[str, list[tuple[float, str | None]]] = {}
    for (part, name, dim), records in _measured(trials).items():
        if part == "last" and dim:
            spec = records[0].trial.spec
            found.setdefault(name, []).append((spec["lr"], spec["lr_choice"]["at_edge"]))
    return found


def _measured(trials: Trials) -> dict[tuple[str, str, int], list]:
    """Measured records by (part, method, numbers), by repeat; no pilots.

    Where the range of learning rates moved on, those at the last one, once it has its trials; of a
    cell that two processors trained, whose rows differ in their last bits, those of most seeds.
    """
    by_lr: dict[tuple[str, str, int], dict[tuple, list]] = {}
    for experiment in trials.experiments:
        part, _, name = experiment.problem.rpartition(": ")
        for record in experiment.records:
            choice = record.trial.spec.get("lr_choice") or {}
            if record.dim and not choice.get("pilots"):
                continue
            if not math.isnan(record.final(METRIC, "test")):
                version = experiment.experiment.problem["version"]
                rank = (choice.get("at_edge") is None, record.trial.spec["lr"] or 0.0, version)
                own = by_lr.setdefault((part or UNNAMED, name, record.dim), {})
                own.setdefault(rank, []).append(record)
    found = {}
    for key, own in by_lr.items():
        chosen = own[max(own, key=partial(_standing, own))]
        if len(chosen) < FEWEST:
            continue  # cut off
        found[key] = sorted(chosen, key=lambda record: record.trial.repeat)
    order = [*RATES, *(name + APART for name in RATES), *(name + OWN for name in RECOMMENDED)]
    trained = {part for part, _, dim in found if dim}
    kept = {key: records for key, records in found.items() if key[0] in trained}
    return dict(sorted(kept.items(), key=lambda i: (i[0][0], order.index(i[0][1]), i[0][2])))


def _standing(own: dict[tuple, list], rank: tuple) -> tuple:
    inside, *rest = rank
    return len(own[rank]) >= FEWEST, inside, len(own[rank]), *rest


def _estimate(interval: tuple[float, float, float], samples: int, status: str = "ok") -> Estimate:
    value, low, high = (None if math.isnan(v) else v for v in interval)
    return Estimate(value, low, high, CONFIDENCE, samples, status)
