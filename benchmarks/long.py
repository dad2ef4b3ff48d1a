"""The whole threshold of ResNet20 on 5,000 images of CIFAR-10 by the clock; aim: within an hour.

`subspan threshold cifar10-resnet20 --subset 5000 --goal "accuracy>=0.6" --dtype bfloat16` on two
workers, the learning rate included. It takes from a quarter of an hour on two idle cores, so it is
measured with `--long` alone. CIFAR-10 is read from `--data-dir`.

    python benchmarks/bench.py --only long --long --data-dir DATA
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from table import Row
from whole import measured

GOAL = "accuracy>=0.6"


def rows(quick: bool) -> Iterator[Row]:
    """Yield its seconds and trainings."""
    data = os.environ.get("BENCH_DATA")
    absent = "" if data else "no --data-dir"
    if "BENCH_LONG" not in os.environ:
        absent = "without --long"
    clock, cost = (), ()
    if not absent:
        assert data is not None
        options = ("--subset", "5000", "--dtype", "bfloat16", "--data-dir", data)
        clock, cost = zip(measured("cifar10-resnet20", GOAL, 0, *options), strict=True)
    what = f"threshold cifar10-resnet20, 5,000 rows, {GOAL}, bfloat16"
    yield Row(f"{what}: whole, two workers", clock, 3600, unit="s", absent=absent)
    yield Row(f"{what}: cost", cost, 20, unit="trainings", absent=absent)
