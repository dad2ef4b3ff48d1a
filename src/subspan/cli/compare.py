"""`subspan compare`: methods at equal degrees of freedom, against the random-subspace null."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from subspan.cli import options
from subspan.cli.console import print_json, print_pairs, print_table, watch

if TYPE_CHECKING:
    from subspan.comparison import ComparisonTable


@options.with_study
def command(
    problem: options.ProblemName,
    methods: Annotated[
        str,
        typer.Option(
            help="Methods, like random,burn-in:64,lottery-ticket:rounds=5,rewind=64,random-mask,"
            "snip,last-layer,low-rank-fixed-factor. KEY=VALUE belongs to the method before it."
        ),
    ],
    dims: Annotated[str, typer.Option(help="Degrees of freedom, like 8,32,128.")],
    repeats: Annotated[
        int | None,
        typer.Option(
            help="Trials of each method at each dim; by default, as many as a verdict needs."
        ),
    ] = None,
    goals: Annotated[
        str | None, typer.Option(help='Goals for d* of each method, like "accuracy>=0.9".')
    ] = None,
    matched: Annotated[
        bool, typer.Option("--matched", help="Same total steps for all, search included.")
    ] = False,
    metric: Annotated[
        str | None,
        typer.Option(help="test:accuracy, train:accuracy, test:loss or train:loss."),
    ] = None,
    json: options.Json = False,
    figure: options.FigureStem = None,
    *,
    study: options.Study,
) -> None:
    """Hold methods against the random subspace at equal degrees of freedom."""
    import subspan
    from subspan.comparison import compare
    from subspan.errors import invalid
    from subspan.subspaces.registry import parse_methods
    from subspan.trials.function import FunctionTrainable

    options.check_figure(figure)
    chosen = parse_methods(methods, map=study.map_name)
    sizes = options.integers("dims", dims)
    loaded, spec = study.load(problem)
    if isinstance(loaded, FunctionTrainable):
        raise invalid("problem", expected="a problem, for methods", got=repr(loaded))
    with watch(study.store) as progress:
        table = compare(
            loaded,
            chosen,
            sizes,
            repeats,
            spec,
            study.seed,
            study.store,
            goals=[subspan.parse_goal(text) for text in goals.split(",")] if goals else (),
            metric=metric,
            matched=matched,
            confidence=study.confidence,
            progress=progress,
            **study.running,
        )
    drawn = draw(table, figure)
    if json:
        print_json({**table.to_json(), "store": study.store, "figures": drawn})
    else:
        print_comparison(table)
        print_pairs(("trials in", study.store), ("figure", ", ".join(map(str, drawn)) or None))


def print_comparison(table: ComparisonTable) -> None:
    """Print one row per method and dim, then a line in words per method."""
    print(f"{table.problem}, D = {table.ambient_dim:,}, best {table.metric.replace(':', ' ')}")
    print_table(
        (
            *("method", "d", "D/d", "mean", "low", "high", "diverged", "failed"),
            *("to the null", "from", "to", "pairs", "p (Holm)", "verdict"),
            *("search steps", "search bits", "all steps"),
        ),
        [
            (
                *(row.method, row.dim, row.compression, row.value, row.low, row.high),
                *(
                    row.diverged,
                    row.failed,
                    row.difference,
                    row.difference_low,
                    row.difference_high,
                ),
                *(row.pairs or None, row.p_adjusted, row.verdict),
                *(row.search_steps, row.search_bits, row.total_steps),
            )
            for row in table.rows
        ],
    )
    for (method, goal), estimate in table.thresholds.items():
        print(f"{method}, {goal}: {estimate}")
    for goal in dict.fromkeys(goal for _, goal in table.thresholds):
        for method in table.methods:
            if (method, goal) not in table.thresholds:
                print(f"{method}, {goal}: d* not estimated, which takes trials at two dims or more")
    for line in table.summary():
        print(line)
    print(table.footer)


def draw(table: ComparisonTable, stem: Path | None) -> list[Path]:
    """Draw the comparison where a figure is wanted; return the files."""
    if stem is None:
        return []
    from subspan.report.comparison import compare_figure_data, draw_compare_figure
    from subspan.report.figure import save_figure

    return save_figure(draw_compare_figure(compare_figure_data(table)), stem)
