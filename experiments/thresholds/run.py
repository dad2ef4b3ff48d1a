"""d* of the registered problems at two goals, from initialisation and after burn-in.

At the best learning rate, as the command line has it by default, and on the digits at the
problem's own rate beside it. Each row is one call of the command line, printed with it. Rows that
the results file holds are not run again; trials that the store holds are not trained again.

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
BURNT = [
    ("digits-mlp", "loss<=0.1"),
    ("digits-mlp", "accuracy>=0.95"),
    ("mnist-conv2", "accuracy>=0.9"),
]
FIXED = "digits-mlp"  # the problem that is measured at its own learning rate too
# Burn-in alone nearly meets a goal of 0.9: success hardly depends on d, and no number of trials
# settles where it begins to.
MOST_TRIALS = 40


def command(problem: str, goal: str, method: str, fixed: bool) -> list[str]:
    words = ["subspan", "threshold", problem, "--goal", goal, "--method", method, "--seed", "0"]
    words += ["--store", "runs.db"]
    if fixed:
        words += ["--design", "binary", "--ratio", "1.25"]
    elif problem != FIXED:
        words += ["--data-dir", "DATA", "--max-trials", str(MOST_TRIALS)]
    return words


def markdown(rows: list[dict]) -> str:
    """The table of `docs/results.md`."""
    lines = [
        "| problem | D | goal (training set) | subspace | lr | d* | 95 % interval | trials "
        "| full trainings |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    sizes = {"digits-mlp": "2,410", "mnist-mlp": "199,210", "mnist-conv2": "20,490"}
    for row in rows:
        subspace = "random" if row["method"] == "random" else "burn-in, 64 steps"
        open_end = "" if row["status"] == "ok" else f" ({row['status']})"
        high = "…" if row["high"] is None else f"{row['high']:,}"
        value = "…" if row["value"] is None else f"{row['value']:,}"
        goal = row["goal"].replace("<=", " ≤ ").replace(">=", " ≥ ")
        rate = "0.05, fixed" if row["lr"] is None else f"{row['lr']:.2g}"
        cost = "" if row["trainings"] is None else f"{row['trainings']:.1f}"
        lines.append(
            f"| {row['problem']} | {sizes[row['problem']]} | {goal} | {subspace} | {rate} "
            f"| {value} | {row['low']:,} – {high}{open_end} | {row['trials']} | {cost} |"
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
    known = {row["command"]: row for row in rows}
    order = [
        (problem, goal, method, fixed)
        for fixed in (False, True)
        for problem, goals in GOALS.items()
        if not fixed or problem == FIXED
        for goal in goals
        for method in ("random", "burn-in:64")
        if method == "random" or (problem, goal) in BURNT
    ]
    rows = []
    for problem, goal, method, fixed in order:
        words = command(problem, goal, method, fixed)
        row = known.get(shlex.join(words))
        if row is None:
            here = {"DATA": args.data_dir, "runs.db": args.store}
            call = [sys.executable, "-m", "subspan", *(here.get(w, w) for w in words[1:])]
            done = subprocess.run([*call, *workers, "--json"], check=True, stdout=subprocess.PIPE)
            found = json.loads(done.stdout)
            told = ("value", "low", "high", "status", "lr", "trials", "trainings")
            row = {"problem": problem, "goal": goal, "method": method}
            row |= {k: found[k] for k in told} | {"command": shlex.join(words)}
            print(json.dumps(row), flush=True)
        rows.append(row)
        RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    (HERE / "table.md").write_text(markdown(rows) + "\n")


if __name__ == "__main__":
    main()
