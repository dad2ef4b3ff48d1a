"""How many degrees of freedom are left after some steps of full training?

d* of random subspaces through w_t, the weights after t steps of burn-in in full space, at the best
learning rate of each: against t, and against the training loss that burn-in has reached.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from subspan.estimate import Estimate
from subspan.report.figure import PALE, SERIES, plain_number
from subspan.report.thresholds import ThresholdLine, draw_burn_in
from subspan.reproduction import Lab, Step, Trials
from subspan.subspaces.burn_in import BurnIn
from subspan.success.estimate import ThresholdEstimate

BURN_INS = (0, 4, 16, 64, 256)
SCALES = {
    "cpu": {"problem": "digits-mlp", "goals": ("loss<=0.1", "loss<=0.05"), "starts": 8},
    "full": {"problem": "mnist-conv2", "goals": ("loss<=0.1", "loss<=0.03"), "starts": 20},
}
_OFFSETS = "loss after burn-in"


def steps(lab: Lab) -> Iterator[Step]:
    """What burn-in reaches, then a threshold for each burn-in and goal."""
    yield Step(_OFFSETS, lambda: lab.once(_OFFSETS, lambda: offsets(lab)))
    for goal in lab["goals"]:
        for steps in BURN_INS:
            yield Step(
                f"{goal} after {steps} steps of burn-in",
                lambda goal=goal, steps=steps: lab.threshold(
                    lab.load(lab["problem"]), goal=goal, method=BurnIn(steps), seed=0
                ),
            )


def offsets(lab: Lab) -> dict[str, object]:
    """The training loss at w_t, untrained in any subspace: one number for each start."""
    problem = lab.load(lab["problem"])
    return {
        "problem": lab["problem"],
        "goals": list(lab["goals"]),
        "losses": [
            [
                record.final("loss", "train")
                for record in lab.run(
                    problem, method=BurnIn(steps), dims=[0], repeats=lab["starts"], seed=0
                )
            ]
            for steps in BURN_INS
        ],
    }


def numbers(trials: Trials) -> dict[str, Estimate]:
    """Each d*, and the mean loss after each burn-in."""
    found = {
        f"d*, {goal}, burn-in {steps}": estimate.estimate
        for goal, line in thresholds(trials).items()
        for steps, estimate in zip(BURN_INS, line, strict=True)
    }
    for steps, losses in zip(BURN_INS, reached(trials), strict=True):
        mean, half = (
            float(losses.mean()),
            float(stats.sem(losses)) * stats.t.ppf(0.975, losses.size - 1),
        )
        found[f"training loss, burn-in {steps}"] = Estimate(
            mean, mean - half, mean + half, 0.95, losses.size
        )
    return found


def draw(trials: Trials) -> Figure:
    """d* against the steps of burn-in, and against the loss that they reach."""
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    lines, losses = thresholds(trials), [float(np.mean(each)) for each in reached(trials)]
    draw_burn_in(
        [
            ThresholdLine("", "at the best learning rate", steps, (estimate.goal,), (estimate,))
            for line in lines.values()
            for steps, estimate in zip(BURN_INS, line, strict=True)
            if estimate.value
        ],
        ax=left,
    )
    for i, goal in enumerate(sorted(lines)):  # as the other panel has them
        told = [(x, e) for x, e in zip(losses, lines[goal], strict=True) if e.value]
        x, values = [x for x, _ in told], [e.value for _, e in told]
        right.vlines(x, [max(e.low or 1, 1) for _, e in told], [e.high for _, e in told], SERIES[i])
        right.plot(x, values, "os"[i] + "-", color=SERIES[i])
    right.set(xscale="log", yscale="log", xlabel="training loss after burn-in, falling")
    right.set_ylim(left.get_ylim())
    right.invert_xaxis()
    right.grid(color=PALE, linewidth=0.6)
    for axes in (left, right):
        axes.yaxis.set_minor_formatter(lambda value, _: plain_number(value))
        axes.yaxis.set_major_formatter(lambda value, _: plain_number(value))
    right.xaxis.set_major_formatter(lambda value, _: plain_number(value))
    return figure


def reached(trials: Trials) -> list[np.ndarray]:
    """The losses after each burn-in."""
    return [np.array(losses) for losses in trials.result(_OFFSETS)["losses"]]


def thresholds(trials: Trials) -> dict[str, list[ThresholdEstimate]]:
    """d* of each goal after each burn-in."""
    about = trials.result(_OFFSETS)
    found: dict[str, list[ThresholdEstimate]] = {}
    for goal in about["goals"]:
        for steps in BURN_INS:
            method = {"name": "burn-in", "steps": steps} if steps else {"name": "random"}
            estimate = trials.threshold(about["problem"], goal, **method)
            if estimate is not None:
                found.setdefault(goal, []).append(estimate)
    return found
