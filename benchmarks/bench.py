"""One table of every speed and memory figure, each a ratio of ways that took turns in this run.

    python benchmarks/bench.py [--quick] [--only step,attach] [--data-dir DATA] [--long]
        [--out bench.json] [--resume] [--check]
    python benchmarks/bench.py --out benchmarks/measured/bench.json --docs docs/performance.md

Rows come from the scripts of `SCRIPTS`; each is a process of its own, whose peak memory is that
of its ways. `--out` writes the rows as JSON after each script, and `environment.json` beside it, by
script: versions, processor, cores, the load before and after; rows of other scripts that stand in
the file stay. `--resume` leaves out scripts that the file has of this commit (none where files were
changed since). `--long` measures what takes an hour as well. `--check` ends with 1 where an aim is
missed, and says which. `--docs` measures nothing: it puts the tables of the file where a page has
them.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from floors import HEAD as STAGES
from floors import stage_table
from table import HEAD, Row, line, surroundings, table

SCRIPTS = {
    "step": "a step in a subspace against a plain one",
    "choices": "bfloat16 and compiling against a plain step; ResNet20 in a subspace",
    "trial": "a trial against a plain loop",
    "evaluation": "what evaluation takes of training by default",
    "workers": "worker processes against threads; memory of a worker",
    "ensemble": "many trials at once against plain loops",
    "threshold_cost": "the adaptive threshold against the paper's grid",
    "whole": "whole thresholds by the clock, and a phase diagram on a GPU",
    "long": "a whole threshold of ResNet20, with --long",
    "attach": "a transformer in d numbers against plain Adam",
    "overhead": "what a trial costs beyond its training",
    "store": "a store of 100,000 records",
    "floors": "each stage of a step against what the machine allows",
}


def measured(script: str, quick: bool) -> tuple[list[Row], dict[str, object]]:
    """Run one script in a process of its own: its rows, told as they come, and surroundings."""
    command = [sys.executable, __file__, "--rows-of", script, *(["--quick"] if quick else [])]
    one_thread = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", **os.environ}
    rows: list[Row] = []
    before = [round(v, 2) for v in os.getloadavg()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=one_thread) as process:
        assert process.stdout is not None
        for text in process.stdout:
            data = json.loads(text)
            if "name" not in data:
                return rows, {**data, "quick": quick, "load_before": before}
            row = Row(**{**data, "values": tuple(data["values"]), "script": script})
            rows.append(row)
            print(line(row), file=sys.stderr, flush=True)
    raise SystemExit(f"{script}: ended with {process.returncode} before its last row")


def _read(path: Path) -> Any:
    return json.loads(path.read_text()) if path.exists() else None


def kept(path: Path, script: str, rows: list[Row], place: dict[str, object]) -> None:
    """Put a script's rows into a file in place of those that it had there; and surroundings."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name("environment.json")
    others = [row for row in _read(path) or [] if row["script"] != script]
    order = list(SCRIPTS)
    all_rows = [*others, *(row.to_json() for row in rows)]
    _write(path, sorted(all_rows, key=lambda row: order.index(row["script"])))
    _write(beside, {**(_read(beside) or {}), script: place})


def done(path: Path, version: str, quick: bool) -> list[str]:
    """Return the scripts whose rows a file has of this very commit, measured as they would be."""
    if version.endswith("changed)"):
        return []
    places = _read(path.with_name("environment.json")) or {}
    has = {row["script"] for row in _read(path) or []}
    return [
        script
        for script, place in places.items()
        if script in has and (place["subspan"], place.get("quick")) == (version, quick)
    ]


def peaks(places: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Return MiB by script."""
    return {script: place["peak_mib"] for script, place in places.items()}


def read(path: Path) -> list[Row]:
    """Return the rows of a file."""
    known = {field.name for field in dataclasses.fields(Row)}
    plain = [{k: v for k, v in row.items() if k in known} for row in _read(path)]
    return [Row(**{**row, "values": tuple(row["values"])}) for row in plain]


def with_tables(page: str, path: Path) -> str:
    """Return a page with the tables of a file in place of those that have their heads."""
    both = {
        HEAD: table(read(path), peaks(_read(path.with_name("environment.json")))),
        STAGES: stage_table(_read(path)),
    }
    lines, own, within = page.split("\n"), [], False
    for each in lines:
        if each in both:
            own.append(both[each])
            within = True
        elif not (within and each.startswith("|")):
            own.append(each)
            within = False
    return "\n".join(own)


def _write(path: Path, data: object) -> None:
    path.write_text(json.dumps(data, indent=1) + "\n")


def _rows_of(script: str, quick: bool) -> None:
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
    parser.add_argument("--long", action="store_true", help="what takes an hour as well")
    parser.add_argument("--resume", action="store_true", help="without what --out has by now")
    parser.add_argument("--docs", type=Path, help="put the tables of --out into this page")
    parser.add_argument("--rows-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rows_of:
        _rows_of(options.rows_of, options.quick)
        return
    if (options.docs or options.resume) and not options.out:
        parser.error("--docs and --resume: want --out")
    if options.docs:
        options.docs.write_text(with_tables(options.docs.read_text(), options.out))
        return
    if options.data_dir:
        os.environ["BENCH_DATA"] = str(Path(options.data_dir).resolve())
    if options.long:
        os.environ["BENCH_LONG"] = "1"
    chosen = options.only.split(",") if options.only else list(SCRIPTS)
    if unknown := [name for name in chosen if name not in SCRIPTS]:
        parser.error(f"--only: {', '.join(unknown)}: not among {', '.join(SCRIPTS)}")
    rows: list[Row] = []
    places: dict[str, dict[str, Any]] = {}
    if options.resume:
        version = str(surroundings()["subspan"])
        gone = [name for name in done(options.out, version, options.quick) if name in chosen]
        rows = [row for row in read(options.out) if row.script in gone]
        before = _read(options.out.with_name("environment.json")) or {}
        places = {name: before[name] for name in gone}
        chosen = [name for name in chosen if name not in gone]
    for script in chosen:
        own, places[script] = measured(script, options.quick)
        rows += own
        if options.out:
            kept(options.out, script, own, places[script])
    print(table(rows, peaks(places)))
    missed = [row for row in rows if row.verdict == "missed"]
    absent = [row for row in rows if row.verdict == "not measured"]
    print(f"\n{len(rows)} rows: {len(missed)} missed, {len(absent)} not measured")
    for row in missed:
        print(f"missed: {row.name}: {row.median:.3g}, {row.side} {row.aim:g} is the aim")
    if options.check and missed:
        sys.exit(1)


if __name__ == "__main__":
    main()
