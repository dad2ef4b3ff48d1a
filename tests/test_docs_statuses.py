"""A number in the docs that comes from an estimate whose status is not "ok" says so beside it.

The statuses stand in what the experiments stored. Every `value [low, high]` of a page that is one
of those has the status, or "not ok", in its own row or paragraph, or in the one that leads in its
table.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
STORED = sorted((ROOT / "experiments").rglob("*.json"))
TABLES = sorted((ROOT / "experiments").rglob("table.md"))
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "experiments").glob("*/README.md")),
]
_NUMBER = r"[-−]?\d[\d,]*(?:\.\d+)?"
_SAID = re.compile(rf"({_NUMBER})\*{{0,2}} \[({_NUMBER}), ({_NUMBER}|∞|–|…|None)\]")
_IN_A_TABLE = re.compile(_SAID.pattern + r", (not \w+|\w+ (?:range|reaches)|doubtful)")


class Interval(NamedTuple):
    """What a page says: three numbers as they are written; `high` may be open."""

    value: str
    low: str
    high: str


class Doubt(NamedTuple):
    """An estimate that is not "ok", and where it is stored."""

    value: float
    low: float
    high: float | None
    status: str
    where: str


def doubts(data: Any, where: str) -> Iterator[Doubt]:
    """Every estimate in JSON data whose status is not "ok".

    The adjusted p of a difference, `"p = 0.035 by Holm"`, stands in the same place and is no doubt.
    """
    if isinstance(data, dict):
        status, value = data.get("status"), data.get("value", data.get("d_star"))
        known = isinstance(value, int | float) and isinstance(data.get("low"), int | float)
        if isinstance(status, str) and status != "ok" and "by Holm" not in status and known:
            yield Doubt(value, data["low"], data.get("high"), status, where)
    children = data.items() if isinstance(data, dict) else enumerate(data)
    for key, child in children:
        if isinstance(child, dict | list):
            yield from doubts(child, f"{where}, {key}")


def stored() -> list[Doubt]:
    """What the experiments have: their JSON, and the lines of words in their tables."""
    found = []
    for path in STORED:
        found += doubts(json.loads(path.read_text(encoding="utf-8")), str(path.relative_to(ROOT)))
    for path in TABLES:
        for *said, status in _IN_A_TABLE.findall(path.read_text(encoding="utf-8")):
            low, value, high = (number(text) for text in (said[1], said[0], said[2]))
            assert low is not None
            assert value is not None
            found.append(Doubt(value, low, high, status, str(path.relative_to(ROOT))))
    return found


def number(text: str) -> float | None:
    """Return the number of a text like `−1,024.5`; None for an open end."""
    return float(text.replace(",", "").replace("−", "-")) if text[-1].isdigit() else None


def is_written(text: str, value: float | None) -> bool:
    """Whether a text is a number to the digits that it has."""
    told = number(text)
    if told is None or value is None:
        return told is value
    digits = len(text.partition(".")[2])
    return abs(told - value) <= 0.5 * 10.0**-digits + 1e-9


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """The rows, list items and paragraphs of a page, each with what leads in its table, if any."""
    lead = ""
    for block in re.split(r"\n\s*\n", text):
        if block.lstrip().startswith("|"):
            for row in block.splitlines():
                yield row, lead
        else:
            for item in re.split(r"\n(?=\s*- )", block):
                yield item, ""
            lead = block


def silent(text: str, known: list[Doubt]) -> list[str]:
    """What a page says of an estimate that is not ok without saying that."""
    wrong = []
    for block, lead in blocks(text):
        own = " ".join(block.split())
        beside = f"{' '.join(lead.split())} {own}"
        for said in map(Interval._make, _SAID.findall(own)):
            same = [d for d in known if all(map(is_written, said, d[:3]))]
            if same and not any(d.status in beside for d in same) and "not ok" not in beside:
                said_of = f"{same[0].status} in {same[0].where}"
                wrong.append(f"{said.value} [{said.low}, {said.high}]: {said_of}")
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_what_is_not_ok_is_said_to_be(page: Path) -> None:
    assert silent(page.read_text(encoding="utf-8"), stored()) == []


def test_the_experiments_have_doubts_that_pages_quote() -> None:
    known = stored()
    assert {"not converged", "doubtful"} <= {doubt.status for doubt in known}
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    quoted = [s for s in _SAID.findall(text) if any(all(map(is_written, s, d[:3])) for d in known)]
    assert len(quoted) >= 10


DOUBTS = [Doubt(340.8, 265.0, 446.0, "not converged", "a"), Doubt(556.0, 413.0, None, "b c", "d")]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("d\\* is 341 [265, 446].", 1),
        ("d\\* is 341 [265, 446],\nnot\nconverged.", 0),
        ("d\\* is 341 [265, 446].\n\nIt is not converged.", 1),
        ("d\\* is 340.8 [265, 446] and **556** [413, ∞].", 2),
        ("d\\* is 341 [265,\n446].", 1),
        ("d\\* is 342 [265, 446].", 0),
        ("| d | 341 [265, 446] |\n| not converged | 1 |", 1),
        ("Not all is ok here: not ok.\n\n| d |\n|---|\n| 341 [265, 446] |", 0),
        ("- 341 [265, 446]\n- not converged", 1),
    ],
)
def test_a_silent_page_is_found(text: str, count: int) -> None:
    assert len(silent(text, DOUBTS)) == count


def test_doubts_are_found_at_any_depth_and_p_values_are_none() -> None:
    one = {"value": 3, "low": 1, "high": None, "status": "not converged"}
    fine, tested = {**one, "status": "ok"}, {**one, "status": "p = 0.035 by Holm"}
    found = list(doubts({"a": [one, fine], "b": {"c": tested}}, "f"))
    assert found == [Doubt(3, 1, None, "not converged", "f, a, 0")]
