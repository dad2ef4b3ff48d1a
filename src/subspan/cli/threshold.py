"""`subspan threshold`: measure the threshold training dimension d*."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from subspan.cli import options
from subspan.cli.console import cell, print_json, print_pairs, watch

if TYPE_CHECKING:
    from subspan.success import ThresholdEstimate


def command(
    problem: options.ProblemName,
    goal: Annotated[
        str,
        typer.Option(help="loss<=LEVEL or accuracy>=FRACTION, with test: in front for test data."),
    ],
    method: options.MethodText = "random",
    seed: options.Seed = 0,
    delta: Annotated[
        float, typer.Option(help="d* is where the success probability reaches 1 - delta.")
    ] = 0.1,
    confidence: options.Confidence = 0.95,
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
    chosen = options.make_method(method, map_name)
    loaded = options.load_problem(problem, data_dir, subset)
    spec = options.make_spec(
        loaded,
        batch_size,
        optimizer=optimizer,
        lr=lr,
        epochs=epochs,
        steps=steps,
        schedule=schedule,
        eval_every=eval_every,
    )
    with watch(store) as progress:
        estimate = subspan.threshold(
            loaded,
            chosen,
            wanted,
            spec=spec,
            delta=delta,
            confidence=confidence,
            seed=seed,
            store=store,
            progress=progress,
            **options.given(ratio=ratio, max_trials=max_trials, workers=workers),
        )
    drawn = draw(estimate, figure)
    if json:
        print_json({**estimate.to_json(), "store": store, "figures": drawn})
    else:
        print(f"{problem}, {method}, {wanted}")
        print_estimate(estimate)
        print_pairs(("trials in", store), ("figure", ", ".join(map(str, drawn)) or None))


def print_estimate(estimate: ThresholdEstimate) -> None:
    """Print d* with its interval, D, D/d* and whether to trust it."""
    interval = f"[{cell(estimate.low)}, {cell(estimate.high)}]"
    print_pairs(
        ("d*", f"{cell(estimate.value)}  {100 * estimate.confidence:g} % interval {interval}"),
        ("D", cell(estimate.ambient_dim)),
        ("D/d*", cell(estimate.compression)),
        ("status", f"{estimate.status}, {estimate.trials} trials"),
    )


def draw(estimate: ThresholdEstimate, stem: Path | None) -> list[Path]:
    """Draw the success curve where a figure is wanted; return the files."""
    if stem is None:
        return []
    from subspan.report.figure import save_figure
    from subspan.report.success_curve import draw_success_curve, success_curve_data

    return save_figure(draw_success_curve(success_curve_data(estimate)), stem)
