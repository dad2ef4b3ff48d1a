"""`subspan report`: a store as one page that can be sent to a colleague."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from subspan.cli import options
from subspan.cli.console import complain, print_json, say


def command(
    store: Annotated[str, typer.Argument(help="A store of trials: a file, or a PostgreSQL URL.")],
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("report.html"),
    goals: Annotated[
        str | None,
        typer.Option(help='Goals for the headline and the slider, like "accuracy>=0.9".'),
    ] = None,
    json: options.Json = False,
) -> None:
    """Write a store's results as one HTML page: words, figures, trials, how to make them again."""
    from subspan.report.page import write_page

    options.check_folder("--out", out.resolve().parent)
    complain(f"subspan: reading {store.split('@')[-1]}")
    page = write_page(store, out, goals=goals.split(",") if goals else ())
    size = out.stat().st_size
    if json:
        print_json({"page": out, "bytes": size, "headline": page.headline})
        return
    for line in page.headline:
        say(line)
    say(f"{out}: {size / 1e6:.1f} MB, {page.data['trials']:,} trials")
