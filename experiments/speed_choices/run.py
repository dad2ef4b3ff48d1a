"""d* with bfloat16 autocast, and with evaluation once an epoch, against what trials do by default.

Each row is one measurement of d* at a fixed learning rate (`threshold`, its defaults else) of:

- `default`: float32, `eval_every="auto"`;
- `each epoch`: the same, both splits evaluated after each epoch;
- `bfloat16`: the same with `TrainSpec(dtype="bfloat16")`.

Seconds are those of this process's processor alone. Rows that the results file holds are not run
again.

    python experiments/speed_choices/run.py --data-dir DATA
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from pathlib import Path

import torch

import subspan as ss
from subspan.problems import data, models

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
CASES = {
    "digits-mlp": ("loss<=0.1", "accuracy>=0.95"),
    "mnist-mlp": ("loss<=0.7", "accuracy>=0.8"),
    "mnist-conv2": ("loss<=0.7", "accuracy>=0.8"),
}
KINDS = ("default", "bfloat16", "each epoch")


def load(name: str, subset: int, data_dir: str) -> ss.Problem:
    """A registered problem's network, data, initialisation and spec, as one of our own."""
    if name == "digits-mlp":
        make = partial(models.mlp, 64, 32, 10)
        train, test = data.digits(None, False)
        initialiser = models.he_normal(make, last="3.weight")
        spec = ss.TrainSpec(lr=0.05, epochs=50, batch_size=128, schedule="linear")
    else:
        dense = name == "mnist-mlp"
        make = (
            partial(models.mlp, 784, 200, 200, 10)
            if dense
            else partial(models.conv_net, models.CONV_CHANNELS["conv2"], (1, 28, 28), 10)
        )
        raw = data.images("mnist", data_dir)
        train, (x, y) = data.centred(raw, subset)
        test = (x[:1000], y[:1000])
        initialiser = models.lecun_normal(make)
        lr = 0.005 if dense else 0.05
        spec = ss.TrainSpec(lr=lr, epochs=2, batch_size=128, schedule="linear")
    return ss.Problem(make, train, test, name=name, init=initialiser, default_spec=spec)


def measure(name: str, goal: str, kind: str, subset: int, data_dir: str) -> dict:
    problem = load(name, subset, data_dir)
    every = None if kind == "each epoch" else "auto"
    dtype = "bfloat16" if kind == "bfloat16" else "float32"
    spec = problem.default_spec.replace(eval_every=every, dtype=dtype)
    start = time.process_time()
    found = ss.threshold(problem, "random", goal, spec=spec, workers=1)
    seconds = time.process_time() - start
    return {
        "problem": name,
        "goal": goal,
        "kind": kind,
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "status": str(found.status),
        "trials": found.trials,
        "seconds": round(seconds, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--subset", type=int, default=3000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    known = {(row["problem"], row["goal"], row["kind"]) for row in rows}
    for name, goals in CASES.items():
        for goal in goals:
            for kind in KINDS:
                if (name, goal, kind) not in known:
                    row = measure(name, goal, kind, args.subset, args.data_dir)
                    rows.append(row)
                    print(json.dumps(row), flush=True)
                    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
