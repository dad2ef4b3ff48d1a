"""What a trial costs beyond its training: 5,000 trials of next to nothing, in memory and in a file.

A function that returns a number, and a problem of three weights trained for one step. Of a problem's
trials the seconds that their records charge to training are taken off: what is left is planning,
looking up, handing out and keeping.

python benchmarks/overhead.py [--trials 5000]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch

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


def milliseconds(subject: object, trials: int, executor: str, store: str | None) -> float:
    """Return the milliseconds of a trial beyond its training."""
    method = "random" if subject is tiny else None
    clock = time.perf_counter()
    records = ss.run(
        subject,
        method,
        dims=[1],
        repeats=trials,
        executor=executor,
        workers=WORKERS,
        store=store,
    )
    spent = time.perf_counter() - clock
    trained = sum(r.wall_time for r in records) / (1 if executor == "inline" else WORKERS)
    return 1000 * (spent - trained) / trials


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=5000)
    trials = parser.parse_args().trials
    print(f"{trials:,} trials, milliseconds each beyond training (at most 2 is the law)")
    with tempfile.TemporaryDirectory() as folder:
        for name, subject in (("function", nothing), ("problem", tiny)):
            for executor in ("inline", "forked"):
                memory = milliseconds(subject, trials, executor, None)
                place = Path(folder) / f"{name}-{executor}.db"
                disk = milliseconds(subject, trials, executor, str(place))
                print(f"  {name:8} {executor:8} in memory {memory:6.3f}   in a file {disk:6.3f}")


if __name__ == "__main__":
    main()
