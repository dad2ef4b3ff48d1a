"""Does a network linearised along its training need more dimensions than the network itself?

d* of random subspaces through w_t at the best learning rate, for digits-mlp and for its tangent at
w_t, after some steps t of burn-in: at t = 0 the tangent is that of the neural tangent kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from subspan.canonical import tensor_digest
from subspan.estimate import Estimate
from subspan.goals import parse_goal
from subspan.report.figure import SERIES
from subspan.reproduction import Lab, Step, Trials
from subspan.subspaces.base import Draw
from subspan.subspaces.burn_in import BurnIn
from subspan.success.estimate import ThresholdEstimate
from subspan.theory.linearize import LinearizedProblem, linearize

BURN_INS = (0, 16, 64, 256)
SCALES: dict[str, dict[str, Any]] = {
    "cpu": {"problem": "digits-mlp", "goals": ("loss<=0.05",), "starts": 2},
    "full": {"problem": "mnist-conv2", "goals": ("loss<=0.1", "loss<=0.03"), "starts": 5},
}
_POINTS = "points of linearisation"


def steps(lab: Lab) -> Iterator[Step]:
    """The network's thresholds, then those of its tangents."""
    yield Step(_POINTS, lambda: lab.once(_POINTS, lambda: _points(lab)))
    for goal in lab["goals"]:
        for burn_in in BURN_INS:
            yield Step(
                f"{goal}: network, {burn_in} steps of burn-in",
                lambda goal=goal, burn_in=burn_in: lab.threshold(
                    lab.load(lab["problem"]), goal=goal, method=BurnIn(burn_in), seed=0
                ),
            )
            for start in range(lab["starts"]):
                yield Step(
                    f"{goal}: tangent after {burn_in} steps from initialisation {start}",
                    lambda goal=goal, burn_in=burn_in, start=start: lab.threshold(
                        _tangent(lab, burn_in, start), goal=goal, method="random", seed=0
                    ),
                )


def numbers(trials: Trials) -> dict[str, Estimate]:
    """Each d*."""
    found = {}
    for goal, lines in measured(trials).items():
        for name, line in lines.items():
            for burn_in, estimate in line.items():
                found[f"d*, {goal}, {name}, {burn_in} steps of burn-in"] = estimate.estimate
    return found


def draw(trials: Trials) -> Figure:
    """d* over burn-in: of the network, and of its tangents."""
    found = measured(trials)
    figure = Figure(figsize=(5.4 * len(found), 4.2), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(found)))
    for axes, (goal, lines) in zip(panels, found.items(), strict=True):
        for i, (name, line) in enumerate(lines.items()):
            told = {BURN_INS.index(t): e for t, e in line.items() if e.value}
            x = np.array(list(told)) + 0.06 * i
            highs = [e.high or e.ambient_dim for e in told.values()]
            axes.vlines(x, [e.low or 1 for e in told.values()], highs, SERIES[i])
            axes.plot(x, [e.value for e in told.values()], "o-", color=SERIES[i], label=name)
        axes.set(title=goal, yscale="log", xlabel="steps of burn-in", ylabel="d*")
        axes.set_xticks(range(len(BURN_INS)), [str(t) for t in BURN_INS])
        axes.grid(linewidth=0.4)
        axes.legend(fontsize=8)
    return figure


def measured(trials: Trials) -> dict[str, dict[str, dict[int, ThresholdEstimate]]]:
    """d* by goal, by what was trained, by burn-in."""
    about = trials.result(_POINTS)
    found: dict[str, dict[str, dict[int, ThresholdEstimate]]] = {}
    for goal in about["goals"]:
        lines = found.setdefault(goal, {"the network": {}})
        for burn_in, digests in zip(BURN_INS, about["points"], strict=True):
            method = {"name": "burn-in", "steps": burn_in} if burn_in else {"name": "random"}
            own = trials.threshold(about["problem"], goal, **method)
            if own is not None:
                lines["the network"][burn_in] = own
            for start, digest in enumerate(digests):
                tangent = _at(trials, goal, digest)
                if tangent is not None:
                    lines.setdefault(f"its tangent, start {start}", {})[burn_in] = tangent
    return found


def _at(trials: Trials, goal: str, digest: str) -> ThresholdEstimate | None:
    wanted = str(parse_goal(goal))
    for estimate in trials.estimates:
        e = estimate.experiment
        if e is not None and e.problem.get("at") == digest and str(estimate.goal) == wanted:
            return estimate
    return None


def _tangent(lab: Lab, burn_in: int, start: int) -> LinearizedProblem:
    """The tangent at w_t from an initialisation."""
    problem = lab.load(lab["problem"])
    place = Draw(1, start, 0)
    if not burn_in:
        return linearize(problem, problem.init(place.init_seed))
    return linearize(problem, BurnIn(burn_in).subspaces(problem, [place])[0].offset)


def _points(lab: Lab) -> dict[str, Any]:
    return {
        "problem": lab["problem"],
        "goals": list(lab["goals"]),
        "points": [
            [tensor_digest(_tangent(lab, t, start).at) for start in range(lab["starts"])]
            for t in BURN_INS
        ],
    }
