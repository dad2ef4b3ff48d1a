"""How many numbers does CartPole take? A policy in d numbers, trained by CMA-ES on returns alone.

The pole is that of Barto, Sutton and Anderson (1983), 200 steps at most, in NumPy; the policy a
4-200-200-2 net without biases of 41,200 weights (Li et al., 2018, report d = 25 for one of
199,210). A trial reports 20 returns of its last policy on fresh starts: the goal is on their mean,
and the interval of d* knows of their noise.

    python examples/cartpole.py --dims 1,2,4,8,16 --repeats 6
"""

import argparse

import cma
import numpy as np
import torch

import subspan as ss

SHAPES = [(4, 200), (200, 200), (200, 2)]
SIZE = sum(a * b for a, b in SHAPES)
STEPS, LEVEL = 200, 195.0


def returns(weights: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Steps that each policy, weights (P, D), keeps the pole up from each start (E, 4): (P, E)."""
    layers, at = [], 0
    for a, b in SHAPES:
        layers.append(weights[:, at : at + a * b].reshape(-1, a, b))
        at += a * b
    x, xdot, angle, turn = (np.tile(s, (len(weights), 1)) for s in starts.T)
    up = np.ones(x.shape, bool)
    total = np.zeros(x.shape)
    for _ in range(STEPS):
        hidden = np.stack([x, xdot, angle, turn], -1)
        for layer in layers[:-1]:
            hidden = np.maximum(hidden @ layer, 0)
        out = hidden @ layers[-1]
        force = np.where(out[..., 1] > out[..., 0], 10.0, -10.0)
        sin, cos = np.sin(angle), np.cos(angle)
        push = (force + 0.05 * turn**2 * sin) / 1.1
        spin = (9.8 * sin - cos * push) / (0.5 * (4 / 3 - 0.1 * cos**2 / 1.1))
        speed = push - 0.05 * spin * cos / 1.1
        x, xdot = x + 0.02 * xdot, xdot + 0.02 * speed
        angle, turn = angle + 0.02 * turn, turn + 0.02 * spin
        total += up
        up &= (np.abs(x) < 2.4) & (np.abs(angle) < 12 * np.pi / 180)
        if not up.any():
            break
    return total


@ss.trainable(name="cartpole", max_dim=SIZE, version="1")
def play(trial):
    """CMA-ES on the mean return of four starts, in d numbers, 25 generations."""
    draw = ss.stream(trial.seed, "cartpole")
    parts = [draw.standard_normal(a * b) / np.sqrt(a) for a, b in SHAPES]
    base = np.concatenate(parts).astype(np.float32)
    if trial.dim:
        seen = ss.maps.make("hadamard", dim=trial.dim, ambient_dim=SIZE, seed=trial.seed)

    def weights(thetas: np.ndarray) -> np.ndarray:
        if not trial.dim:
            return base[None]
        moved = seen(torch.tensor(thetas[:, : trial.dim], dtype=torch.float32))
        return base + moved.numpy()

    theta = np.zeros(max(trial.dim, 2))  # cma wants two; at d = 1 one is idle
    if trial.dim:
        spread = 0.3 * np.linalg.norm(base) / np.sqrt(trial.dim)
        options = {"verbose": -9, "seed": trial.seed + 1, "popsize": 10}
        search = cma.CMAEvolutionStrategy(theta, spread, options)
        for _ in range(25):
            points = np.array(search.ask())
            starts = draw.uniform(-0.05, 0.05, (4, 4))
            search.tell(points, (-returns(weights(points), starts).mean(1)).tolist())
        theta = search.mean
    fresh = draw.uniform(-0.05, 0.05, (20, 4))
    trial.report(**{"test:return": returns(weights(theta[None]), fresh)[0]}, step=trial.dim and 25)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dims", default="1,2,4,8,16")
    parser.add_argument("--repeats", type=int, default=6)
    options = parser.parse_args()
    dims = [int(d) for d in options.dims.split(",")]
    trials = ss.run(play, dims=dims, repeats=options.repeats, workers=1)
    for dim in dims:
        means = [record.final("return", "test") for record in trials if record.dim == dim]
        print(f"d = {dim:3}: mean returns {', '.join(f'{m:.0f}' for m in sorted(means))}")
    estimate = ss.noisy_threshold(trials, f"test:return>={LEVEL:g}", delta=0.5)
    print(f"d* (half of the trials keep it up {LEVEL:g} steps): {estimate}")


if __name__ == "__main__":
    main()
