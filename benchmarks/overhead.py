"""What a trial costs beyond its training: 5,000 trials of a function that does nothing.

python benchmarks/overhead.py [--trials 5000]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import subspan as ss


@ss.trainable(name="nothing", max_dim=10)
def nothing(trial):
    return {"loss": 0.5}


def milliseconds(trials: int, executor: str, store: str | None) -> float:
    clock = time.perf_counter()
    ss.run(nothing, dims=[1], repeats=trials, executor=executor, workers=2, store=store)
    return 1000 * (time.perf_counter() - clock) / trials


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=5000)
    trials = parser.parse_args().trials
    print(f"{trials:,} trials, milliseconds each (at most 2 is the law)")
    with tempfile.TemporaryDirectory() as folder:
        for executor in ("inline", "forked"):
            memory = milliseconds(trials, executor, None)
            disk = milliseconds(trials, executor, str(Path(folder) / f"{executor}.db"))
            print(f"  {executor:8} in memory {memory:6.3f}   in a file {disk:6.3f}")


if __name__ == "__main__":
    main()
