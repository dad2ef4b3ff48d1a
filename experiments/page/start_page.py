"""The numbers of the phase diagram on the site's start page: `docs/images/mnist-conv2.json`.

The store, forty minutes of one core:

    G=accuracy>=0.3,accuracy>=0.4,accuracy>=0.5,accuracy>=0.6,accuracy>=0.7,accuracy>=0.8,
      accuracy>=0.85,accuracy>=0.9,accuracy>=0.95 (on one line, quoted)
    for m in random burn-in:64; do
        subspan surface mnist-conv2 --method $m --subset 5000 --data-dir DATA --repeats 5 \
            --dims 16,32,64,128,181,256,362,512,724,1024,2048 --goals "$G" --store runs.db
    done
    python experiments/page/start_page.py runs.db docs/images/mnist-conv2.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import subspan as ss
from subspan.goals import parse_goal


def start_page_data(page: dict[str, Any], problem: str, metric: str, goal: str) -> dict[str, Any]:
    """Return of a report's data what one phase diagram needs.

    Args:
        page: `PageData.data`.
        problem: whose diagram.
        metric: whose goals the slider has.
        goal: that the slider starts at.
    """
    (found,) = [p for p in page["problems"] if p["name"] == problem]
    (shown,) = [m for m in found["metrics"] if m["name"] == metric]
    experiments = []
    for one in found["experiments"]:
        counted = one["counted"][metric]
        levels = [{**level, "fit": None} for level in counted["levels"]]
        experiments.append({**one, "counted": {metric: {**counted, "levels": levels}}})
    own = {"metrics": [shown], "metric": 0, "experiments": experiments}
    level = shown["goals"].index(str(parse_goal(goal)))
    first = next(i for i, one in enumerate(experiments) if one["null"])
    return {
        "store": page["store"],
        "confidence": page["confidence"],
        "problems": [{**found, **own, "level": level, "first": first}],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--problem", default="mnist-conv2")
    parser.add_argument("--goal", default="accuracy>=0.7")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        page = ss.report.write_page(arguments.store, Path(folder) / "report.html")
    data = start_page_data(page.data, arguments.problem, "train:accuracy", arguments.goal)
    arguments.out.write_text(json.dumps(data, ensure_ascii=False) + "\n", "utf-8")
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
