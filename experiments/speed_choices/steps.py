"""How long a gradient takes under `dtype="bfloat16"`, against float32, in turns.

Seconds of this process's processor alone, at the batch that a trial trains with. The ratio depends
on the processor: those without instructions for bfloat16 (AVX512-BF16, AMX) are slower by it.

    python experiments/speed_choices/steps.py --data-dir DATA [--turns 40]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

import subspan as ss

NAMES = ("digits-mlp", "mnist-mlp", "mnist-conv2", "cifar10-resnet20")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("--only", default=",".join(NAMES))
    args = parser.parse_args()
    torch.set_num_threads(1)
    print("| network | bfloat16 / float32, median | quartiles | float32, ms |\n|---|---|---|---|")
    for name in args.only.split(","):
        options = {} if name == "digits-mlp" else {"data_dir": args.data_dir, "subset": 500}
        whole = ss.problems.load(name, **options)
        both = [whole.in_precision(dtype) for dtype in ("float32", "bfloat16")]
        weights, batch = whole.init(0)[None], whole.batch(torch.arange(128)[None])
        taken = np.empty((args.turns, 2))
        for turn in range(-2, args.turns):
            for i, problem in enumerate(both):
                start = time.process_time()
                problem.grads(weights, batch)
                if turn >= 0:
                    taken[turn, i] = time.process_time() - start
        ratio = np.percentile(taken[:, 1] / taken[:, 0], [25, 50, 75])
        plain = 1000 * float(np.median(taken[:, 0]))
        low, middle, high = ratio
        print(f"| {name} | {middle:.2f} | {low:.2f}–{high:.2f} | {plain:.2f} |", flush=True)


if __name__ == "__main__":
    main()
