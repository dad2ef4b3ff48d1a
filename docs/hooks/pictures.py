"""Drawings of `docs/images/concepts` stand in the page itself, in the colour of its text.

Elsewhere, as on a forge, the same file is a picture that follows the reader's preference.
"""

from __future__ import annotations

import html
import re
from pathlib import Path

DOCS = Path(__file__).parents[1]
_PICTURE = re.compile(r"^!\[(?P<told>[^\]]*)\]\((?P<place>images/concepts/[\w-]+\.svg)\)$", re.M)


def on_page_markdown(markdown: str, **_: object) -> str:
    """Called by mkdocs for every page."""
    return _PICTURE.sub(lambda m: drawing(DOCS / m["place"], m["told"]), markdown)


def drawing(path: Path, told: str) -> str:
    """Return an SVG file as an element: its own style, which follows the system, is left out."""
    svg = re.sub(r"<style>.*?</style>", "", path.read_text("utf-8"), count=1, flags=re.S)
    svg = svg[svg.index("<svg") :].replace("\n", "")
    label = html.escape(told)
    return f'<div class="drawing" role="img" aria-label="{label}">{svg}</div>'
