"""Peak memory of a lottery subspace: snapshots, singular vectors and the map, from end to end.

The search runs on a quadratic well with noisy gradients, whose own memory is a few vectors,
through the same code as on a network. The law: peak below 1.5 × snapshots × D × 4 bytes.

    python experiments/svd_memory/run.py --ambient-dim 10000000 --snapshots 200
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np
import torch

import subspan as ss
from subspan.problems import Quadratic
from subspan.subspaces import Draw


class NoisyWell(Quadratic):
    """A quadratic well with noisy gradients, so that the trajectory has full rank."""

    def grads(self, weights, batch):
        generator = torch.Generator().manual_seed(int(weights[0, 0].view(torch.int32)))
        noise = torch.randn(weights.shape, generator=generator, dtype=weights.dtype)
        return self.loss(weights), (self.eigenvalues * weights).add_(noise, alpha=0.01)


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ambient-dim", type=int, default=10_000_000)
    parser.add_argument("--snapshots", type=int, default=200)
    parser.add_argument("--out", default=str(Path(__file__).parent / "results.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    size = args.ambient_dim
    eigenvalues = np.geomspace(1e-4, 1.0, size)
    displacement = np.full(size, 3 / size**0.5)
    problem = NoisyWell(eigenvalues, displacement).to(dtype=torch.float32)
    del eigenvalues, displacement
    method = ss.LotterySubspace(args.snapshots, 1, coordinates="unit")
    before, clock = peak_bytes(), time.perf_counter()
    (made,) = method.subspaces(problem, [Draw(args.snapshots // 10, 0, 0)])
    seconds = time.perf_counter() - clock
    snapshots = 4 * args.snapshots * size
    rows = made.map.dense_rows
    gram = rows.double() @ rows.double().T if size <= 10**6 else torch.zeros(0)
    result = {
        "command": f"python experiments/svd_memory/run.py --ambient-dim {size} "
        f"--snapshots {args.snapshots}",
        "ambient_dim": size,
        "snapshots": args.snapshots,
        "snapshot_bytes": snapshots,
        "bytes_before": before,
        "peak_bytes": peak_bytes(),
        "ratio_whole_process": round(peak_bytes() / snapshots, 3),
        "ratio_of_the_search": round((peak_bytes() - before) / snapshots, 3),
        "seconds_search_and_svd": round(seconds, 1),
        "unit_row_norms_off_by": float((rows[:5].double().norm(dim=1) - 1).abs().max()),
        "torch": torch.__version__,
    }
    if len(gram):
        eye = torch.eye(len(gram), dtype=gram.dtype)
        result["orthonormality_off_by"] = float((gram - eye).abs().max())
    Path(args.out).write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
