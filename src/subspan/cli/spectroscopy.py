"""`subspan spectroscopy`: the singular values of full-space training runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from subspan.cli import options
from subspan.cli.console import print_json, print_pairs, print_table, say
from subspan.errors import invalid, whole

if TYPE_CHECKING:
    from subspan.report.spectroscopy import SpectroscopyData

MOST_RUNS = 10_000


def command(
    problem: options.ProblemName,
    method: Annotated[
        str,
        typer.Option(help="The lottery subspace, like lottery-subspace:snapshots=200,every=5."),
    ] = "lottery-subspace",
    repeats: Annotated[int, typer.Option(help="Full-space runs.")] = 1,
    top: Annotated[int, typer.Option(help="How many singular values to print.")] = 10,
    seed: options.Seed = 0,
    data_dir: options.DataDir = None,
    subset: options.Subset = None,
    json: options.Json = False,
    figure: options.FigureStem = None,
) -> None:
    """Show which directions a full-space run moves in, and how far along each."""
    from subspan.report.spectroscopy import spectroscopy_data
    from subspan.subspaces import Draw, LotterySubspace, parse_method

    options.check_figure(figure)
    whole("--repeats", repeats, low=1, high=MOST_RUNS)
    whole("--top", top, low=1)
    chosen = parse_method(method)
    if not isinstance(chosen, LotterySubspace):
        raise invalid("--method", expected="a lottery subspace", got=repr(method))
    loaded = options.load_problem(problem, data_dir, subset)
    draws = [Draw(1, seed, repeat) for repeat in range(repeats)]
    paths = chosen.trajectories(loaded, draws)
    data = spectroscopy_data(paths, loaded.name)
    drawn = draw(data, figure)
    values = [path.singular_values.tolist() for path in paths]
    if json:
        print_json(
            {
                "problem": loaded.name,
                "ambient_dim": loaded.ambient_dim,
                "method": chosen.config(),
                "seed": seed,
                "search_steps": chosen.search_steps(loaded),
                "singular_values": values,
                "energy": data.energy,
                "dims_for": data.dims_for,
                "figures": drawn,
            }
        )
        return
    say(f"{loaded.name}, D = {loaded.ambient_dim:,}, {chosen.search_steps(loaded):,} steps")
    print_table(
        ("run", "i", "singular value", "to the first", "energy up to i"),
        [
            (repeat, i + 1, values[repeat][i], float(data.relative[repeat][i]), float(energy[i]))
            for repeat, energy in enumerate(data.energy)
            for i in range(min(top, len(energy)))
        ],
    )
    shares = [(f"{100 * share:g} %", f"d = {dim}") for share, dim in data.dims_for.items()]
    print_pairs(*shares, ("figure", ", ".join(map(str, drawn)) or None))


def draw(data: SpectroscopyData, stem: Path | None) -> list[Path]:
    """Draw the spectroscopy where a figure is wanted; return the files."""
    if stem is None:
        return []
    from subspan.report.figure import save_figure
    from subspan.report.spectroscopy import draw_spectroscopy

    return save_figure(draw_spectroscopy(data), stem)
