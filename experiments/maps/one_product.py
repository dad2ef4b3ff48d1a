"""Would one product with a matrix of order 16 do for `hadamard` at large d, where two are taken?

θ is dealt out in lines as `maps/strips.py` does, each place gets a random sign, and one product
joins 16 panels of an odd length; then the panels lie in random order. What the subspace holds of a
fixed set of d/2 directions is held against the law of a uniformly random one (Wachter, 1980): its
smallest and largest eigenvalue over that law's edges, and its variance over that law's. The law's
own are 1, and `tests/maps/test_large_maps.py` asks for 0.85, 1.1 and 6 %.

    python experiments/maps/one_product.py [--dim 4100] [--size 8200]
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

import subspan as ss
from subspan.maps import hadamard
from subspan.maps.walsh import build_sylvester

LINE, ORDER = 64, 16


def one_product(dim: int, size: int, rng: np.random.Generator) -> torch.Tensor:
    """Return the map's matrix, (D, d)."""
    hands, last = divmod(size, dim)
    every = dim // LINE
    deals = [every] * hands + [min(last // LINE, every)]
    line = np.concatenate([rng.permutation(every)[:count] for count in deals])
    entry = 1 / np.sqrt(np.bincount(line, minlength=every))[line]
    coordinate = (line[:, None] * LINE + np.arange(LINE)).ravel()
    dense = torch.zeros(size, dim)
    dense[np.arange(len(coordinate)), coordinate] = torch.from_numpy(entry.repeat(LINE)).float()
    rest = np.arange(every * LINE, dim)
    for hand in range(hands):
        dense[len(coordinate) + hand * len(rest) + np.arange(len(rest)), rest] = hands**-0.5
    dense *= torch.from_numpy(rng.choice([-1.0, 1.0], (size, 1))).float()
    groups = max(size // (ORDER * 48), 1)
    panel = size // (ORDER * groups)
    panel -= panel % 2 == 0
    whole = ORDER * groups * panel
    matrix = build_sylvester(ORDER, torch.float32, torch.device("cpu"))
    joined = matrix @ dense[:whole].view(groups, ORDER, panel * dim)
    order = torch.from_numpy(rng.permutation(groups * ORDER))
    return torch.cat([joined.view(groups * ORDER, -1)[order].view(whole, dim), dense[whole:]])


def directions(dim: int, size: int) -> dict[str, np.ndarray]:
    """Which of d/2 directions each weight belongs to, -1 for none."""
    count = dim // 2
    chosen = np.random.default_rng(0).permutation(size) < count
    return {
        "random weights": np.where(chosen, np.cumsum(chosen) - 1, -1),
        "sums of neighbours": np.arange(size) // -(-size // count),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dim", type=int, default=4100)
    parser.add_argument("--size", type=int, default=8200)
    options = parser.parse_args()
    dim, size = options.dim, options.size
    hadamard._LARGEST = 2**12  # so that the map is made of strips at this size too
    rng = np.random.default_rng(0)
    matrices = {
        "two products (hadamard)": ss.maps.make(
            "hadamard", dim=dim, ambient_dim=size, seed=0
        ).dense(),
        "one product": one_product(dim, size, rng),
        "uniformly random": torch.linalg.qr(torch.randn(size, dim))[0],
    }
    print("| map | directions | smallest | largest | variance |\n|---|---|---|---|---|")
    for name, dense in matrices.items():
        for what, group in directions(dim, size).items():
            chosen = torch.from_numpy(group[group >= 0])
            sums = dense.new_zeros(int(chosen.max()) + 1, dim)
            sums.index_add_(0, chosen, dense[group >= 0])
            sums /= torch.bincount(chosen).sqrt()[:, None]
            found = torch.linalg.eigvalsh(sums @ sums.T).numpy()
            a, b = dim / size, len(found) / size
            low, high = (
                ((a * (1 - b)) ** 0.5 + sign * (b * (1 - a)) ** 0.5) ** 2 for sign in (-1, 1)
            )
            print(
                f"| {name} | {what} | {found.min() / low:.3f} | {found.max() / high:.3f} "
                f"| {found.var() / (a * (1 - a) * b):.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
