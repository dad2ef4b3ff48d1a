"""Conv-2 on a subset of CIFAR-10: every method against the random subspace, as for MNIST.

Runs `experiments/compare_mnist/run.py` with this folder and the first rows of CIFAR-10's training
set (a subset, for CPU's sake; accuracies are those of a network that saw that much data). A round
of pruning takes two epochs, 78 steps, so that it has a step 64 to rewind to.

    python experiments/compare_cifar10/run.py --data-dir DATA --repeats 5
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

HERE = Path(__file__).parent
DEFAULTS = [
    "--problem",
    "cifar10-conv2",
    "--folder",
    str(HERE),
    "--subset",
    "5000",
    "--ticket-epochs",
    "2",
    "--goal",
    "test:accuracy>=0.4",
]

if __name__ == "__main__":
    sys.argv[1:1] = DEFAULTS
    runpy.run_path(str(HERE.parent / "compare_mnist" / "run.py"), run_name="__main__")
