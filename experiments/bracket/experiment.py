"""How near do geometry and the best training come to each other?

For dense ReLU networks on the 8 × 8 digits: a lower bound on d* from the cone over the sub-level
set, the prediction from curvature, and d* measured with Adam at its best learning rate and with
L-BFGS. All are at a success probability of 90 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from subspan.canonical import tensor_digest
from subspan.estimate import Estimate
from subspan.goals import parse_goal
from subspan.problems import data, models
from subspan.problems.module import Problem
from subspan.report.figure import SERIES, plain_number
from subspan.reproduction import Lab, Step, Trials
from subspan.spec import TrainSpec
from subspan.success.records import Experiment
from subspan.theory.cone import ConeEstimate, cone_threshold
from subspan.theory.predict import predict_threshold
from subspan.theory.statistical_dimension import Transition

DELTA, CONFIDENCE, ALLOWED = 0.1, 0.95, 1.3
NETS = {"digits, 1 × 32": (32,), "digits, 3 × 32": (32, 32, 32), "digits, 1 × 64": (64,)}
GOALS = ("loss<=1", "loss<=0.3", "loss<=0.1")
TRAINING = {
    "Adam": TrainSpec(lr="auto", steps=550, batch_size=128, schedule="linear", eval_every="auto"),
    "L-BFGS": TrainSpec("lbfgs", steps=1000),
}
CONE, CURVATURE, BEST = "cone", "curvature", "best measured"
SCALES: dict[str, dict[str, Any]] = {
    "cpu": {"nets": 1, "ratio": 1.5, "directions": 6, "steps": 1000, "probes": 12},
    "full": {"nets": 3, "ratio": 1.2, "directions": 16, "steps": 3000, "probes": 48},
}


def steps(lab: Lab) -> Iterator[Step]:
    """For each network curvature; then for each goal the cone and the thresholds."""
    for net in list(NETS)[: lab["nets"]]:
        name = f"{CURVATURE}, {net}"
        yield Step(name, lambda net=net, name=name: lab.once(name, lambda: _curvature(lab, net)))
        for goal in GOALS:
            name = f"{CONE}, {net}, {goal}"
            yield Step(
                name,
                lambda net=net, goal=goal, name=name: lab.once(name, lambda: _cone(lab, net, goal)),
            )
            for optimizer, spec in TRAINING.items():
                yield Step(
                    f"{optimizer}, {net}, {goal}",
                    lambda net=net, goal=goal, spec=spec: lab.threshold(
                        _problem(net), goal=goal, method="random", spec=spec, ratio=lab["ratio"]
                    ),
                )


def numbers(trials: Trials) -> dict[str, Estimate]:
    """Each d at 90 %, and what is measured and predicted over the cone's."""
    found: dict[str, Estimate] = {}
    for net in _nets(trials):
        for goal in GOALS:
            each = measured(trials, net, goal)
            found |= {f"d at 90 %, {name}, {net}, {goal}": e for name, e in each.items()}
            best = min((each[name] for name in TRAINING), key=lambda e: e.value or math.inf)
            found[f"{BEST} over {CONE}, {net}, {goal}"] = quotient(best, each[CONE])
            found[f"{CURVATURE} over {BEST}, {net}, {goal}"] = quotient(each[CURVATURE], best)
    return found


def draw(trials: Trials) -> Figure:
    """d at 90 % over the loss, by each way, a panel for each network."""
    nets = _nets(trials)
    figure = Figure(figsize=(1 + 4.5 * len(nets), 4.2), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(nets), sharey=True))
    for axes, net in zip(panels, nets, strict=True):
        each = [measured(trials, net, goal) for goal in GOALS]
        cone = [one[CONE].value or 0.0 for one in each]
        levels = [parse_goal(goal).level for goal in GOALS]
        axes.fill_between(
            levels, cone, [ALLOWED * c for c in cone], color=SERIES[0], alpha=0.15, linewidth=0
        )
        for i, name in enumerate((CONE, CURVATURE, *TRAINING)):
            line = [one[name] for one in each]
            x = [level * 1.04 ** (i - 1.5) for level in levels]
            axes.vlines(x, [e.low for e in line], [e.high for e in line], SERIES[i])
            style = "o:" if name in TRAINING else "s-"
            axes.plot(x, [e.value for e in line], style, color=SERIES[i], label=name)
        axes.set(xscale="log", yscale="log", xlabel="training loss asked for", title=net)
        axes.set_xticks(levels, [f"{level:g}" for level in levels])
        axes.set_xticks([], minor=True)
        axes.invert_xaxis()
        axes.yaxis.set_major_formatter(lambda value, _: plain_number(value))
        axes.yaxis.set_minor_formatter(lambda value, _: plain_number(value))
        axes.grid(linewidth=0.4)
    panels[0].set_ylabel("d at 90 % success")
    panels[0].legend(fontsize=8)
    return figure


