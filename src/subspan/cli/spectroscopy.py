"""`subspan spectroscopy`: the singular values of full-space training runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from subspan.cli import options
from subspan.cli.console import noting, print_json, print_pairs, print_table, say
from subspan.cli.target import load_problem
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
    device: options.Device = None,
    store: Annotated[
        str | None,
        typer.Option(
            "--store", help="Where each run is noted, beside trials; it is not trained again."
        ),
    ] = None,
    json: options.Json = False,
    figure: options.FigureStem = None,
) -> None:
    """Show which directions a full-space run moves in, and how far along each."""
    from subspan.report.spectroscopy import spectroscopy_data
    from subspan.subspaces import LotterySubspace, parse_method
    from subspan.theory import spectroscopy

    options.check_figure(figure)
    whole("--repeats", repeats, low=1, high=MOST_RUNS)
    whole("--top", top, low=1)
    chosen = parse_method(method)
    if not isinstance(chosen, LotterySubspace):
        raise invalid("--method", expected="a lottery subspace", got=repr(method))
    loaded = load_problem(problem, data_dir, subset, device)
    with noting(store):
        spectra = spectroscopy(loaded, chosen, repeats=repeats, seed=seed, store=store)
    data = spectroscopy_data(spectra, loaded.name)
    drawn = draw(data, figure)
    values = spectra.singular_values
    if json:
        print_json(
            {
                "problem": loaded.name,
                "ambient_dim": loaded.ambient_dim,
                "method": chosen.config(),
                "seed": seed,
                "search_steps": spectra.search_steps,
                "singular_values": values,
                "energy": data.energy,
                "dims_for": data.dims_for,
                "figures": drawn,
            }
        )
        return
    say(f"{loaded.name}, D = {loaded.ambient_dim:,}, {spectra.search_steps:,} steps")
    print_table(
        ("run", "i", "singular value", "to the first", "energy up to i"),
        [
            (repeat, i + 1, values[repeat][i], float(data.relative[repeat][i]), float(energy[i]))
            for repeat, energy in enumerate(data.energy)
            for i in range(min(top, len(energy)))
        ],
    )
    shares = [(f"{100 * share:g} %", f"d = {dim}") for share, dim in data.dims_for.items()]
    found = ", ".join(map(str, drawn)) or None
    print_pairs(*shares, ("figure", found), ("noted in", store))


def draw(data: SpectroscopyData, stem: Path | None) -> list[Path]:
    """Draw the spectroscopy where a figure is wanted; return the files."""
    if stem is None:
        return []
    from subspan.report.figure import save_figure
    from subspan.report.spectroscopy import draw_spectroscopy

    return save_figure(draw_spectroscopy(data), stem)
