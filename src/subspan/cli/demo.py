"""`subspan demo`: the main job on real data, in under a minute."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from subspan.cli import options, surface, threshold
from subspan.cli.console import print_json, print_pairs, say, watch
from subspan.cli.target import load_problem

PROBLEM = "digits-mlp"
GOAL = "loss<=0.1"
SURFACE_DIMS = (16, 32, 64, 96, 128, 192, 256)
SURFACE_GOALS = ("loss<=1", "loss<=0.5", "loss<=0.25", "loss<=0.1")
SURFACE_REPEATS = 4


def command(
    out: Annotated[Path, typer.Option(help="Folder for the store and the figures.")] = Path("demo"),
    json: options.Json = False,
    device: options.Device = None,
    workers: options.Workers = None,
) -> None:
    """Measure d* of a small network on handwritten digits, and draw the phase transition."""
    import subspan

    options.check_folder("--out", out)
    store = out / "runs.db"
    problem = load_problem(PROBLEM, None, None, device)
    method = subspan.RandomAffine()
    limits = options.given(workers=workers)
    with watch(store) as progress:
        estimate = subspan.threshold(
            problem, method, GOAL, seed=0, store=store, progress=progress, **limits
        )
        trials = subspan.run(
            problem,
            method,
            dims=SURFACE_DIMS,
            repeats=SURFACE_REPEATS,
            seed=0,
            store=store,
            progress=progress,
            **limits,
        )
    measured = subspan.success_surface(trials, SURFACE_GOALS)
    drawn = [
        *threshold.draw(estimate, out / f"{PROBLEM}-threshold"),
        *surface.draw(measured, out / f"{PROBLEM}-phase"),
    ]
    if json:
        print_json(
            {
                "threshold": estimate.to_json(),
                "surface": measured.to_json(),
                "store": store,
                "figures": drawn,
            }
        )
        return
    say(f"How many degrees of freedom does {PROBLEM} need to reach {GOAL}?")
    threshold.print_estimate(estimate)
    say(f"And over d and goal, at the one learning rate {trials[0].trial.spec['lr']:g}:")
    surface.print_matrix(measured)
    print_pairs(
        *(("figure", path) for path in drawn if path.suffix == ".png"),
        ("", "and .svg, .pdf beside them"),
        ("store", store),
        ("its trials", f"subspan trials {store}"),
    )
