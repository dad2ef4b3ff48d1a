"""`subspan compare`: methods at equal degrees of freedom, against the random-subspace null."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated

import typer

from subspan.cli import options
from subspan.cli.console import print_json, print_pairs, print_table, say, watch
from subspan.cli.rates import print_learning_rates

if TYPE_CHECKING:
    from subspan.comparison import ComparisonTable
    from subspan.problems.base import AbstractProblem
    from subspan.spec import TrainSpec
    from subspan.trials.function import FunctionTrainable, LoopSpec


@options.with_study
def command(
    problem: Annotated[
        list[str],
        typer.Argument(
            help="A problem, which `subspan problems` lists, or FILE.py:NAME, a Problem; or "
            "several FILE.py:NAME of functions made trainable, of which the first is the null."
        ),
    ],
    dims: Annotated[str, typer.Option(help="Degrees of freedom, like 8,32,128; 0 trains nothing.")],
    methods: Annotated[
        str | None,
        typer.Option(
            help="Methods for a problem, with commas between: {methods}. KEY=VALUE belongs to the "
            "method before it, as in random,lottery-ticket:rounds=5,rewind=64."
        ),
    ] = None,
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
        typer.Option(help="SPLIT:METRIC, like test:accuracy. Metrics: {metrics}."),
    ] = None,
    json: options.Json = False,
    figure: options.FigureStem = None,
    *,
    study: options.Study,
) -> None:
    """Hold methods against the random subspace, or functions against the first, at equal degrees
    of freedom."""
    import subspan
    from subspan.comparison import compare
    from subspan.subspaces.registry import parse_methods

    options.check_figure(figure)
    study.refuse_lr_range()
    chosen = () if methods is None else parse_methods(methods, map=study.map_name)
    sizes = options.integers("dims", dims)
    subject, spec = _subjects(problem, study)
    with watch(study.store) as progress:
        table = compare(
            subject,
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
            **study.running(),
        )
    drawn = draw(table, figure)
    if json:
        print_json({**table.to_json(), "store": study.store, "figures": drawn})
    else:
        print_comparison(table)
        print_pairs(("trials in", study.store), ("figure", ", ".join(map(str, drawn)) or None))


def _subjects(
    names: list[str], study: options.Study
) -> tuple[AbstractProblem | list[FunctionTrainable], TrainSpec | LoopSpec | None]:
    """Load the problem, or all functions, and how to train: None, each function as it says.

    Raises:
        InputError: problems among several, or an option that functions do not have.
    """
    from subspan.errors import invalid
    from subspan.problems.base import AbstractProblem
    from subspan.trials.function import FunctionTrainable

    files: dict[str, ModuleType] = {}
    loaded = [study.load(name, files) for name in names]
    functions = [found for found, _ in loaded if isinstance(found, FunctionTrainable)]
    if len(loaded) == 1 and isinstance(loaded[0][0], AbstractProblem):
        return loaded[0][0], loaded[0][1]
    if len(functions) < len(loaded):
        raise invalid(
            "problem",
            expected="one problem with --methods, or functions alone",
            got=", ".join(names),
        )
    if len(functions) == 1:
        raise invalid(
            "problem",
            expected="two functions or more, of which the first is the null",
            got=names[0],
            remedy="Name the others behind it.",
        )
    if study.map_name is not None:
        raise invalid("--map", expected="none for functions", got=repr(study.map_name))
    changed = any(spec != found.default_spec for found, spec in loaded)
    return functions, loaded[0][1] if changed else None


def print_comparison(table: ComparisonTable) -> None:
    """Print one row per method and dim, then a line in words per method."""
    say(f"{table.problem}, D = {table.ambient_dim:,}, best {table.metric.replace(':', ' ')}")
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
    print_learning_rates(table.learning_rates)
    for (method, goal), estimate in table.thresholds.items():
        say(f"{method}, {goal}: {estimate}")
    for goal in dict.fromkeys(goal for _, goal in table.thresholds):
        for method in table.methods:
            if (method, goal) not in table.thresholds:
                say(f"{method}, {goal}: d* not estimated, which takes trials at two dims or more")
    for line in table.summary():
        say(line)
    say(table.footer)


def draw(table: ComparisonTable, stem: Path | None) -> list[Path]:
    """Draw the comparison where a figure is wanted; return the files."""
    if stem is None:
        return []
    from subspan.report.comparison import compare_figure_data, draw_compare_figure
    from subspan.report.figure import save_figure

    return save_figure(draw_compare_figure(compare_figure_data(table)), stem)
