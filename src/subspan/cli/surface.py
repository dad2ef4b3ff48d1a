"""`subspan surface`: run a grid of dims and count the successes for any number of goals."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from subspan.cli import options
from subspan.cli.console import print_json, print_pairs, print_table, say, watch
from subspan.cli.rates import print_learning_rates
from subspan.errors import check_confidence

if TYPE_CHECKING:
    from subspan.success import SuccessSurface
    from subspan.success.surface import SurfaceCell


@options.with_study
def command(
    problem: options.ProblemName,
    dims: Annotated[str, typer.Option(help="Training dimensions, like 8,16,32.")],
    goals: Annotated[str, typer.Option(help='Goals, like "loss<=1,loss<=0.1".')],
    repeats: Annotated[int, typer.Option(help="Trials at each dimension.")] = 10,
    method: options.MethodText = "random",
    json: options.Json = False,
    figure: options.FigureStem = None,
    *,
    study: options.Study,
) -> None:
    """Measure the success probability over training dimension and goal, on a grid."""
    import subspan
    from subspan.trials.pilots import said_of

    options.check_figure(figure)
    check_confidence(study.confidence)
    wanted = [subspan.parse_goal(text) for text in goals.split(",")]
    sizes = options.integers("dims", dims)
    chosen = options.make_method(method, study.map_name)
    study.refuse_lr_range()
    loaded, spec = study.load(problem)
    way = options.method_for(loaded, method, chosen)
    options.check_goals(loaded, wanted)
    title = problem if way is None else f"{problem}, {method}"
    with watch(study.store) as progress:
        trials = subspan.run(
            loaded,
            way,
            dims=sizes,
            repeats=repeats,
            spec=spec,
            seed=study.seed,
            store=study.store,
            goal=wanted[0],
            progress=progress,
            **study.running(),
        )
    surface = subspan.success_surface(trials, wanted, study.confidence)
    drawn = draw(surface, figure)
    if json:
        print_json({**surface.to_json(), "store": study.store, "figures": drawn})
    else:
        say(f"{title}, D = {surface.ambient_dim:,}")
        print_surface(surface)
        print_learning_rates({method: surface.learning_rates} if surface.learning_rates else {})
        rates = said_of(surface.learning_rates)
        print_pairs(("seen", surface.endings.remark or None), ("chosen", rates or None))
        print_pairs(("trials in", study.store), ("figure", ", ".join(map(str, drawn)) or None))


def print_surface(surface: SuccessSurface) -> None:
    """Print one row per goal and dim."""
    print_table(
        ("goal", "d", "hits", "trials", "probability", "low", "high"),
        [
            (str(c.goal), c.dim, c.successes, c.trials, c.probability, c.low, c.high)
            for c in surface.cells
        ],
    )


def print_matrix(surface: SuccessSurface) -> None:
    """Print hits out of trials, a row per goal and a column per dim."""
    rows = []
    for goal in surface.goals:
        rows.append((str(goal), *(f"{c.successes}/{c.trials}" for c in surface.at(goal))))
    print_table(("hits at d =", *map(str, surface.dims)), rows)


def draw(surface: SuccessSurface, stem: Path | None) -> list[Path]:
    """Draw the phase diagram where a figure is wanted; return the files.

    One diagram has goals of one kind: where kinds are mixed, there is a figure of each.
    """
    if stem is None:
        return []
    from subspan.report.figure import save_figure
    from subspan.report.phase_diagram import draw_phase_diagram, phase_diagram_data

    kinds: dict[str, list[SurfaceCell]] = {}
    for cell in surface.cells:
        kinds.setdefault(f"{cell.goal.split}-{cell.goal.metric}", []).append(cell)
    files = []
    for kind, cells in kinds.items():
        data = phase_diagram_data(dataclasses.replace(surface, cells=tuple(cells)))
        name = stem if len(kinds) == 1 else stem.with_name(f"{stem.name}-{kind}")
        files += save_figure(draw_phase_diagram(data), name)
    return files
