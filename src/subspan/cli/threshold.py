"""`subspan threshold`: measure the threshold training dimension d*."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from subspan.cli import options
from subspan.cli.console import cell, print_json, print_pairs, watch

if TYPE_CHECKING:
    from subspan.success import ThresholdEstimate


@options.with_study
def command(
    problem: options.ProblemName,
    goal: Annotated[
        str,
        typer.Option(help="loss<=LEVEL or accuracy>=FRACTION, with test: in front for test data."),
    ],
    method: options.MethodText = "random",
    delta: Annotated[
        float, typer.Option(help="d* is where the success probability reaches 1 - delta.")
    ] = 0.1,
    ratio: Annotated[
        float | None, typer.Option(help="Stop when the interval's high/low is at most this.")
    ] = None,
    max_trials: Annotated[int | None, typer.Option(help="Stop after this many trials.")] = None,
    json: options.Json = False,
    figure: options.FigureStem = None,
    *,
    study: options.Study,
) -> None:
    """Measure d*, the fewest random degrees of freedom in which training reaches a goal."""
    import subspan

    wanted = subspan.parse_goal(goal)
    chosen = options.make_method(method, study.map_name)
    loaded, spec = study.load(problem)
    with watch(study.store) as progress:
        estimate = subspan.threshold(
            loaded,
            chosen,
            wanted,
            spec=spec,
            delta=delta,
            confidence=study.confidence,
            seed=study.seed,
            store=study.store,
            progress=progress,
            **options.given(ratio=ratio, max_trials=max_trials, workers=study.workers),
        )
    drawn = draw(estimate, figure)
    if json:
        print_json({**estimate.to_json(), "store": study.store, "figures": drawn})
    else:
        print(f"{problem}, {method}, {wanted}")
        print_estimate(estimate)
        print_pairs(("trials in", study.store), ("figure", ", ".join(map(str, drawn)) or None))


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
