"""`subspan threshold`: measure the threshold training dimension d*."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from subspan.cli import options
from subspan.cli.console import cell, print_json, print_pairs, say, watch

if TYPE_CHECKING:
    from subspan.success import Diagnosis, ThresholdEstimate


@options.with_study
def command(
    problem: options.ProblemName,
    goal: Annotated[
        str,
        typer.Option(
            help="METRIC<=LEVEL or >=, like loss<=0.1 or, on other data, test:accuracy>=0.9. "
            "Metrics: {metrics}."
        ),
    ],
    method: options.MethodText = "random",
    delta: Annotated[
        float, typer.Option(help="d* is where the success probability reaches 1 - delta.")
    ] = 0.1,
    ratio: Annotated[
        float | None, typer.Option(help="Stop when the interval's high/low is at most this (1.5).")
    ] = None,
    max_trials: Annotated[
        int | None, typer.Option(help="Stop after this many trials (200).")
    ] = None,
    json: options.Json = False,
    figure: options.FigureStem = None,
    diagnose: Annotated[
        bool,
        typer.Option(
            "--diagnose",
            help="Measure d* with a stronger optimiser too: infeasible or badly optimised?",
        ),
    ] = False,
    *,
    study: options.Study,
) -> None:
    """Measure d*, the fewest random degrees of freedom in which training reaches a goal."""
    import subspan

    options.check_figure(figure)
    wanted = subspan.parse_goal(goal)
    chosen = options.make_method(method, study.map_name)
    loaded, spec = study.load(problem)
    way = options.method_for(loaded, method, chosen)
    title = problem if way is None else f"{problem}, {method}"
    diagnosis: Diagnosis | None = None
    with watch(study.store) as progress:
        arguments: dict[str, Any] = {
            "spec": spec,
            "delta": delta,
            "confidence": study.confidence,
            "seed": study.seed,
            "store": study.store,
            "progress": progress,
            **options.given(ratio=ratio, max_trials=max_trials),
            **study.running(),
        }
        if diagnose:
            diagnosis = subspan.diagnose(loaded, way, wanted, **arguments)
            estimate = diagnosis.usual
        else:
            estimate = subspan.threshold(loaded, way, wanted, **arguments)
    drawn = draw(estimate, figure)
    if json:
        found = {} if diagnosis is None else {"diagnosis": diagnosis.to_json()}
        print_json({**estimate.to_json(), **found, "store": study.store, "figures": drawn})
        return
    say(f"{title}, {wanted}")
    print_estimate(estimate)
    print_pairs(("trials in", study.store), ("figure", ", ".join(map(str, drawn)) or None))
    if diagnosis is not None:
        if not diagnosis.already_exact:
            say(f"the same with {diagnosis.stronger_name}")
            print_estimate(diagnosis.stronger)
        say(diagnosis.verdict)


def print_estimate(estimate: ThresholdEstimate) -> None:
    """Print d* with its interval, D, D/d* and whether to trust it."""
    interval = f"[{cell(estimate.low)}, {cell(estimate.high)}]"
    print_pairs(
        ("d*", f"{cell(estimate.value)}  {100 * estimate.confidence:g} % interval {interval}"),
        ("D", cell(estimate.ambient_dim)),
        ("D/d*", cell(estimate.compression)),
        ("status", f"{estimate.status}, {estimate.trials} trials"),
        ("seen", estimate.seen or None),
        ("what to do", estimate.remedy or None),
    )


def draw(estimate: ThresholdEstimate, stem: Path | None) -> list[Path]:
    """Draw the success curve where a figure is wanted; return the files."""
    if stem is None:
        return []
    from subspan.report.figure import save_figure
    from subspan.report.success_curve import draw_success_curve, success_curve_data

    return save_figure(draw_success_curve(success_curve_data(estimate)), stem)
