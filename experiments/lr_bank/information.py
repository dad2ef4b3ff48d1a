"""How many trials d* at the best learning rate needs, by what a trial of a bank tells of it.

The surface is sampled given a bank. For each surface, the trials that must be told for the ratio if
all are at its d* and its best learning rate, which are as good as known:

- `simple`: (2·1.96·σ/ln ratio)², σ the standard deviation of a trial over the slope in log d;
- `also the scatter`: by Fisher's information of Student's t where its scale is to be learnt too,
  since d* is where nine in ten succeed and not half;
- `elsewhere`: the same where only the curve's place is unknown, at the best d within e^±1.5 of d*.

`--worlds N --out FILE` runs the design in N of these surfaces as worlds, one line of JSON each.

    python experiments/lr_bank/information.py cifar10-resnet20 0.3
    python experiments/lr_bank/information.py cifar10-resnet20 0.3 --worlds 16 --out worlds.jsonl
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
from cover import against

from subspan.success.graded import Observation, Scale
from subspan.success.joint_design import ENOUGH, JointDesign
from subspan.success.posterior import Range
from subspan.success.surface_model import SurfacePosterior, sample
from subspan.trials.lr_scale import LrScale

BANKS = Path(__file__).parents[2] / "tests" / "success" / "banks"
_CONFIDENT = 2 * 1.96
_DOF = 5.0  # of the surface's noise
_LOCATION = (_DOF + 3) / (_DOF + 1)  # 1 / Fisher's information, in scale²
_LOG_SCALE = (_DOF + 3) / (2 * _DOF)
_SURE = 1.4759  # its 0.9 quantile
_CHANCE = 0.14  # about what a collapsed trial comes to
_COLLAPSED_WIDE = 0.5
_RHO = LrScale.adam(1.0)


def main() -> None:
    """Print what is needed, or run the design in the worlds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("level", type=float, help="of the accuracy")
    parser.add_argument("--ratio", type=float, default=1.5)
    parser.add_argument("--worlds", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    belief, level = _posterior(options.name, options.level)
    if options.worlds:
        _run_worlds(belief, level, options)
        return
    for name, values in needed(belief, options.ratio).items():
        low, first, middle, third, high = np.quantile(values, (0.05, 0.25, 0.5, 0.75, 0.95))
        print(f"{name}: {middle:.3g} [{first:.3g}, {third:.3g}], 90 % [{low:.3g}, {high:.3g}]")


def _posterior(name: str, level: float) -> tuple[SurfacePosterior, float]:
    """Return the surfaces given a bank, and the logit of the level."""
    with np.load(BANKS / f"{name}.npz") as bank:
        best = np.clip(np.nan_to_num(bank["accuracy"][..., -1], nan=0.0), 1e-4, 1 - 1e-4)
        dims, rhos, ambient = bank["dims"], bank["rhos"], int(bank["ambient_dim"])
    logit = math.log(level / (1 - level))
    z = np.log(best / (1 - best)) - logit
    told = [
        Observation(math.log(dim), math.log(rho), float(np.clip(value, -2.5, 9)))
        for i, dim in enumerate(dims)
        for k, rho in enumerate(rhos)
        for value in z[i, k]
    ]
    return sample(told, Range(1, ambient, 0.1), _RHO.ridge, populations=3), logit


def needed(belief: SurfacePosterior, ratio: float) -> dict[str, np.ndarray]:
    """Return by name what each surface has and needs, (N,), where d* is reached."""
    reached = np.isfinite(belief.log_threshold)
    s, v = belief.surfaces, belief.best_v[:, None]
    t = np.where(reached, belief.log_threshold, 0.0)[:, None] - s.crossing

    def noise_over_slope(t: np.ndarray) -> np.ndarray:
        slope = (s.mean(t + 1e-3, v) - s.mean(t - 1e-3, v)) / 2e-3
        return s.scale(t, v) / np.maximum(slope, 1e-9)

    at = noise_over_slope(t)
    least = np.min([noise_over_slope(t + shift) for shift in np.linspace(-1.5, 1.5, 13)], axis=0)
    wanted = (_CONFIDENT / math.log(ratio)) ** 2
    found = {
        "d*": np.exp(t + s.crossing),
        "standard deviation of log d, one trial": at * math.sqrt(_DOF / (_DOF - 2)),
        "simple": wanted * at**2 * _DOF / (_DOF - 2),
        "also the scatter": wanted * at**2 * (_LOCATION + _SURE**2 * _LOG_SCALE),
        "elsewhere": wanted * least**2 * _LOCATION,
    }
    return {name: values[reached, 0] for name, values in found.items()}


def _run_worlds(belief: SurfacePosterior, logit: float, options: argparse.Namespace) -> None:
    """Run the design, two trials a round and 100 at most, and print what was found."""
    rows = [json.loads(line) for line in options.out.open()] if options.out.exists() else []
    for seed in range(options.worlds):
        if seed not in {row["seed"] for row in rows}:
            rows.append(_measured(belief, logit, seed, options.ratio))
            with options.out.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    trials = [row["trials"] for row in rows]
    ok = sum(row["status"] == "ok" for row in rows)
    print(
        f"held by {sum(row['held'] for row in rows)} of {len(rows)}, {ok} ok; trials: median "
        f"{np.median(trials):.0f}, {min(trials)} to {max(trials)}"
    )


def _measured(belief: SurfacePosterior, logit: float, seed: int, ratio: float) -> dict[str, object]:
    at = (seed * 97 + 13) % len(belief.log_threshold)
    surface = belief.surfaces.select(slice(at, at + 1))
    truth = math.exp(belief.log_threshold[at])
    rng = np.random.default_rng([seed, 11])
    collapsed = math.log(_CHANCE / (1 - _CHANCE)) - logit
    design = JointDesign(
        Scale(0.0, higher_is_better=True, kind="linear"),
        _RHO,
        belief.surfaces.span.max_dim,
        ratio=ratio,
        max_trials=100,
    )
    while not design.done:
        for dim, lr in design.ask(2):
            place = np.array([math.log(dim)]), np.array([math.log(lr * math.sqrt(dim))])
            t, v = surface.coordinates(*place)
            if rng.random() < float(surface.lapse(v)[0, 0]):
                z = collapsed - _COLLAPSED_WIDE * rng.random()
            else:
                z = max(float(surface.mean(t, v)[0, 0]), collapsed)
                z += float(surface.scale(t, v)[0, 0]) * float(rng.standard_t(_DOF))
            design.tell(dim, lr, min(z, ENOUGH), "stopped" if z > ENOUGH else "finished")
    return {"seed": seed, **against(truth, design.estimate())}


if __name__ == "__main__":
    main()
