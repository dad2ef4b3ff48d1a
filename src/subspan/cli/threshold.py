"""`subspan threshold`: measure the threshold training dimension d*."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from subspan.cli import options
from subspan.cli.console import cell, print_json, watch

if TYPE_CHECKING:
    from subspan.problems.base import AbstractProblem
    from subspan.success.threshold import ThresholdEstimate


def command(
    problem: options.ProblemName,
    goal: Annotated[
        str,
        typer.Option(
            help="loss<=LEVEL or accuracy>=FRACTION, with test: in front if on test data."
        ),
    ],
    method: options.MethodText = "random",
    seed: options.Seed = 0,
    delta: Annotated[
        float, typer.Option(help="d* is where the success probability reaches 1 - delta.")
    ] = 0.1,
    confidence: Annotated[float, typer.Option(help="Confidence of the interval.")] = 0.95,
    ratio: Annotated[
        float | None, typer.Option(help="Stop when the interval's high/low is at most this.")
    ] = None,
    max_trials: Annotated[int | None, typer.Option(help="Stop after this many trials.")] = None,
    store: options.StorePath = None,
    json: options.Json = False,
    figure: options.FigureStem = None,
    map_name: options.MapName = None,
    data_dir: options.DataDir = None,
    subset: options.Subset = None,
    workers: options.Workers = None,
    optimizer: options.Optimizer = None,
    lr: options.LearningRate = None,
    epochs: options.Epochs = None,
    steps: options.Steps = None,
    batch_size: options.BatchSize = None,
    schedule: options.Schedule = None,
    eval_every: options.EvalEvery = None,
) -> None:
    """Measure d*, the fewest random degrees of freedom in which training reaches a goal."""
    import subspan

    wanted = subspan.parse_goal(goal)
    way = options.make_method(method, map_name)
    loaded = options.load_problem(problem, data_dir, subset)
    spec = options.make_spec(
        loaded,
        optimizer=optimizer,
        lr=lr,
        epochs=epochs,
        steps=steps,
        batch_size=batch_size,
        schedule=schedule,
        eval_every=eval_every,
    )
    limits = {"ratio": ratio, "max_trials": max_trials, "workers": workers}
    with watch(store) as progress:
        estimate = subspan.threshold(
            loaded,
            way,
            wanted,
            spec=spec,
            delta=delta,
            confidence=confidence,
            seed=seed,
            store=store,
            progress=progress,
            **{name: value for name, value in limits.items() if value is not None},
        )
    drawn = draw(estimate, figure)
    if json:
        print_json(
            {
                **as_json(estimate, loaded),
                "problem": problem,
                "method": method,
                "goal": str(wanted),
                "seed": seed,
                "delta": delta,
                "confidence": confidence,
                "spec": spec.to_json(),
                "store": None if store is None else str(store),
                "figures": drawn,
            }
        )
        return
    print(f"{problem}, {method}, {wanted}")
    print_estimate(estimate, loaded, confidence)
    for path in drawn:
        print(f"figure  {path}")
    if store is not None:
        print(f"trials  {store}")


def as_json(estimate: ThresholdEstimate, problem: AbstractProblem) -> dict[str, Any]:
    """Return the estimate as plain JSON data."""
    return {}


def print_estimate(
    estimate: ThresholdEstimate, problem: AbstractProblem, confidence: float
) -> None:
    """Print d* with its interval, D and D/d*."""


def draw(estimate: ThresholdEstimate, stem: Any) -> list[str]:
    """Draw the success curve if a figure is wanted; return the files' names."""
    return []
