"""What a trial costs beyond its training: 5,000 trials of next to nothing, in memory and a file.

A function that returns a number, and a problem of two weights trained for one step. The seconds
that records charge to training are taken off: what is left is planning, looking up, handing out
and keeping. A record in a file is on disk before it is reported, so a file takes what the disk
takes to flush, which is printed too. Beside the clock stand the processor's own milliseconds in
this process, training here included, which depend less on who else is at work.

python benchmarks/overhead.py [--trials 5000]
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from table import Row

import subspan as ss

WORKERS = 2


@ss.trainable(name="nothing", max_dim=10)
def nothing(trial):
    return {"loss": 0.5}


x = torch.linspace(-1, 1, 4)[:, None]
tiny = ss.Problem(
    lambda: torch.nn.Linear(1, 1),
    (x, x),
    loss="mse",
    name="tiny",
    default_spec=ss.TrainSpec(steps=1, batch_size=None),
)


def milliseconds(
    subject: object, trials: int, executor: str, store: str | None
) -> tuple[float, float]:
    """Return a trial's milliseconds beyond its training, and those of the processor here."""
    method = "random" if subject is tiny else None
    clock, own = time.perf_counter(), time.process_time()
    records = ss.run(
        subject,
        method,
        dims=[1],
        repeats=trials,
        executor=executor,
        workers=WORKERS,
        store=store,
    )
    spent, own = time.perf_counter() - clock, time.process_time() - own
    trained = sum(r.wall_time for r in records) / (1 if executor == "inline" else WORKERS)
    return 1000 * (spent - trained) / trials, 1000 * own / trials


def flush(folder: str) -> float:
    """Return the milliseconds that the disk takes to flush a page, the median of a hundred."""
    seconds = []
    with open(Path(folder) / "page", "wb", buffering=0) as file:
        for _ in range(100):
            file.write(bytes(4096))
            clock = time.perf_counter()
            os.fsync(file.fileno())
            seconds.append(time.perf_counter() - clock)
    return 1000 * statistics.median(seconds)


def rows(quick: bool) -> Iterator[Row]:
    """Yield the milliseconds of a trial beyond its training: in memory, in a file, by executor."""
    trials = 500 if quick else 5000
    with tempfile.TemporaryDirectory() as folder:
        for name, subject in (("function", nothing), ("problem", tiny)):
            for executor in ("inline", "forked"):
                for place in (None, str(Path(folder) / f"{name}-{executor}.db")):
                    spent, _ = milliseconds(subject, trials, executor, place)
                    where = "memory" if place is None else "file"
                    what = f"overhead of a trial: {name}, {executor}, {where}"
                    yield Row(what, (spent,), 2.0, unit="ms")
        yield ray_row(trials)
        yield Row("one flush of the disk", (flush(folder),), unit="ms")


def ray_row(trials: int) -> Row:
    """Through Ray, on this machine: the function, in memory."""
    what, aim = "overhead of a trial: function, ray, memory", 10.0
    if importlib.util.find_spec("ray") is None:
        return Row(what, aim=aim, unit="ms", absent="ray is not installed")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        milliseconds(nothing, WORKERS, "ray", None)  # its workers import PyTorch
        return Row(what, (milliseconds(nothing, trials, "ray", None)[0],), aim, unit="ms")
    finally:
        ray.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=5000)
    trials = parser.parse_args().trials
    print(f"{trials:,} trials, milliseconds each beyond training (at most 2 is the law)")
    print("                     clock  processor")
    with tempfile.TemporaryDirectory() as folder:
        for name, subject in (("function", nothing), ("problem", tiny)):
            for executor in ("inline", "forked"):
                for place in (None, str(Path(folder) / f"{name}-{executor}.db")):
                    spent, own = milliseconds(subject, trials, executor, place)
                    where = "memory" if place is None else "file"
                    print(f"  {name:8} {executor:6} {where:6} {spent:6.3f} {own:6.3f}", flush=True)
        row = ray_row(trials)
        print(f"  function ray    memory {row.absent or f'{row.median:6.3f} (at most 10)'}")
        print(f"  one flush of the disk      {flush(folder):6.3f}")


if __name__ == "__main__":
    main()