def _nets(trials: Trials) -> list[str]:
    """The networks that were measured."""
    stored = {experiment.problem for experiment in trials.experiments}
    return [net for net in NETS if net in stored]


def measured(trials: Trials, net: str, goal: str) -> dict[str, Estimate]:
    """What each way says of d at 90 %, for a network and goal."""
    cone, level = trials.result(f"{CONE}, {net}, {goal}"), str(parse_goal(goal).level)
    curvature = trials.result(f"{CURVATURE}, {net}")[level]
    found = {CONE: Estimate(**cone), CURVATURE: Estimate(**curvature)}
    wanted = str(parse_goal(goal))
    (one,) = (
        e for e in trials.estimates if _is(e.experiment, net, "adam") and str(e.goal) == wanted
    )
    found["Adam"] = one.estimate
    (counted,) = (e for e in trials.experiments if _is(e.experiment, net, "lbfgs"))
    found["L-BFGS"] = counted.estimate(goal).estimate
    return found


def _is(experiment: Experiment | None, net: str, optimizer: str) -> bool:
    assert experiment is not None
    return experiment.problem["name"] == net and experiment.spec["optimizer"] == optimizer


def quotient(above: Estimate, below: Estimate) -> Estimate:
    """One over the other, their errors taken as independent on a log scale."""
    assert above.value
    assert below.value
    up = math.hypot(*(math.log(e) for e in (_up(above), _down(below))))
    down = math.hypot(*(math.log(e) for e in (_down(above), _up(below))))
    value = above.value / below.value
    status = below.status if above.ok else above.status
    return Estimate(
        value, value * math.exp(-down), value * math.exp(up), CONFIDENCE, above.samples, status
    )


def _up(estimate: Estimate) -> float:
    return (estimate.high or math.inf) / (estimate.value or 1)


def _down(estimate: Estimate) -> float:
    return (estimate.value or 1) / (estimate.low or 1)


def _problem(net: str) -> Problem:
    """The network with its data, as digits-mlp has them."""
    sizes = (64, *NETS[net], 10)
    make = partial(models.mlp, *sizes)
    train, test = data.digits(None, standardize=False)
    return Problem(
        make,
        train,
        test,
        name=net,
        identity={"name": net, "kind": "experiment", "data": tensor_digest(*train, *test)},
        init=models.he_normal(make, last=f"{2 * len(NETS[net]) + 1}.weight"),
    )


def _cone(lab: Lab, net: str, goal: str) -> dict[str, Any]:
    problem = _problem(net)
    found: ConeEstimate = cone_threshold(
        problem, goal, seed=0, directions=lab["directions"], steps=lab["steps"]
    )
    return _at_delta(found, problem.ambient_dim, found.status)


def _curvature(lab: Lab, net: str) -> dict[str, Any]:
    problem = _problem(net)
    levels = [parse_goal(goal).level for goal in GOALS]
    found = predict_threshold(problem, GOALS[-1], 0, levels=levels, probes=lab["probes"])
    return {
        str(one.level): _at_delta(
            one.estimate, problem.ambient_dim, "doubtful" if one.notes else one.estimate.status
        )
        for one in found.levels
        if one.estimate is not None
    }


def _at_delta(centre: Estimate, size: int, status: str) -> dict[str, Any]:
    """The d at 1 − δ for a centre of the transition and its interval, as plain data."""

    def moved(value: float | None) -> float:
        return Transition.from_stat_dim(size - (value or 0.0), size).threshold(size, DELTA)

    ends = {name: moved(getattr(centre, name)) for name in ("value", "low", "high")}
    return {
        **ends,
        "confidence": centre.confidence,
        "samples": centre.samples,
        "status": status,
    }
