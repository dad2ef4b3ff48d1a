"""What `TrainSpec(compile=True)` measures at the start: a step's gradients plain and compiled.

Each network twice, in a process of its own and one thread: with no cache of PyTorch's, and with the
one that the first left. Seconds of the processor, those of the C++ compiler with them. A trial is
one of five epochs on all training rows.

    python experiments/speed_choices/compiling.py --data-dir DATA [--only mnist-mlp,mnist-conv2]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile

import torch

import subspan as ss

ROWS = {"digits-mlp": 1437, "mnist-mlp": 60_000, "mnist-conv2": 60_000, "cifar10-resnet20": 50_000}
BATCH, EPOCHS, MANY = 128, 5, 10**12
HEAD = (
    "| network, dtype | cache | plain, ms | compiled, ms | compiling, s | paid back after steps | "
    "steps of a trial |"
)


def measured(name: str, dtype: str, cached: str, data_dir: str) -> str:
    """One row, of this process."""
    torch.set_num_threads(1)
    options = {} if name == "digits-mlp" else {"data_dir": data_dir, "subset": 500}
    problem = ss.problems.load(name, **options).in_precision(dtype)
    steps = EPOCHS * (ROWS[name] // BATCH)
    found = problem.compiled(BATCH, 1, MANY)[1]
    if found.compiled_ms is None:
        return f"| {name}, {dtype} | {cached} | {found.why} |"
    saved = (found.plain_ms - found.compiled_ms) / 1e3
    paid = f"{found.seconds / saved:,.0f}" if saved > 0 else "never"
    return (
        f"| {name}, {dtype} | {cached} | {found.plain_ms:.3g} | {found.compiled_ms:.3g} | "
        f"{found.seconds:.1f} | {paid} | {steps:,} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--only", default=",".join(ROWS))
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--cached", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.cached:
        print(measured(args.only, args.dtype, args.cached, args.data_dir), flush=True)
        return
    print(HEAD + "\n" + "|---" * (HEAD.count("|") - 1) + "|", flush=True)
    for name in args.only.split(","):
        with tempfile.TemporaryDirectory() as folder:
            own = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": folder, "OMP_NUM_THREADS": "1"}
            for cached in ("empty", "filled"):
                line = [sys.executable, __file__, "--data-dir", args.data_dir, "--only", name]
                subprocess.run(
                    [*line, "--dtype", args.dtype, "--cached", cached], env=own, check=True
                )


if __name__ == "__main__":
    main()
