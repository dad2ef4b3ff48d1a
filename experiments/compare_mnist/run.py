"""Conv-2 on MNIST: every method at equal degrees of freedom, against the random subspace.

Official settings (Larsen et al., 2022): Adam 0.05 with its constant bias correction, batch 128, 5
epochs. `REFERENCE` is an independent run of a public fork of the official code, best test
accuracy in %, range over 2–4 runs. The run can be cut and started again: finished trials are in
the store. What has not been run yet is reported as not measured, never filled in.

    python experiments/compare_mnist/run.py --data-dir DATA
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import time
from pathlib import Path
from typing import Any

import subspan as ss
from subspan.canonical import canonical_json
from subspan.comparison import ComparisonRow, ComparisonTable, paired_test
from subspan.comparison.rows import adjust, verdict_of
from subspan.report import (
    compare_figure_data,
    draw_compare_figure,
    draw_spectroscopy,
    save_figure,
    spectroscopy_data,
)
from subspan.subspaces import Draw
from subspan.success import fit_threshold
from subspan.trials.stores.sql import Store
from subspan.trials.trial import Trial

HERE = Path(__file__).parent
DIMS = (8, 32, 128, 512, 2048)
REFERENCE = {
    "random": {8: (17, 26), 32: (44, 48), 128: (81, 85), 512: (94, 96)},
    "burn-in:4": {8: (33, 37), 32: (48, 55), 128: (82, 82), 512: (95, 95)},
    "burn-in:64": {8: (91, 92), 32: (92, 92), 128: (93, 94), 512: (96, 97)},
    "burn-in:256": {8: (96.8, 96.8), 32: (96.9, 97.1), 128: (97.1, 97.2), 512: (97.7, 97.7)},
    "lottery-subspace": {8: (87, 88), 32: (96.9, 96.9), 128: (98.7, 98.7), 512: (95.3, 97.8)},
}
ALLOWANCE = 2.0  # points beyond the printed range
MOST_REPEATS = 20  # that are looked up for the agreement

OFFICIAL_BURN_IN = "burn-in:5 (the official code's 4)"  # which takes one step more than it says
OFFICIAL = "lottery-subspace (unit, snapshots = d)"
OFFICIAL_ROWS = {"burn-in:4": OFFICIAL_BURN_IN, "lottery-subspace": OFFICIAL}  # with a reference


def methods(snapshots: int, ticket_epochs: float, dim: int) -> dict[str, ss.subspaces.Method]:
    """Return the methods at one dim.

    The official code takes as many snapshots as its largest d, so what it gives at a d depends on
    the other dims of the sweep. `OFFICIAL` is a sweep of one d, a search of 5 d steps.
    """
    return {
        "random": ss.RandomAffine("gaussian"),
        "burn-in:4": ss.BurnIn(4, "gaussian"),
        OFFICIAL_BURN_IN: ss.BurnIn(5, "gaussian"),
        "burn-in:64": ss.BurnIn(64, "gaussian"),
        "burn-in:256": ss.BurnIn(256, "gaussian"),
        OFFICIAL: ss.LotterySubspace(dim, coordinates="unit"),
        "lottery-subspace": ss.LotterySubspace(max(snapshots, dim)),
        "lottery-ticket (one-shot)": ss.LotteryTicket(2),
        "lottery-ticket (5 rounds, rewound to 64)": ss.LotteryTicket(ticket_epochs, 5, rewind=64),
        "random-mask": ss.RandomMask(),
    }


def labels_of(args: argparse.Namespace) -> list[str]:
    """Return the labels of the methods; what only the reference needs, only where there is one."""
    every = methods(args.snapshots, args.ticket_epochs, 1)
    return [m for m in every if m != OFFICIAL_BURN_IN or args.problem == "mnist-conv2"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir")
    parser.add_argument("--problem", default="mnist-conv2")
    parser.add_argument("--subset", type=int)
    parser.add_argument("--dims", default=",".join(map(str, DIMS)))
    parser.add_argument("--snapshots", type=int, default=512, help="or d, where that is more")
    parser.add_argument("--ticket-epochs", type=float, default=1, help="per round of pruning")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--epochs", type=float, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=1e9, help="start no trial after so long")
    parser.add_argument("--goal", default="test:accuracy>=0.9", help="for d* of every method")
    parser.add_argument("--only", help="methods to run now, with semicolons between")
    parser.add_argument(
        "--also", type=Path, nargs="*", default=[], help="stores to take trials from"
    )
    parser.add_argument("--spectroscopy", action="store_true", help="draw singular values too")
    parser.add_argument("--folder", type=Path, default=HERE)
    parser.add_argument("--retest", action="store_true", help="test results.json again, no more")
    args = parser.parse_args()
    if args.retest:
        retest(args.folder, args)
        return

    options: dict[str, Any] = {"data_dir": args.data_dir} if args.data_dir else {}
    problem = ss.problems.load(args.problem, subset=args.subset, **options)
    spec = ss.TrainSpec(optimizer="legacy_adam", lr=0.05, epochs=args.epochs, batch_size=128)
    dims = [int(d) for d in args.dims.split(",")]
    labels = labels_of(args)
    args.folder.mkdir(parents=True, exist_ok=True)
    store = args.folder / "runs.db"
    for other in args.also:  # the same trial has the same key wherever it was run
        with Store(other, readonly=True) as source, Store(store) as own:
            for record in source.records(problem.name):
                own.add(record)
    end = time.monotonic() + 60 * args.minutes
    wanted = labels if args.only is None else args.only.split(";")
    for repeat in range(args.repeats):
        for label in wanted:
            for dim in dims:
                method = methods(args.snapshots, args.ticket_epochs, dim)[label]
                if time.monotonic() > end or dim > method.max_dim(problem):
                    break
                (record,) = _one(problem, method, dim, repeat, spec, args, store)
                accuracy = 100 * record.best_test_accuracy
                print(f"{label} d={dim} repeat {repeat}: {accuracy:.2f} %", flush=True)
    report(problem, dims, spec, args, store)
    if args.spectroscopy:
        spectroscopy(problem, ss.LotterySubspace(args.snapshots), args.seed, args.folder)


def _one(problem, method, dim, repeat, spec, args, store):
    from subspan.trials.runner import TrialRunner

    with TrialRunner(problem, store=store, workers=args.workers) as runner:
        return runner.run(method, [(dim, repeat)], spec=spec, seed=args.seed)


def report(problem, dims, spec, args, store) -> None:
    """Write results.json, table.md and the figures from what the store holds."""
    from subspan.comparison.compare import table_of

    labels = [label for label in labels_of(args) if label != OFFICIAL_BURN_IN]
    records: dict[str, list[Any]] = {label: [] for label in labels}
    missing = []
    with Store(store) as opened:
        for label in labels:
            for dim in dims:
                most = methods(args.snapshots, args.ticket_epochs, dim)[label].max_dim(problem)
                if dim > most:
                    missing.append((label, dim, f"at most {most} snapshots"))
                    continue
                found = stored(opened, problem, label, dim, spec, args, args.repeats)
                records[label] += found.values()
                absent = [repeat for repeat in range(args.repeats) if repeat not in found]
                missing += [(label, dim, f"repeat {repeat} not measured") for repeat in absent]
        agreement = []
        compared = REFERENCE if args.problem == "mnist-conv2" else {}
        pairs = [(name, OFFICIAL_ROWS.get(name, name)) for name in compared]
        pairs += [("burn-in:4", "burn-in:4")] if compared else []  # four steps, to be told apart
        for name, label in pairs:
            for dim, (low, high) in compared[name].items():
                found = stored(opened, problem, label, dim, spec, args, MOST_REPEATS)
                own = [round(100 * r.best_test_accuracy, 2) for r in found.values()]
                agreement.append({"method": label, "dim": dim, **agrees(own, low, high)})
    records = {label: own for label, own in records.items() if own}
    if "random" not in records:
        print("The null has no trials yet: no table.")
        return
    table = table_of(problem, records, "random", skipped=missing)
    shown = ("subset", "dims", "snapshots", "ticket_epochs", "repeats", "epochs", "seed", "goal")
    command = f"python experiments/{args.folder.name}/run.py --data-dir DATA " + " ".join(
        f"--{k.replace('_', '-')} '{v}'" if k == "goal" else f"--{k.replace('_', '-')} {v}"
        for k, v in vars(args).items()
        if k in shown and v is not None
    )
    environments = {
        canonical_json({k: v for k, v in r.provenance.items() if k != "subspace"})
        for own in records.values()
        for r in own
    }
    result = {
        "command": command,
        "spec": json.loads(canonical_json(spec.to_json())),
        "environments": [json.loads(text) for text in sorted(environments)],
        "agreement": agreement,
        "table": _plain(table.to_json()),
        "thresholds": {label: threshold(own, args.goal) for label, own in records.items()},
    }
    write(args.folder, table, labels, dims, result)
    for row in agreement:
        print(row)


def retest(folder: Path, args) -> None:
    """Test again what results.json holds, without its trials, and write what follows from it."""
    result = json.loads((folder / "results.json").read_text())
    data = result["table"]
    step = 1 / {"mnist-conv2": 10_000, "cifar10-conv2": 10_000}[data["problem"]]  # test rows
    values = {(row["method"], row["dim"]): row["values"] for row in data["rows"]}
    rows = [
        ComparisonRow(**{k: math.nan if v is None else v for k, v in row.items()})
        for row in data["rows"]
    ]
    nulls = [row.method == data["null"] for row in rows]
    tests = []
    for row, is_null in zip(rows, nulls, strict=True):
        null = values[data["null"], row.dim]  # the repeats that are missing are the last
        differences = [] if is_null else [a - b for a, b in zip(row.values, null, strict=False)]
        tests.append(paired_test(differences, data["confidence"], step))
    adjusted, notes = adjust(tests, ["" for _ in rows], nulls, data["confidence"])
    rows = [
        dataclasses.replace(
            row,
            values=tuple(row.values),
            **dict(
                zip(("difference", "difference_low", "difference_high", "p"), test, strict=False)
            ),
            pairs=test.pairs,
            p_adjusted=p,
            note=note,
            verdict=verdict_of(is_null, test.mean, p, 1 - data["confidence"]),
            value_finished=row.value,
        )
        for row, test, p, note, is_null in zip(rows, tests, adjusted, notes, nulls, strict=True)
    ]
    names = ("problem", "ambient_dim", "null", "metric", "matched", "confidence")
    skipped = tuple((s["method"], s["dim"], s["reason"]) for s in data["skipped"])
    table = ComparisonTable(
        *(data[name] for name in names), tuple(rows), skipped, train_rows=data["train_rows"]
    )
    result["table"] = _plain(table.to_json())
    labels = [label for label in labels_of(args) if label != OFFICIAL_BURN_IN]
    write(folder, table, labels, sorted({row.dim for row in rows}), result)


def write(folder: Path, table: ComparisonTable, labels, dims, result: dict[str, Any]) -> None:
    """Write results.json, table.md and the figure."""
    (folder / "results.json").write_text(json.dumps(result, indent=1) + "\n")
    (folder / "table.md").write_text(_markdown(table, labels, dims, result))
    save_figure(draw_compare_figure(compare_figure_data(table)), folder / "compare", ("png",))
    print((folder / "table.md").read_text())


def stored(opened, problem, label, dim, spec, args, repeats) -> dict[int, Any]:
    """Return the records of a cell that the store holds, by repeat."""
    method = methods(args.snapshots, args.ticket_epochs, dim)[label]
    trials = [
        Trial(problem.identity, method.config(), dim, spec.to_json(), args.seed, repeat)
        for repeat in range(repeats)
    ]
    found = opened.get([trial.key for trial in trials])
    return {trial.repeat: found[trial.key] for trial in trials if trial.key in found}


def agrees(own: list[float], low: float, high: float) -> dict[str, Any]:
    """Hold the accuracies of a cell, all repeats that there are, against a printed range."""

    def inside(value: float) -> bool:
        return low - ALLOWANCE <= value <= high + ALLOWANCE

    mean = sum(own) / len(own) if own else None
    return {
        "ours": own or "not measured",
        "mean": mean and round(mean, 2),
        "reference": [low, high],
        "mean_within": None if mean is None else inside(mean),
        "runs_within": sum(map(inside, own)),
    }


def threshold(own: list[Any], goal: str) -> str:
    """Say d* of a method for a goal, from its trials at the dims where it is the same method."""
    groups: dict[str, list[Any]] = {}
    for record in own:
        groups.setdefault(canonical_json(record.trial.method), []).append(record)
    largest = max(groups.values(), key=len)
    dims = sorted({record.dim for record in largest})
    if len(dims) < 2:
        return "not estimated: at each d it is another method"
    found = fit_threshold(largest, ss.parse_goal(goal))
    told = f"{goal} at {found.value} [{found.low}, {found.high}], {found.status}"
    return f"{told}, from d = {', '.join(map(str, dims))}"


def spectroscopy(problem, method, seed: int, folder: Path) -> None:
    """Draw and write the spectroscopy of one search, which runs again for it."""
    paths = method.trajectories(problem, [Draw(1, seed, 0)])
    data = spectroscopy_data(paths, problem.name)
    save_figure(draw_spectroscopy(data), folder / "spectroscopy", ("png",))
    found = {
        "method": method.config(),
        "seed": seed,
        "dims_for": data.dims_for,
        "relative singular values": [[float(f"{v:.4g}") for v in run] for run in data.relative],
    }
    (folder / "spectroscopy.json").write_text(json.dumps(found) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return round(value, 6) if value == value else None
    return value


def _markdown(table, labels, dims, result: dict[str, Any]) -> str:
    head = "| method | search steps | bits | " + " | ".join(f"d = {d}" for d in dims) + " |"
    lines = [f"`{result['command']}`", "", "Best test accuracy in %, every repeat.", "", head]
    lines.append("|---|---|---|" + "---|" * len(dims))
    for method in table.methods:
        rows = {row.dim: row for row in table.of(method)}
        cells = [
            " ".join(f"{100 * v:.1f}" for v in rows[d].values) if d in rows else "not measured"
            for d in dims
        ]
        spent = _range([row.search_steps for row in rows.values()])
        bits = _range([row.search_bits for row in rows.values()])
        lines.append(f"| {method} | {spent} | {bits} | " + " | ".join(cells) + " |")
    for method in labels:
        if method not in table.methods:
            lines.append(f"| {method} | | | " + " | ".join("not measured" for _ in dims) + " |")
    thresholds = [f"d* of {label}: {told}" for label, told in result["thresholds"].items()]
    return "\n".join([*lines, "", *table.summary(), "", table.footer, "", *thresholds, ""])


def _range(values: list[int]) -> str:
    ends = sorted({min(values), max(values)})
    return " – ".join(f"{n:,}" for n in ends)


if __name__ == "__main__":
    main()
