"""Results as HTML for notebooks: a heading and a table, every text escaped."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence

MOST_ROWS = 60  # of a table; the rest is counted


def shown(value: object) -> str:
    """Return a value as a notebook shows it: numbers to four digits, a dash for what is not."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return html.escape(str(value))
    if isinstance(value, int):
        return f"{value:,}"
    return "∞" if math.isinf(value) else f"{value:.4g}"


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *notes: str) -> str:
    """Return a heading, a table and notes below.

    Args:
        title: in words.
        columns: names.
        rows: values, one a column; more than `MOST_ROWS` are counted, not shown.
        *notes: sentences; empty ones are left out.
    """
    body = [list(row) for row in rows]
    left = len(body) - MOST_ROWS
    said = [*notes, f"{left:,} more rows." if left > 0 else ""]
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in columns)
    lines = "".join(
        f"<tr>{''.join(f'<td>{shown(value)}</td>' for value in row)}</tr>"
        for row in body[:MOST_ROWS]
    )
    below = "".join(f"<p>{html.escape(note)}</p>" for note in said if note)
    return (
        f"<div><p><strong>{html.escape(title)}</strong></p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>{below}</div>"
    )
