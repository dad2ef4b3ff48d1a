"""`attach` on many weights: making the map, a pass through all weights and back, the peak memory.

python benchmarks/attach_scale.py --weights 1e8 --dim 1e4 --map partition
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import nn

import subspan

TENSORS = 20


def resident(field: str) -> int:
    with open("/proc/self/status") as lines:
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith(field))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--weights", type=float, default=1e8)
    parser.add_argument("--dim", type=float, default=1e4)
    parser.add_argument("--map", default="partition")
    options = parser.parse_args()
    torch.set_num_threads(1)
    size = int(options.weights)
    before = resident("VmRSS")
    module = nn.ParameterList([nn.Parameter(torch.zeros(size // TENSORS)) for _ in range(TENSORS)])
    clock = time.process_time()
    handle = subspan.attach(module, int(options.dim), options.map)
    print(f"attaching: {time.process_time() - clock:.2f} CPU seconds")
    clock = time.process_time()
    for i in range(TENSORS):
        weight = module[i]
        weight.backward(torch.ones_like(weight))
        del weight
    print(f"all weights and back: {time.process_time() - clock:.2f} CPU seconds")
    print(f"peak: {(resident('VmHWM') - before) / size:.2f} bytes per weight, itself included")
    clock = time.process_time()
    handle.checksum()
    print(f"checksum: {time.process_time() - clock:.2f} CPU seconds")


if __name__ == "__main__":
    main()
