"""The table and figure of the SST-2 experiment, from results.jsonl.

The gain is of validation accuracy over an untrained head, whose expected accuracy is one half; a
run succeeds when it reaches 95 % of the mean gain of full fine-tuning. Intervals: accuracy, 95 % by
Student's t over seeds; success, Clopper-Pearson.

    python experiments/sst2/report.py [results.jsonl]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from scipy import stats

from subspan.intervals import binomial_interval

HERE = Path(__file__).parent
CHANCE, SHARE = 0.5, 0.95


def table(results: list[dict]) -> tuple[float, list[dict]]:
    """The target accuracy, and a row for each way and size, by count of trained numbers."""
    groups: dict[tuple[str, int], list[dict]] = {}
    for result in results:
        groups.setdefault((result["way"], result["size"]), []).append(result)
    rows = []
    for (way, size), runs in groups.items():
        first = [r for r in runs if r["seed"] == 0]
        lr = min(first, key=lambda r: r["train_loss"])["lr"]
        kept = {r["seed"]: r["accuracy"] for r in runs if r["lr"] == lr}
        rows.append(
            {
                "way": way,
                "size": size,
                "numbers": runs[0]["numbers"],
                "lr": lr,
                "all": list(kept.values()),
            }
        )
    full = next(row for row in rows if row["way"] == "full")
    target = CHANCE + SHARE * (float(np.mean(full["all"])) - CHANCE)
    for row in rows:
        accuracies = np.array(row["all"])
        row["mean"] = float(accuracies.mean())
        n = len(accuracies)
        row["half"] = (
            float(stats.t.ppf(0.975, n - 1) * accuracies.std(ddof=1) / np.sqrt(n))
            if n > 1
            else np.nan
        )
        row["hits"] = int((accuracies >= target).sum())
        row["interval"] = [float(end) for end in binomial_interval(row["hits"], n)]
    return target, sorted(rows, key=lambda row: (row["numbers"], row["way"]))


def draw(target: float, rows: list[dict], path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for way in ("subspace", "lora", "head", "full"):
        own = [row for row in rows if row["way"] == way]
        axes.errorbar(
            [row["numbers"] for row in own],
            [row["mean"] for row in own],
            [np.nan_to_num(row["half"]) for row in own],
            fmt="o-",
            capsize=3,
            label=way,
        )
    label = "95 % of the gain of full"
    axes.axhline(target, color="grey", linestyle="--", linewidth=1, label=label)
    axes.set(xscale="log", xlabel="trained numbers", ylabel="validation accuracy on SST-2")
    axes.legend()
    figure.savefig(path, dpi=150)


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "results.jsonl"
    target, rows = table([json.loads(line) for line in path.read_text().splitlines()])
    print(f"target: accuracy {target:.3f}, 95 % of the gain of full fine-tuning\n")
    print("| way | trained numbers | learning rate | accuracy (95 %) | reached the target (95 %) |")
    print("|---|---|---|---|---|")
    for row in rows:
        name = row["way"] + (f" {row['size']}" if row["size"] else "")
        low, high = row["interval"]
        print(
            f"| {name} | {row['numbers']:,} | {row['lr']:.2g} "
            f"| {row['mean']:.3f} ± {row['half']:.3f} "
            f"| {row['hits']} of {len(row['all'])} ({low:.2f} to {high:.2f}) |"
        )
    for ending in (".svg", ".png"):
        draw(target, rows, path.with_suffix(ending))


if __name__ == "__main__":
    main()
