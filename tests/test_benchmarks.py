"""The table of benchmarks: what it says of its rows. No time is asserted, here or elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import bench
import floors
import stages
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
        "| a | 2 ms | 1.5–2.5 | 3 |  | at most 2 ms | met |"
    )
    assert table.line(table.Row("a", (2.0,)), 1234.5) == "| a | 2 |  | 1 | 1,234 |  |  |"


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


def test_rows_are_kept_script_by_script_and_a_run_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "new" / "bench.json"
    one, two = table.Row("a", (1.0,), script="store"), table.Row("b", (2.0,), script="step")
    place = {"subspan": "0.1.0 (abc)", "quick": False, "peak_mib": 7}
    bench.kept(out, "store", [one], place)
    bench.kept(out, "step", [two], {**place, "subspan": "0.1.0 (abc, changed)"})
    assert bench.read(out) == [two, one]  # as the scripts are ordered
    bench.kept(out, "store", [table.Row("c", (3.0,), script="store")], place)
    assert [row.name for row in bench.read(out)] == ["b", "c"]  # what it no more measures is gone
    assert bench.done(out, "0.1.0 (abc)", False) == ["store"]
    assert bench.done(out, "0.1.0 (abc)", True) == bench.done(out, "0.1.0 (abd)", False) == []
    assert bench.done(out, "0.1.0 (abc, changed)", False) == []


def test_the_page_has_the_tables_of_the_file() -> None:
    page = (BENCHMARKS.parent / "docs" / "performance.md").read_text()
    assert page.count(table.HEAD) == page.count(floors.HEAD) == 1
    assert bench.with_tables(page, BENCHMARKS / "measured" / "bench.json") == page
    changed = page.replace("| met |", "| missed |", 1)
    assert bench.with_tables(changed, BENCHMARKS / "measured" / "bench.json") == page


def test_a_floor_is_the_larger_of_arithmetic_and_bytes() -> None:
    rates = (1e9, 1e8, 1e10)  # FLOP/s, bytes/s from memory and within a cache
    assert floors.floor(1e6, 1e7, rates) == 0.1
    assert floors.floor(1e9, 1e7, rates) == 1.0
    assert floors.floor(0.0, 1e6, rates) == 1e-4


def test_stages_count_what_their_shapes_say() -> None:
    network = next(stages.networks())  # 64-32-10 on 128 rows
    found = {s.name: s for s in stages.stages(network, 100)}
    products = 2 * 128 * (64 * 32 + 32 * 10)
    assert found["forward"].operations == products
    assert found["backward"].operations == 2 * products - 2 * 128 * 64 * 32  # no gradient of x
    size = 64 * 32 + 32 + 32 * 10 + 10
    assert found["partition and its adjoint, d = 100"].operations == 4 * size
    assert found["batch"].moved == 2 * (128 * 64 * 4 + 128 * 8)
    for stage in found.values():
        stage.run()


def _scripts() -> set[str]:
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
    assert {"torch", "cores", "load", "load_before", "peak_mib", "date"} <= set(around["step"])
