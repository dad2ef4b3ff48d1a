"""Typeset mathematics when the site is built: LaTeX becomes MathML.

It stands between `$$ … $$`, or `\\( … \\)` within a line.

Browsers draw MathML by themselves, so that a page needs neither a network nor a script.
"""

from __future__ import annotations

import re

from latex2mathml.converter import convert

_CODE = re.compile(r"(```.*?```|`[^`\n]*`)", re.S)
_DISPLAY = re.compile(r"\$\$(.+?)\$\$", re.S)
_INLINE = re.compile(r"\\\((.+?)\\\)", re.S)

_FORMULA = '<div class="formula" tabindex="0">{}</div>'  # which scrolls where the screen is narrow


def typeset(markdown: str) -> str:
    """Return a page's Markdown with its formulas as MathML; code stays as it is."""
    parts = _CODE.split(markdown)
    for i in range(0, len(parts), 2):
        text = _DISPLAY.sub(lambda m: _FORMULA.format(_mathml(m[1], "block")), parts[i])
        parts[i] = _INLINE.sub(lambda m: _mathml(m[1], "inline"), text)
    return "".join(parts)


def _mathml(latex: str, display: str) -> str:
    return convert(" ".join(latex.split()), display=display).replace("\n", "")


def on_page_markdown(markdown: str, **_: object) -> str:
    """Called by mkdocs for every page."""
    return typeset(markdown)
