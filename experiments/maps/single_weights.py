"""Which share of a single weight a random subspace holds, by map, against the uniform law.

    python experiments/maps/single_weights.py [--seeds 300]

The share is ‖Aᵀv‖², for v one weight or a random direction. For a uniformly random subspace it
follows Beta(d/2, (D − d)/2). The spread below is the standard deviation over seeds as a part of
Beta's; and a cone about v that a uniform subspace meets with a chance of 10, 50 or 90 % is met as
often as the share passes Beta's quantile.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from scipy import stats

import subspan as ss
from subspan.streams import normals

SIZES = ((511, 255), (5000, 100))
MAPS = ("orthonormal", "hadamard", "partition")
MET = (0.1, 0.5, 0.9)


def shares(name: str, ambient_dim: int, dim: int, seeds: int, single: bool) -> np.ndarray:
    """‖Aᵀv‖² of one weight, another for every seed, or of a random direction: (seeds,)."""
    out = []
    for seed in range(seeds):
        v = np.zeros(ambient_dim)
        if single:
            v[(seed * 7919) % ambient_dim] = 1.0
        else:
            v = normals(seed, "direction", count=ambient_dim)
            v /= np.linalg.norm(v)
        made = ss.maps.make(name, dim=dim, ambient_dim=ambient_dim, seed=seed).to(
            dtype=torch.float64
        )
        out.append(float((made.adjoint(torch.tensor(v)) ** 2).sum()))
    return np.array(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=300)
    seeds = parser.parse_args().seeds
    print(
        "| D | d | map | v | mean share · D/d | spread | values | cones of .1 / .5 / .9 are met |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for ambient_dim, dim in SIZES:
        law = stats.beta(dim / 2, (ambient_dim - dim) / 2)
        for name in MAPS:
            for single in (True, False):
                found = shares(name, ambient_dim, dim, seeds, single)
                met = [np.mean(found >= law.isf(chance)) for chance in MET]
                print(
                    f"| {ambient_dim} | {dim} | {name} | {'one weight' if single else 'direction'} "
                    f"| {found.mean() * ambient_dim / dim:.2f} | {found.std() / law.std():.2f} "
                    f"| {len(np.unique(found.round(9)))} "
                    f"| {' / '.join(f'{rate:.2f}' for rate in met)} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
