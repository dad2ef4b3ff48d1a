"""Does a network linearised along its training need more dimensions than the network itself?

d* of random subspaces through w_t at the best learning rate, for digits-mlp and for its tangent at
w_t, after some steps t of burn-in: at t = 0 the tangent is that of the neural tangent kernel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from subspan.canonical import tensor_digest
from subspan.estimate import Estimate
from subspan.goals import parse_goal
from subspan.report.figure import SERIES, plain_number
from subspan.reproduction import Lab, Step, Trials
from subspan.subspaces.base import Draw
from subspan.subspaces.burn_in import BurnIn
from subspan.success.estimate import ThresholdEstimate
from subspan.theory.linearize import LinearizedProblem, linearize

NETWORK, _POINTS = "the network", "points of linearisation"
CONFIDENCE = 0.95
# "tangents": from how many initialisations, by steps of burn-in.
SCALES: dict[str, dict[str, Any]] = {
    "cpu": {"problem": "digits-mlp", "goals": ("loss<=0.05",), "tangents": {0: 3, 16: 3, 64: 1}},
    "full": {
        "problem": "mnist-conv2",
        "goals": ("loss<=0.1", "loss<=0.03"),
        "tangents": {0: 5, 16: 5, 64: 5, 256: 5},
    },
}


def steps(lab: Lab) -> Iterator[Step]:
    """The network's thresholds, then those of its tangents."""
    yield Step(_POINTS, lambda: lab.once(_POINTS, lambda: _points(lab)))
    for goal in lab["goals"]:
        for burn_in, starts in lab["tangents"].items():
            yield Step(
                f"{goal}: network, {burn_in} steps of burn-in",
                lambda goal=goal, burn_in=burn_in: lab.threshold(
                    lab.load(lab["problem"]), goal=goal, method=BurnIn(burn_in), seed=0
                ),
            )
            for start in range(starts):
                yield Step(
                    f"{goal}: tangent after {burn_in} steps from initialisation {start}",
                    lambda goal=goal, burn_in=burn_in, start=start: lab.threshold(
                        _tangent(lab, burn_in, start), goal=goal, method="random", seed=0
                    ),
                )


def numbers(trials: Trials) -> dict[str, Estimate]:
    """Each d*, and by how much the tangents' are above the network's."""
    found = {}
    for goal, lines in measured(trials).items():
        for name, line in lines.items():
            for burn_in, estimate in line.items():
                found[f"d*, {goal}, {name}, {burn_in} steps of burn-in"] = estimate.estimate
        own = lines[NETWORK]
        for burn_in in own:
            tangents = [e[burn_in] for name, e in lines.items() if name != NETWORK and burn_in in e]
            found[f"tangents' d* over the network's, {goal}, {burn_in} steps of burn-in"] = factor(
                tangents, own[burn_in]
            )
    return found


def factor(tangents: list[ThresholdEstimate], network: ThresholdEstimate) -> Estimate:
    """The geometric mean of the tangents' d* over the network's.

    On a log scale the interval is Student's over tangents, or that of the only one, and the
    network's own, as independent errors.
    """
    logs = np.log([_value(estimate) for estimate in tangents])
    if logs.size > 1:
        rise = fall = float(stats.sem(logs) * stats.t.ppf((1 + CONFIDENCE) / 2, logs.size - 1))
    else:
        rise, fall = _errors(tangents[0])
    up, down = _errors(network)
    middle = float(logs.mean()) - math.log(_value(network))
    moves = (0, -math.hypot(fall, up), math.hypot(rise, down))
    return Estimate(*(math.exp(middle + move) for move in moves), CONFIDENCE, logs.size)


def _errors(estimate: ThresholdEstimate) -> tuple[float, float]:
    """How far the interval reaches above d* and below it, in logs."""
    value = _value(estimate)
    most = estimate.high or estimate.ambient_dim
    return math.log(most / value), math.log(value / (estimate.low or 1))


def _value(estimate: ThresholdEstimate) -> float:
    """d*, and D where none was found below it."""
    return float(estimate.value or estimate.ambient_dim)


def draw(trials: Trials) -> Figure:
    """d* over burn-in: of the network, and of its tangents."""
    found = measured(trials)
    figure = Figure(figsize=(5.4 * len(found), 4.2), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(found)))
    ticks = trials.result(_POINTS)["burn_ins"]
    for axes, (goal, lines) in zip(panels, found.items(), strict=True):
        for i, (name, line) in enumerate(lines.items()):
            told = {ticks.index(t): e for t, e in line.items() if e.value}
            x = np.array(list(told)) + 0.04 * (i - 1.5)
            highs = [e.high or e.ambient_dim for e in told.values()]
            axes.vlines(x, [e.low or 1 for e in told.values()], highs, SERIES[i])
            axes.plot(x, [e.value for e in told.values()], "o-", color=SERIES[i], label=name)
        axes.set(title=goal, yscale="log", xlabel="steps of burn-in", ylabel="d*")
        axes.set_xticks(range(len(ticks)), [str(t) for t in ticks])
        axes.yaxis.set_major_formatter(lambda value, _: plain_number(value))
        axes.yaxis.set_minor_formatter(lambda value, _: plain_number(value))
        axes.grid(linewidth=0.4)
        axes.legend(fontsize=8, loc="upper right")
    return figure


def measured(trials: Trials) -> dict[str, dict[str, dict[int, ThresholdEstimate]]]:
    """d* by goal, by what was trained, by burn-in."""
    about = trials.result(_POINTS)
    found: dict[str, dict[str, dict[int, ThresholdEstimate]]] = {}
    for goal in about["goals"]:
        lines = found.setdefault(goal, {NETWORK: {}})
        for burn_in, digests in zip(about["burn_ins"], about["points"], strict=True):
            method = {"name": "burn-in", "steps": burn_in} if burn_in else {"name": "random"}
            own = trials.threshold(about["problem"], goal, **method)
            if own is not None:
                lines[NETWORK][burn_in] = own
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
        "burn_ins": list(lab["tangents"]),
        "points": [
            [tensor_digest(_tangent(lab, burn_in, start).at) for start in range(starts)]
            for burn_in, starts in lab["tangents"].items()
        ],
    }
