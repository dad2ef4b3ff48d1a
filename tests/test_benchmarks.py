"""The table of benchmarks: what it says of its rows. No time is asserted, here or elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import table

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def test_a_row_says_whether_its_median_is_on_the_side_of_its_aim() -> None:
    assert table.Row("a", (1.0, 1.1, 9.0), 1.15).verdict == "met"
    assert table.Row("a", (1.0, 1.2, 9.0), 1.15).verdict == "missed"
    assert table.Row("a", (9.0, 11.0, 12.0), 10, "at least").verdict == "met"
    assert table.Row("a", (1.0,), 10, "at least").verdict == "missed"
    assert table.Row("a", (1.0,)).verdict == ""
    assert table.Row("a", aim=2.0, absent="no GPU").verdict == "not measured"
    assert table.line(table.Row("a", (1.0, 2.0, 3.0), 2.0, unit="ms")) == (
        "| a | 2 ms | 1.5–2.5 | 3 | at most 2 ms | met |"
    )


def test_ways_take_turns_and_the_first_turn_is_not_kept() -> None:
    order: list[str] = []
    now = iter(range(100))
    ways = {"plain": lambda: order.append("plain"), "ours": lambda: order.append("ours")}
    seconds = table.turns(ways, 2, clock=lambda: float(next(now)))
    assert order == ["plain", "ours"] * 3
    assert seconds == {"plain": [1.0, 1.0], "ours": [1.0, 1.0]}
    assert table.ratios({"plain": [2.0, 4.0], "ours": [1.0, 6.0]}, "plain") == {"ours": (0.5, 1.5)}


def test_every_script_of_the_table_yields_rows() -> None:
    for script in (BENCHMARKS / name for name in sorted(_scripts())):
        assert "def rows(quick: bool) -> Iterator[Row]:" in script.read_text()


def test_rows_of_scripts_that_were_not_run_stay_in_the_file(tmp_path: Path) -> None:
    import bench

    out = tmp_path / "bench.json"
    assert bench._other_rows(out, {}) == []
    out.write_text(json.dumps([{"name": "store", "median": 1}, {"name": "step", "median": 2}]))
    assert bench._other_rows(out, {"step": {}}) == [{"name": "store", "median": 1}]


def _scripts() -> set[str]:
    import bench

    return {f"{name}.py" for name in bench.SCRIPTS}


@pytest.mark.slow
def test_the_table_is_made_with_its_surroundings(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    command = [sys.executable, str(BENCHMARKS / "bench.py"), "--quick", "--only", "step"]
    told = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    rows = json.loads(out.read_text())
    assert len(rows) == 25
    assert {"median", "low", "high", "values", "aim", "verdict"} <= set(rows[0])
    around = json.loads(out.with_name("environment.json").read_text())
    assert {"torch", "cores", "load", "peak_mib", "date"} <= set(around["step"])
