"""Any input at any door: refused by one of the library's own errors, or right.

Quick: the corpus, and some cases of each property. A million cases, in one command:

    python -m pytest -m slow tests/fuzz

Cases come in lots of a thousand, and a lot's number is its seed. `SUBSPAN_FUZZ_CASES` is another
number of cases, `SUBSPAN_FUZZ_LOG` a file that is told each lot that held, with its seconds, and
that says which need not be tried again. What fails is shrunk and printed; put it into the corpus, a
file of JSON for each property.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from properties import PROPERTIES, read_record, strict

CORPUS = Path(__file__).parent / "corpus"
MILLION = int(os.environ.get("SUBSPAN_FUZZ_CASES", "1000000"))
LOG = os.environ.get("SUBSPAN_FUZZ_LOG")
LOT = 1000


def tried(name: str, cases: int, lot: int = 0) -> int:
    """Try a property on so many cases, the same for a lot's number; return how many there were."""
    count = 0

    @seed(lot)
    @settings(
        max_examples=cases,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(PROPERTIES[name].cases)
    def run(case: Any) -> None:
        nonlocal count
        count += 1
        PROPERTIES[name].holds(case)

    run()
    return count


def as_case(value: Any) -> Any:
    """JSON has no tuples: lists that stand for them become tuples, as the strategies make them."""
    if isinstance(value, dict) and value.keys() == {"tuple"}:
        return tuple(as_case(v) for v in value["tuple"])
    if isinstance(value, dict) and value.keys() == {"repeat", "times"}:
        return value["repeat"] * value["times"]
    if isinstance(value, dict) and value.keys() == {"ten_to"}:
        return 10 ** value["ten_to"]
    if isinstance(value, list):
        return [as_case(v) for v in value]
    return {k: as_case(v) for k, v in value.items()} if isinstance(value, dict) else value


def corpus() -> list[Any]:
    found = []
    for path in sorted(CORPUS.glob("*.json")):
        for i, case in enumerate(json.loads(path.read_text(encoding="utf-8"))):
            found.append(pytest.param(path.stem, as_case(case), id=f"{path.stem}-{i}"))
    return found


@pytest.mark.parametrize(("name", "case"), corpus())
def test_cases_that_failed_once(name: str, case: Any) -> None:
    holds = {"record-texts": read_record, "texts": strict}.get(name)
    (holds or PROPERTIES[name].holds)(case)


@pytest.mark.parametrize("name", PROPERTIES)
def test_some_cases(name: str) -> None:
    assert tried(name, PROPERTIES[name].quick) > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", PROPERTIES)
def test_a_million_cases(name: str) -> None:
    wanted, log = round(MILLION * PROPERTIES[name].share), Path(LOG or os.devnull)
    known = set(log.read_text(encoding="utf-8").splitlines()) if log.exists() else set()
    held = {tuple(line.split()[:3]) for line in known}
    for lot, cases in enumerate(lots(wanted), 1):
        if (name, str(lot), str(cases)) in held:
            continue
        clock = time.process_time()
        made = tried(name, cases, lot)
        assert made >= cases
        with log.open("a", encoding="utf-8") as file:
            file.write(f"{name} {lot} {cases} {made} {time.process_time() - clock:.1f}\n")


def lots(cases: int) -> list[int]:
    return [min(LOT, cases - i) for i in range(0, cases, LOT)]


def test_the_shares_make_a_million() -> None:
    assert sum(sum(lots(round(10**6 * p.share))) for p in PROPERTIES.values()) == 10**6


def test_a_property_that_does_not_hold_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(text: str) -> None:
        assert "<=" not in text

    monkeypatch.setitem(PROPERTIES, "goals", PROPERTIES["goals"]._replace(holds=wrong))
    with pytest.raises(AssertionError):
        tried("goals", 200)
