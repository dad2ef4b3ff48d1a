"""One table of every speed and memory figure, each a ratio of ways that took turns in this run.

    python benchmarks/bench.py [--quick] [--only step,attach] [--data-dir DATA] [--out bench.json]
        [--check]

Rows come from the scripts of `SCRIPTS`; each is a process of its own, whose peak memory is that
of its ways. `--out` writes the rows as JSON, and `environment.json` beside it: versions, processor,
cores, load, by script; rows of other scripts that stand in the file stay. `--check` ends with 1
where an aim is missed, and says which.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

from table import Row, line, surroundings, table

SCRIPTS = {
    "step": "a step in a subspace against a plain one",
    "trial": "a trial against a plain loop",
    "evaluation": "what evaluation takes of training by default",
    "ensemble": "many trials at once against plain loops",
    "threshold_cost": "the adaptive threshold against the paper's grid",
    "whole": "whole thresholds by the clock, and a phase diagram on a GPU",
    "attach": "a transformer in d numbers against plain Adam",
    "overhead": "what a trial costs beyond its training",
    "store": "a store of 100,000 records",
    "floors": "each stage of a step against what the machine allows",
}


def measured(script: str, quick: bool) -> tuple[list[Row], dict[str, object]]:
    """Run one script in a process of its own: its rows as they come, and its surroundings."""
    command = [sys.executable, __file__, "--rows-of", script, *(["--quick"] if quick else [])]
    one_thread = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", **os.environ}
    rows: list[Row] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=one_thread) as process:
        assert process.stdout is not None
        for text in process.stdout:
            data = json.loads(text)
            if "name" not in data:
                return rows, data
            row = Row(**{**data, "values": tuple(data["values"])})
            rows.append(row)
            print(line(row), flush=True)
    raise SystemExit(f"{script}: ended with {process.returncode} before its last row")


def _other_rows(path: Path, told: dict[str, object]) -> list[dict[str, object]]:
    """Return the rows of a file that an earlier run wrote and this one did not measure."""
    before = json.loads(path.read_text()) if path.exists() else []
    return [row for row in before if row["name"] not in told]


def _write(path: Path, data: object) -> None:
    path.write_text(json.dumps(data, indent=1) + "\n")


def _rows_of(script: str, quick: bool) -> None:
    import dataclasses

    for row in importlib.import_module(script).rows(quick):
        print(json.dumps(dataclasses.asdict(row)), flush=True)
    print(json.dumps(surroundings()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="few turns: does it run, roughly")
    parser.add_argument("--only", help="scripts, with commas: " + ", ".join(SCRIPTS))
    parser.add_argument("--data-dir", help="MNIST, for what needs it, laid out like the hub's")
    parser.add_argument("--out", type=Path, help="write the rows here, as JSON")
    parser.add_argument("--check", action="store_true", help="end with 1 where an aim is missed")
    parser.add_argument("--rows-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rows_of:
        _rows_of(options.rows_of, options.quick)
        return
    if options.data_dir:
        os.environ["BENCH_DATA"] = str(Path(options.data_dir).resolve())
    chosen = options.only.split(",") if options.only else list(SCRIPTS)
    if unknown := [name for name in chosen if name not in SCRIPTS]:
        parser.error(f"--only: {', '.join(unknown)}: not among {', '.join(SCRIPTS)}")
    print(table([]))
    rows: list[Row] = []
    places: dict[str, object] = {}
    for script in chosen:
        own, places[script] = measured(script, options.quick)
        rows += own
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        told = {row.name: row.to_json() for row in rows}
        _write(options.out, [*_other_rows(options.out, told), *told.values()])
        beside = options.out.with_name("environment.json")
        before = json.loads(beside.read_text()) if beside.exists() else {}
        _write(beside, {**before, **places})
    missed = [row for row in rows if row.verdict == "missed"]
    absent = [row for row in rows if row.verdict == "not measured"]
    print(f"\n{len(rows)} rows: {len(missed)} missed, {len(absent)} not measured")
    for row in missed:
        print(f"missed: {row.name}: {row.median:.3g}, {row.side} {row.aim:g} is the aim")
    if options.check and missed:
        sys.exit(1)


if __name__ == "__main__":
    main()
