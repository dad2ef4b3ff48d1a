"""A store of 100,000 records of 50 evaluations: its size, and what reading it costs.

Records as runs of digits-mlp write them: four metrics, losses of 32 bits, accuracies as fractions
of the rows. Each row is a process of its own, and tells the seconds, those of the processor (which
depend less on who else is at work, and are held against the aim), and by how much the peak of the
memory rose above what imports and the problem take.

python benchmarks/store.py [--records 100000] [--dtype float64] [--store FILE]
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from table import Row

POINTS, REPEATS, AT_ONCE, TURNS = 50, 1000, 1000, 5
AIMS = {"first page": 0.5, "resume": 1.0, "read": 2.0, "surface": 2.0}  # seconds
FLOOR = "rows and digests"  # what resume and read cannot do without
MOST_BYTES, MOST_MEMORY = 1000, 300  # of a record; megabytes


def problem_and_spec() -> tuple[Any, Any]:
    import subspan as ss

    problem = ss.problems.load("digits-mlp")
    return problem, ss.TrainSpec(steps=490, eval_every=10, batch_size=128)


def dims(records: int) -> list[int]:
    return list(range(1, records // REPEATS + 1))


def write(path: Path, records: int, dtype: str) -> float:
    """Fill a store; return the milliseconds of a record."""
    import subspan as ss
    from subspan.subspaces.registry import parse_method
    from subspan.training.outcome import CurvePoint
    from subspan.trials.problem_trainable import ProblemTrainable

    problem, spec = problem_and_spec()
    trainable = ProblemTrainable(problem, parse_method("random"))
    (real,) = ss.run(problem, "random", [1], 1, spec)
    draw = np.random.default_rng(0)
    spent = 0.0
    with ss.Store(path) as store:
        for dim in dims(records):
            made = []
            for repeat in range(REPEATS):
                losses = (2.3 / (1 + draw.random((POINTS, 2)) * dim)).astype(dtype)
                right = draw.integers(0, (1438, 361), (POINTS, 2)) / (1437, 360)
                curve = tuple(
                    CurvePoint(
                        10 * i,
                        {
                            "train:loss": float(losses[i, 0]),
                            "test:loss": float(losses[i, 1]),
                            "train:accuracy": float(right[i, 0]),
                            "test:accuracy": float(right[i, 1]),
                        },
                    )
                    for i in range(POINTS)
                )
                trial = trainable.trial((dim, repeat), spec, 0)
                norm, wall = draw.random(2)
                own = {"subspace": draw.bytes(16).hex()}
                made.append(
                    dataclasses.replace(
                        real,
                        trial=trial,
                        curve=curve,
                        theta_norm=norm,
                        wall_time=wall,
                        provenance=real.provenance | own,
                    )
                )
            clock = time.perf_counter()
            store.add_all(made)
            spent += time.perf_counter() - clock
    return 1000 * spent / records


def measured(row: str, path: str, records: int) -> None:
    """Do what a row says, in this process; print seconds, the processor's, and megabytes more."""
    import subspan as ss
    from subspan.success.surface import success_surface
    from subspan.trials.stores.sql import Store

    problem, spec = problem_and_spec()
    found: Any = None
    ss.run(problem, "random", [1], 1, spec.replace(steps=1))  # imports what a run needs
    store = Store(path) if row != "resume" else None
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    clock, own = time.perf_counter(), time.process_time()
    if row == FLOOR:
        fetched_and_hashed(path)
    elif row == "first page":
        assert store is not None
        found = list(store.page(limit=50))
    elif row == "resume":
        found = ss.run(problem, "random", dims(records), REPEATS, spec, store=path, workers=1)
        assert len(found) == records
    else:
        assert store is not None
        found = list(store.records())
        if row == "surface":  # the reading counts
            found = success_surface(found, ["loss<=0.1", "accuracy>=0.9"])
    spent, own = time.perf_counter() - clock, time.process_time() - own
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps([spent, own, more / 1024]))


def fetched_and_hashed(path: str) -> None:
    """Fetch the rows with Python's sqlite3, and take the two digests of each: its own, its key."""
    database = sqlite3.connect(path)
    (spec,) = database.execute(
        "SELECT text FROM texts JOIN trials ON number = spec LIMIT 1"
    ).fetchone()
    begun, rest = hashlib.sha256(), spec.encode()  # about what a key is taken of
    rows = database.execute(
        "SELECT record, key, method, dim, repeat, seed, outcome, digest, subject, spec, "
        "provenance, form FROM trials"
    )
    while some := rows.fetchmany(AT_ONCE):
        for packed, *_ in some:
            hashlib.blake2b(packed, digest_size=16).hexdigest()
            key = begun.copy()
            key.update(rest)
            key.hexdigest()


def asked(row: str, path: Path, records: int) -> tuple[float, float, float]:
    """Measure a row in a process of its own: seconds, the processor's, megabytes more."""
    command = [sys.executable, __file__, "--row", row, "--store", str(path)]
    command += ["--records", str(records)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    spent, own, more = json.loads(done.stdout)
    return spent, own, more


def rows(quick: bool) -> Iterator[Row]:
    """Yield a record's size, and the processor's seconds and the memory of each way to read."""
    records = 2000 if quick else 100_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs.db"
        spent = write(path, records, "float32")
        yield Row(f"store of {records:,}: add a record", (spent,), unit="ms")
        size = os.path.getsize(path) / records
        yield Row(f"store of {records:,}: a record", (size,), MOST_BYTES, unit="bytes")
        for name, aim in AIMS.items():
            each = ((FLOOR, name) for _ in range(1 if quick else TURNS))
            turns = [[asked(one, path, records) for one in pair] for pair in each]
            least, own = (tuple(turn[i][1] for turn in turns) for i in (0, 1))
            more = tuple(turn[1][2] for turn in turns)
            yield Row(f"store of {records:,}: {name}", own, aim, unit="s")
            if name != "first page":
                ratios = tuple(mine / floor for mine, floor in zip(own, least, strict=True))
                yield Row(f"store of {records:,}: {name} / {FLOOR}", ratios)
            yield Row(f"store of {records:,}: {name}, memory", more, MOST_MEMORY, unit="MB")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--dtype", default="float32", help="of the losses")
    parser.add_argument("--store", type=Path, help="keep the file here, or take the one there is")
    parser.add_argument("--row", help="in a process of its own")
    args = parser.parse_args()
    if args.row:
        measured(args.row, str(args.store), args.records)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = args.store or Path(folder) / "runs.db"
        print(f"{args.records:,} records of {POINTS} evaluations; each as told / aim")
        if not path.exists():
            print(f"  add          {write(path, args.records, args.dtype):8.3f} ms a record")
        size = os.path.getsize(path) / args.records
        print(f"  a record     {size:8.0f} bytes   {size / MOST_BYTES:6.2f} of the aim", flush=True)
        print(f"  {FLOOR} {asked(FLOOR, path, args.records)[1]:5.2f} s", flush=True)
        for row, aim in AIMS.items():
            spent, own, more = asked(row, path, args.records)
            print(
                f"  {row:12} {spent:8.2f} s {own:8.2f} s {own / aim:6.2f} of the aim, "
                f"{more:5.0f} MB {more / MOST_MEMORY:6.2f} of the aim",
                flush=True,
            )


if __name__ == "__main__":
    main()
