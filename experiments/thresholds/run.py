"""The README's table: d* of three networks at two goals, from initialisation and after burn-in.

Each row is one call of the command line, printed with it. Rows that the results file holds are
not run again; trials that the store holds are not trained again. Rows with `"design": "earlier"`
were measured before "ok" asked for trials above d* that show 1 − δ: their commands now print other
numbers.

    python experiments/thresholds/run.py --data-dir DATA
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
GOALS = {
    "digits-mlp": ("loss<=0.1", "accuracy>=0.95"),
    "mnist-conv2": ("accuracy>=0.9", "accuracy>=0.95"),
    "mnist-mlp": ("accuracy>=0.9", "accuracy>=0.95"),
}
# Burn-in alone nearly meets this goal: success hardly depends on d, and 104 trials did not
# settle it either.
SHALLOW = {
    ("mnist-conv2", "accuracy>=0.9", "burn-in:64"): 40,
    ("mnist-mlp", "accuracy>=0.9", "burn-in:64"): 200,
}
METHODS = ("random", "burn-in:64")


def command(problem: str, goal: str, method: str) -> list[str]:
    words = ["subspan", "threshold", problem, "--goal", goal, "--method", method, "--seed", "0"]
    words += ["--store", "runs.db", "--design", "binary"]
    if problem == "digits-mlp":
        words += ["--ratio", "1.25"]
    else:
        words += ["--data-dir", "DATA"]
    if (problem, goal, method) in SHALLOW:
        words += ["--max-trials", str(SHALLOW[problem, goal, method])]
    return words


def markdown(rows: list[dict]) -> str:
    """The README's table."""
    lines = [
        "| problem | D | goal (training set) | subspace | d* | 95 % interval | trials |",
        "|---|---|---|---|---|---|---|",
    ]
    sizes = {"digits-mlp": "2,410", "mnist-mlp": "199,210", "mnist-conv2": "20,490"}
    for row in rows:
        subspace = "random" if row["method"] == "random" else "burn-in, 64 steps"
        open_end = "" if row["status"] == "ok" else f" ({row['status']})"
        high = "…" if row["high"] is None else f"{row['high']:,}"
        value = "…" if row["value"] is None else f"{row['value']:,}"
        goal = row["goal"].replace("<=", " ≤ ").replace(">=", " ≥ ")
        name = row["problem"] + (", earlier design" if row.get("design") == "earlier" else "")
        lines.append(
            f"| {name} | {sizes[row['problem']]} | {goal} | {subspace} | {value} "
            f"| {row['low']:,} – {high}{open_end} | {row['trials']} |"
        )
    return "\n".join([*lines, "", "```bash", *(row["command"] for row in rows), "```"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--store", default=str(HERE / "runs.db"))
    parser.add_argument("--workers", type=int, help="processes of each command; one per core")
    args = parser.parse_args()
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    workers = ["--workers", str(args.workers)] if args.workers else []
    known = {row["command"] for row in rows}
    for problem, goals in GOALS.items():
        for goal in goals:
            for method in METHODS:
                words = command(problem, goal, method)
                if shlex.join(words) in known:
                    continue
                here = {"DATA": args.data_dir, "runs.db": args.store}
                call = [sys.executable, "-m", "subspan", *(here.get(w, w) for w in words[1:])]
                done = subprocess.run(
                    [*call, *workers, "--json"], check=True, stdout=subprocess.PIPE
                )
                found = json.loads(done.stdout)
                row = {
                    "problem": problem,
                    "goal": goal,
                    "method": method,
                    **{k: found[k] for k in ("value", "low", "high", "status", "trials")},
                    "command": shlex.join(words),
                }
                print(json.dumps(row), flush=True)
                rows.append(row)
                RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    order = [command(p, g, m) for p, goals in GOALS.items() for g in goals for m in METHODS]
    places = {shlex.join(words): i for i, words in enumerate(order)}
    rows.sort(key=lambda row: places[row["command"]])
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    (HERE / "table.md").write_text(markdown(rows) + "\n")


if __name__ == "__main__":
    main()
