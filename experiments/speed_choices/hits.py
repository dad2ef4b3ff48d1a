"""What it adds to a step's gradients to tell how many rows the step hits, in turns with none told.

Seconds of the processor, one thread; gradients with and without are the same to the bit.

    python experiments/speed_choices/hits.py
"""

import statistics
import time

import torch

import subspan as ss
from subspan.problems.models import CONV_CHANNELS, conv_net
from subspan.problems.resnet import resnet20
from subspan.trials.executors.freed_memory import keep_freed_memory

NETWORKS = {
    "mnist-conv2": (lambda: conv_net(CONV_CHANNELS["conv2"], (1, 28, 28), 10), (1, 28, 28), 60),
    "cifar10-resnet20": (lambda: resnet20((3, 32, 32), 10), (3, 32, 32), 7),
}


def main() -> None:
    torch.set_num_threads(1)
    keep_freed_memory()
    generator = torch.Generator().manual_seed(0)
    for name, (make, image, turns) in NETWORKS.items():
        x = torch.randn(128, *image, generator=generator)
        problem = ss.Problem(make, (x, torch.arange(128) % 10))
        assert problem.counts_hits
        weights, batch = problem.init(0)[None], problem.batch(torch.arange(128)[None])
        ratios = []
        for turn in range(turns + 1):
            seconds, gradients = {}, {}
            for told in (True, False) if turn % 2 else (False, True):
                start = time.process_time()
                gradients[told] = problem.grads(weights, batch, [] if told else None)[1]
                seconds[told] = time.process_time() - start
            assert torch.equal(gradients[True], gradients[False])
            if turn:  # the first warms up
                ratios.append(seconds[True] / seconds[False])
        low, median, high = statistics.quantiles(ratios, n=4)
        print(f"{name}: {median:.3f} ({low:.3f}–{high:.3f}), {turns} turns", flush=True)


if __name__ == "__main__":
    main()
