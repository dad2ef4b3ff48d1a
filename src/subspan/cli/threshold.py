"""`subspan threshold`: measure the threshold training dimension d*."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from subspan.cli import options
from subspan.cli.console import cell, print_json, print_pairs, say, watch
from subspan.errors import invalid

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
    min_dim: Annotated[int | None, typer.Option(help="Smallest d to try (1).")] = None,
    max_dim: Annotated[
        int | None, typer.Option(help="Largest d to try (D, the number of weights).")
    ] = None,
    ratio: Annotated[
        float | None, typer.Option(help="Stop when the interval's high/low is at most this (1.5).")
    ] = None,
    max_trials: Annotated[
        int | None,
        typer.Option(help="Stop after this many trials (100; 1,000 at a learning rate given)."),
    ] = None,
    design: Annotated[
        str | None,
        typer.Option(
            help="joint (how good trials get, over d and lr) or binary (which of them succeed, at "
            "one lr); by default joint unless --lr gives a number."
        ),
    ] = None,
    check_budget: Annotated[
        bool,
        typer.Option("--check-budget", help="Measure again with twice the steps: does d* move?"),
    ] = False,
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
    from subspan.spec import AUTO, TENTH, TrainSpec

    options.check_figure(figure)
    wanted = subspan.parse_goal(goal)
    chosen = options.make_method(method, study.map_name)
    loaded, spec = study.load(problem, lr=None if design == "binary" else "auto")
    if isinstance(spec, TrainSpec) and spec.lr == AUTO and study.eval_every is None:
        spec = spec.replace(eval_every=spec.eval_every or TENTH)
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
            **options.given(min_dim=min_dim, max_dim=max_dim, ratio=ratio, max_trials=max_trials),
            **options.given(design=design, lr_range=study.lr_range),
            **study.running(),
            "check_budget": check_budget,
        }
        if diagnose:
            if check_budget:
                raise invalid("--check-budget", expected="none beside --diagnose", got="both")
            del arguments["check_budget"]
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
        ("lr", learning_rate(estimate)),
        ("status", f"{estimate.status}, {cost(estimate)}"),
        ("seen", estimate.seen or None),
        ("what to do", estimate.remedy or None),
        ("interval", estimate.caution or None),
        ("endings", estimate.endings.remark or None),
        ("note", estimate.note or None),
    )


def learning_rate(estimate: ThresholdEstimate) -> str | None:
    """Say which learning rate was best and how flat it is, or which one was fixed; None: none."""
    if estimate.lr is None:
        return None
    if estimate.lr_low is None:
        return f"{estimate.lr:.3g}, as given"
    if estimate.value is None:  # no d* to be higher or lower
        return f"{estimate.lr:.2g}, the best at d = {estimate.span.max_dim:,}"
    return (
        f"{estimate.lr:.2g}, the best; d* is at most a tenth higher from {estimate.lr_low:.2g} to "
        f"{estimate.lr_high:.2g}"
    )


def cost(estimate: ThresholdEstimate) -> str:
    """Say how many trials there were and what they cost."""
    trials = f"{estimate.trials} trials"
    if estimate.trainings is None:
        return trials
    return f"{trials}, {estimate.trainings:.1f} trainings"


def draw(estimate: ThresholdEstimate, stem: Path | None) -> list[Path]:
    """Draw the success curve, or the response surface of a joint design; return the files."""
    if stem is None:
        return []
    from subspan.report.figure import save_figure
    from subspan.report.response_surface import draw_response_surface, response_surface_data
    from subspan.report.success_curve import draw_success_curve, success_curve_data

    if estimate.at_best_lr:
        return save_figure(draw_response_surface(response_surface_data(estimate)), stem)
    return save_figure(draw_success_curve(success_curve_data(estimate)), stem)
