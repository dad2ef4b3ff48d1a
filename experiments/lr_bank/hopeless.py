"""What share of the steps would be saved if trials without hope ended early, on the banks.

The design is replayed, and every trial that it asks for is given the curve of the bank's trial that
is nearest to it in d and lr, and then in how good it got. A trial is without hope where its end
lies below a bound: `-FAR`, beyond which the model of the surface does not look, or `-ENOUGH`, the
mirror image of where trials stop that have met the goal. Three rules end it: a seer's, who knows
the end at the first evaluation, so that no rule saves more; one that has seen the whole bank, and
ends a trial where none that was as bad at that evaluation came to the bound; and what a store can
know: the rises from there to the end of the trials of earlier rounds, at least four, normal, with
1 % for what lies beyond (Student's t). Of the last the trials that it would end wrongly are counted
too. That what is not known of a trial that was ended costs further trials is not.

    python experiments/lr_bank/hopeless.py --seeds 8
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import stdtrit

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "success"))
_FEWEST = 4  # trials of earlier rounds that a rule may rest on
BANKED = (
    ("digits-mlp", "loss", 0.1),
    ("mnist-mlp", "accuracy", 0.9),
    ("mnist-conv2", "accuracy", 0.9),
)


def main() -> None:
    """Print, for every bank, the shares of the steps that each rule saves."""
    from subspan.success.graded import FAR
    from subspan.success.joint_design import ENOUGH

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="one of the banks")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--ratio", type=float, default=1.5)
    options = parser.parse_args()
    for banked in BANKED:
        if options.only not in (None, banked[0]):
            continue
        curves, replays, spent = _replayed(*banked, options.seeds, options.ratio)
        asked = [curve for replay in replays for curve in replay]
        print("{}, {} {}: ".format(*banked) + f"{len(asked)} trials, {spent:.1f} trainings")
        for name, bound in (("-FAR", -FAR), ("-ENOUGH", -ENOUGH)):
            hopeless = [curve for curve in asked if curve[-1] < bound]
            seer = sum(1 - 1 / len(curve) for curve in hopeless)
            bank = sum(1 - _taken(curve, curves, bound) for curve in hopeless)
            ended = [pair for replay in replays for pair in _ended_by_store(replay, bound)]
            store = sum(1 - share for share, _ in ended)
            print(
                f"  {len(hopeless)} trials below {name}: saved at most {seer / spent:.1%}, by what "
                f"the bank knows {bank / spent:.1%}, the store {store / spent:.1%} with "
                f"{sum(wrong for _, wrong in ended)} of {len(ended)} ended wrongly"
            )


def _replayed(
    name: str, metric: str, level: float, seeds: int, ratio: float
) -> tuple[np.ndarray, list[list[np.ndarray]], float]:
    """Return all curves of a bank (n, evaluations), each replay's, and what the replays cost."""
    from lr_worlds import BankWorld
    from test_joint_design import measure

    class Listening(BankWorld):
        """Keeps what is drawn from it."""

        def draw(self, dim: int, log_rho: float, rng: np.random.Generator) -> float:
            z = super().draw(dim, log_rho, rng)
            drawn.append((dim, log_rho, z))
            return z

    world = Listening(name, metric, level)
    curves = _distances(world)
    spent, replays = 0.0, []
    for seed in range(seeds):
        drawn: list[tuple[int, float, float]] = []
        spent += measure(world, seed, ratio=ratio).trainings
        asked = []
        for dim, log_rho, z in drawn:
            i = int(np.abs(world.x - math.log(dim)).argmin())
            k = int(np.abs(world.u - log_rho).argmin())
            asked.append(curves[i, k, np.abs(curves[i, k, :, -1] - z).argmin()])
        replays.append(asked)
    return curves.reshape(-1, curves.shape[-1]), replays, spent


def _distances(world: Any) -> np.ndarray:
    """How far above the level the best value to date lies, (dim, ρ, repeat, evaluation)."""
    if world.metric == "loss":
        return math.log(world.level) - np.log(np.nan_to_num(world.curves, nan=1e3))
    best = np.clip(np.nan_to_num(world.curves, nan=0.0), 1e-4, 1 - 1e-4)
    return np.log(best / (1 - best)) - math.log(world.level / (1 - world.level))


def _taken(curve: np.ndarray, curves: np.ndarray, bound: float) -> float:
    """The share of its steps after which no trial that was as bad has come to the bound."""
    for place in range(len(curve)):
        as_bad = curves[:, place] <= curve[place]
        if (curves[as_bad, -1] < bound).all():
            return (place + 1) / len(curve)
    return 1.0


def _ended_by_store(replay: list[np.ndarray], bound: float) -> list[tuple[float, bool]]:
    """Of each trial that earlier rounds of two end: its share of steps, and if wrongly."""
    from subspan.success.joint_design import ENOUGH

    ended = []
    for number, curve in enumerate(replay):
        known = np.minimum(replay[: number - number % 2], ENOUGH)
        if len(known) < _FEWEST:
            continue
        for place in range(len(curve) - 1):
            if curve[place] >= ENOUGH:
                break
            rises = known[:, -1] - known[:, place]
            wide = rises.std(ddof=1) * math.sqrt(1 + 1 / len(rises))
            most = curve[place] + rises.mean() + stdtrit(len(rises) - 1, 0.99) * wide
            if most < bound:
                ended.append(((place + 1) / len(curve), bool(curve[-1] >= bound)))
                break
    return ended


if __name__ == "__main__":
    main()
