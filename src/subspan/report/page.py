"""`write_page`: a store as one HTML file that needs nothing else, neither network nor server."""

from __future__ import annotations

import contextlib
import html
import re
import shlex
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from subspan.errors import InputError, StoreError, invalid
from subspan.goals import Goal, parse_goal
from subspan.printable import printable
from subspan.report.noted import measured
from subspan.report.page_data import PageData, page_data, script_json
from subspan.report.page_noted import predictions_json, spectra_json
from subspan.report.stored import experiments
from subspan.success.noted import noted
from subspan.theory.spectra import noted_spectra
from subspan.trials import asked
from subspan.trials.stores.base import RecordStore
from subspan.trials.stores.registry import open_store
from subspan.version import VERSION

_D_STAR = re.compile(
    r"( in )([\d,]*\d(?: or fewer| or more| \[[^\]]*\])?)"
    r"((?:, if in any,)? of (?:its )?[\d,]+ degrees of freedom)"
)
_TOLD = 5  # results in words that are not folded
_SCRIPTS = (
    *("frame.js", "sketch.js", "theme.js", "figures.js", "theory.js"),
    *("controls.js", "tables.js", "start.js"),
)
_LATER = (
    "table",
    "curves",
    "predictions",
    "spectra",
)  # of the data: what the first picture does not wait for


def write_page(
    store: RecordStore | str | Path, out: str | Path, *, goals: Sequence[Goal | str] = ()
) -> PageData:
    """Write the report of a store: results in words, figures with a slider, tables, provenance.

    The file holds everything, plotly.js included (about 5 MB), and opens without a network. What
    users named is escaped. The same store gives the same bytes.

    Args:
        store: a store, its file, or its URL.
        out: the file to write, ending in .html; its folder is made if missing.
        goals: goals that must be on the slider and in the headline, beside those in the store.

    Returns:
        What the page shows.

    Raises:
        InputError: plotly is missing, or a goal does not parse.
        StoreError: the store cannot be read, or the file not written.
    """
    path = Path(out)
    if path.suffix not in (".html", ".htm"):
        raise invalid("out", expected="a file that ends in .html", got=repr(str(out)))
    library = plotly()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(path, error) from error
    name = name_of_store(getattr(store, "path", None) if isinstance(store, RecordStore) else store)
    with open_store(store, readonly=True) as opened:
        return _write(opened, name, path, goals, library)


def _write(
    store: RecordStore, name: str, path: Path, goals: Sequence[Goal | str], library: str
) -> PageData:
    commands = noted_commands(store)
    stored = experiments(store)
    names = {one.problem for one in stored}
    wanted = {"": [parse_goal(g) for g in goals]}
    for argv in commands:
        for problem in names & set(argv):
            wanted.setdefault(problem, []).extend(goals_in(argv))
    shown = [list(map(public, argv)) for argv in commands]
    estimates = tuple(noted(store))
    predicted = measured(store, stored, estimates)
    spectra = noted_spectra(store)
    data = page_data(
        stored,
        store=name,
        commands=[shlex.join(["subspan", *argv]) for argv in shown],
        asked=wanted,
        noted=estimates,
        predicted=predictions_json(predicted, name, shown),
        spectra=spectra_json(spectra, predicted, name, shown),
    )
    try:
        path.write_text(render(data, title=f"subspan: {name}", library=library), encoding="utf-8")
    except OSError as error:
        raise _cannot_write(path, error) from error
    return data


def _cannot_write(path: Path, error: OSError) -> StoreError:
    return StoreError(f"out: cannot write {path}: {error.strerror or error}. Choose another place.")


def render(data: PageData, *, title: str, library: str) -> str:
    """Return the page.

    Args:
        data: what it shows.
        title: of the page.
        library: the text of plotly.js.
    """
    parts = {
        "title": html.escape(title),
        "headline": _headline(data.headline),
        "version": html.escape(VERSION),
        "style": asset("colours.css") + asset("page.css"),
        "data": script_json({k: v for k, v in data.data.items() if k not in _LATER}),
        "later": script_json({k: data.data[k] for k in _LATER}),
        "library": library.replace("</script", "<\\/script"),
        "script": "\n".join(asset(name) for name in _SCRIPTS),
    }
    page = asset("page.html")
    pieces = page.split("{{")
    return pieces[0] + "".join(
        parts[name] + rest for name, _, rest in (piece.partition("}}") for piece in pieces[1:])
    )


def _headline(lines: Sequence[str]) -> str:
    """Return the results in words, those beyond the first few folded, so that a picture is near."""
    first, others = lines[:_TOLD], lines[_TOLD:]
    if len(others) == 1:
        first, others = lines, ()

    def listed(some: Sequence[str]) -> str:
        items = "\n".join(f"<li>{_with_weight(html.escape(printable(line)))}</li>" for line in some)
        return f"<ul>\n{items}\n</ul>"

    if not others:
        return listed(first)
    more = f"<details><summary>{len(others)} more</summary>\n{listed(others)}\n</details>"
    return f"{listed(first)}\n{more}"


def _with_weight(line: str) -> str:
    """Return a result in words, escaped, with d* set in bold: what the eye looks for."""
    return _D_STAR.sub(r"\1<strong>\2</strong>\3", line, count=1)


def noted_commands(store: RecordStore) -> list[list[str]]:
    """Return the arguments of the commands that a store notes, each once."""
    found = [list(map(str, claim.data.get("argv", ()))) for claim in store.claims(asked.COMMAND)]
    return list(map(list, dict.fromkeys(map(tuple, found))))


def goals_in(argv: Sequence[str]) -> list[Goal]:
    """Return the goals that a command line asks for."""
    found: list[Goal] = []
    for word in argv:
        told = word.partition("=")[2] if word.startswith("--goal") else word
        for text in told.split(","):
            with contextlib.suppress(InputError):
                found.append(parse_goal(text))
    return list(dict.fromkeys(found))


def name_of_store(store: str | Path | None) -> str:
    """Return how a page names a store: its file's name, or its URL without a password."""
    if store is None:
        return "runs.db"
    return public(str(store)) if "://" in str(store) else Path(store).name


def public(text: str) -> str:
    """Return a text, and of a database's URL what may be shown."""
    if "://" not in text:
        return text
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(text).render_as_string(hide_password=True)
    except ArgumentError:
        return text.split("://")[0] + "://…"


def plotly() -> str:
    """Return the text of plotly.js.

    Raises:
        InputError: plotly is not installed.
    """
    try:
        from plotly import offline
    except ImportError:
        raise invalid(
            "report",
            expected="plotly, which draws the page",
            got="none",
            remedy="pip install 'subspan[report]'",
        ) from None
    text: Any = offline.get_plotlyjs()
    return str(text)


def asset(name: str) -> str:
    """Return the text of one of the page's parts: a script, a style sheet."""
    return (resources.files("subspan.report") / "assets" / name).read_text(encoding="utf-8")
