"""Print the tables of the README from the committed trials, as Markdown.

python experiments/fine_tune_table/table.py [--store cpu.db]
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from pathlib import Path

from subspan.estimate import Estimate
from subspan.reproduction import Trials, find
from subspan.trials.stores.registry import open_store

HERE = Path(__file__).parent
EXPERIMENT = find(HERE.name, HERE.parent).module
COLUMNS = (0, 30, 100, 300, 1000, 3000, 5000, 10_000, 30_000, 75_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, default=HERE / "trials.db")
    own = EXPERIMENT
    with open_store(parser.parse_args().store, readonly=True) as opened:
        trials = Trials(opened)
    numbers = own.numbers(trials)
    for part, told in own.PARTS.items():
        prefix = own.prefix_of(part)
        cells = accuracies(numbers, prefix)
        if cells:
            print(f"\n### {told.title}\n")
            plain = {name: one for name, one in cells.items() if not name.endswith(own.OWN)}
            print(accuracy_table(plain, own.gains(numbers, prefix)))
            for dim, e in cells.get("full", {}).items():
                print(f"\n{told.title}: all {dim:,} weights trained: {percent(e)}")
            print(f"\n{told.title}: gain over the head alone, points\n")
            print(head_table(numbers, f"{prefix}gain over the head alone, "))
            for title in ("gain of a head apart", "gain over random with a head apart"):
                if any(name.startswith(f"{prefix}{title}, ") for name in numbers):
                    print(f"\n{told.title}: {title}, points\n")
                    print(head_table(numbers, f"{prefix}{title}, "))
            if len(plain) < len(cells):
                print(f"\n{told.title}: each method as its authors set it\n")
                beside = accuracies(numbers, own.prefix_of(told.beside or part))
                print(own_table(numbers, prefix, cells, beside, own))
            print(f"\n{told.title}: d*\n")
            print(threshold_table(numbers, prefix, [f"{level:.0%}" for level in told.goals]))
    print("\n### Costs, and d* on the last layer\n")
    print(cost_table(trials, own, numbers))
    print("\n### Learning rates on the last layer, by count\n")
    print(rate_table(trials, own))


def accuracies(numbers: dict[str, Estimate], prefix: str) -> dict[str, dict[int, Estimate]]:
    found: dict[str, dict[int, Estimate]] = defaultdict(dict)
    for name, estimate in numbers.items():
        if name.startswith(f"{prefix}accuracy, "):
            _, method, count = name.removesuffix(" numbers").split(", ")
            found[method][int(count.replace(",", ""))] = estimate
    return found


def accuracy_table(cells: dict, gained: dict) -> str:
    """A row a method; the gain over the null below it, with p where it is below 0.05."""
    kept = [d for own in cells.values() for d in own if d <= COLUMNS[-1]]
    columns = [c for c in COLUMNS if any(column(d) == c for d in kept)]
    lines = ["| numbers | " + " | ".join(f"{c:,}" for c in columns) + " |"]
    lines.append("|" + "---|" * (len(columns) + 1))
    for method, own in cells.items():
        if min(own) > COLUMNS[-1]:
            continue  # all weights: told of beside the head alone
        row = {column(dim): text(method, dim, e, gained) for dim, e in own.items()}
        lines.append(f"| {method} | " + " | ".join(row.get(c, "") for c in columns) + " |")
    return "\n".join(lines)


def column(dim: int) -> int:
    """The smallest wanted count that is not below."""
    return min((c for c in COLUMNS if c >= dim), default=COLUMNS[-1])


def text(method: str, dim: int, e: Estimate, gained: dict) -> str:
    found = percent(e)
    if found == "–":
        return found
    if dim not in COLUMNS:
        found += f" ({dim:,})"
    if (method, dim) in gained:
        _, gain = gained[method, dim]
        found += f"; {100 * gain.value:+.1f}".replace("-", "−") + EXPERIMENT.told_p(gain)
    return found + ("" if e.samples == 10 else f" ·{e.samples}")


def percent(e: Estimate) -> str:
    """An accuracy in % with its interval."""
    if e.value is None or e.low is None or e.high is None:
        return "–"
    return f"{100 * e.value:.1f} [{100 * e.low:.1f}, {100 * e.high:.1f}]"


def head_table(numbers: dict[str, Estimate], prefix: str) -> str:
    lines = ["| method, numbers | gain | |", "|---|---|---|"]
    for name, e in numbers.items():
        if name.startswith(prefix) and e.low is not None and e.high is not None:
            ends = " , ".join(f"{100 * v:.1f}" for v in (e.low, e.high)).replace(" ,", ",")
            told = f"{100 * e.value:+.1f} [{ends}]".replace("-", "−")
            lines.append(f"| {name.removeprefix(prefix)} | {told} | {e.status} |")
    return "\n".join(lines)


def own_table(numbers: dict[str, Estimate], prefix: str, cells: dict, beside: dict, own) -> str:
    """A column a method as its authors set it: accuracy, gains over random and the head alone."""
    keys, nulls = ([(n, dim) for n, one in c.items() for dim in one] for c in (cells, beside))
    titles = ("gain over random", "gain over the head alone")
    columns: list[tuple[str, ...]] = [
        ("", "numbers", "accuracy", "over random", "of", "over the head")
    ]
    for name, dim in keys:
        if name.endswith(own.OWN):
            labels = [f"{prefix}own settings: {t}, {name}, {dim:,} numbers" for t in titles]
            over, head = (difference(numbers[n]) if n in numbers else "" for n in labels)
            null = own.null_of(nulls, name, dim)
            of = "" if null is None else f"{null[1]:,}" + ", apart" * null[0].endswith(own.APART)
            told = (f"{dim:,}", percent(cells[name][dim]), over, of, head)
            columns.append((name.removesuffix(own.OWN), *told))
    return transposed(columns)


def difference(e: Estimate) -> str:
    """A gain in points with its interval, and p where it is below 0.05."""
    if e.value is None or e.low is None or e.high is None:
        return "–"
    told = f"{100 * e.value:+.1f} [{100 * e.low:.1f}, {100 * e.high:.1f}]".replace("-", "−")
    return told + EXPERIMENT.told_p(e)


def threshold_table(numbers: dict[str, Estimate], prefix: str, levels: list[str]) -> str:
    methods = [n.split(", ")[1] for n in numbers if n.startswith(f"{prefix}d* at {levels[0]}, ")]
    lines = ["| method | " + " | ".join(f"d\\* at {level}" for level in levels) + " |"]
    lines.append("|" + "---|" * (len(levels) + 1))
    for method in methods:
        found = [interval(numbers[f"{prefix}d* at {level}, {method}"]) for level in levels]
        lines.append(f"| {method} | " + " | ".join(found) + " |")
    return "\n".join(lines)


def interval(e: Estimate) -> str:
    if e.status == "below range":
        return f"at most {e.high:,.0f}"
    ends = ["–" if v is None or math.isnan(v) else f"{v:,.0f}" for v in (e.value, e.low, e.high)]
    told = f"{ends[0]} [{ends[1]}, {ends[2]}]"
    return told if e.status == "ok" else f"{told} {e.status}"


def cost_table(trials: Trials, own, numbers: dict[str, Estimate]) -> str:
    """A column a method: what a step and a file take at one count; where it has several, d*."""
    level = f"{own.PARTS['last'].goals[-1]:.0%}"
    cells = accuracies(numbers, "")
    columns: list[tuple[str, ...]] = [
        ("", "numbers", "step, CPU ms", "kept for a step, MiB", "file, kB", f"d\\* at {level}")
    ]
    for name in own.RATES:
        try:
            cost = trials.result(f"cost of {name}")
        except ValueError:
            continue
        size, file = f"{cost['bytes_kept'] / 2**20:.1f}", f"{cost['bytes_file'] / 1000:,.0f}"
        found = numbers.get(f"d* at {level}, {name}")
        told = "" if found is None or len(cells[name]) < 2 else interval(found)
        six = own.cost_part(own.SCALES["cpu"]["cells"], name) == "encoder"
        title = f"{name} (six layers)" if six else name
        columns.append((title, f"{cost['dim']:,}", f"{cost['ms']:.1f}", size, file, told))
    return transposed(columns)


def transposed(columns: list[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in zip(*columns, strict=True)]
    return "\n".join([lines[0], "|" + "---|" * len(columns), *lines[1:]])


def rate_table(trials: Trials, own) -> str:
    """The learning rate at each count on the last layer, and the end of the range it is at."""
    lines = ["| method | learning rates |", "|---|---|"]
    for name, rates in own.learning_rates(trials).items():
        told = (f"{lr:.3g}{' (' + edge + ' end)' if edge else ''}" for lr, edge in rates)
        lines.append(f"| {name} | {', '.join(told)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
