"""What results show in a notebook: their own numbers, names escaped, long tables counted."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent / "success"))
from synthetic import grid, record

import subspan as ss
from subspan import notebook
from subspan.comparison.compare import table_of
from subspan.success import fit_threshold
from subspan.success.response import LearningRate

EVIL = "<script>alert(1)</script>"
TRIALS = grid([16, 32, 64, 128, 256], 10)


def cells(html: str) -> list[str]:
    return re.findall(r"<t[dh](?: [^>]*)?>(.*?)</t[dh]>", html)


def test_an_estimate_shows_its_interval() -> None:
    estimate = fit_threshold(TRIALS, "loss<=1")
    found = cells(estimate._repr_html_())
    assert found[7:10] == [f"{v:,}" for v in (estimate.value, estimate.low, estimate.high)]
    assert found[-1] == estimate.status


def test_an_estimate_at_the_best_learning_rate_says_which_and_what_it_cost() -> None:
    plain = fit_threshold(TRIALS, "loss<=1")
    rate = LearningRate(0.25, 0.125, 0.5)
    estimate = dataclasses.replace(plain, learning_rate=rate, design="joint", trainings=9.5)
    assert cells(estimate._repr_html_())[-5:] == ["9.5", "0.25", "0.125", "0.5", estimate.status]
    assert "lr" not in " ".join(cells(plain._repr_html_()))


def test_a_surface_shows_hits_of_trials() -> None:
    surface = ss.success_surface(TRIALS, ["loss<=1", "loss<=0.1"])
    found = cells(surface._repr_html_())
    assert found[:3] == ["goal", "d = 16", "d = 32"]
    own = surface.at("loss<=1")
    assert found[6:12] == ["loss&lt;=1", *(f"{c.successes}/{c.trials}" for c in own)]


def test_a_comparison_shows_its_verdicts() -> None:
    records = {"random": TRIALS, EVIL: [record(r.dim, r.trial.repeat, (2.3, 2.0)) for r in TRIALS]}
    problem: Any = SimpleNamespace(name="p", ambient_dim=2410, train_size=0)
    table = table_of(problem, records, "random", metric="train:loss")
    html = table._repr_html_()
    assert EVIL not in html
    assert [c for c in cells(html) if c in {r.verdict for r in table.rows}] == [
        row.verdict for row in table.rows
    ]


def test_a_record_shows_its_metrics_and_no_markup_of_its_own() -> None:
    one = record(16, 3, (2.3, 0.5, 0.75), problem=EVIL)
    html = one._repr_html_()
    assert EVIL not in html
    assert "&lt;script&gt;" in html
    found = cells(html)
    at = found.index("train:loss")
    assert found[at + 1 : at + 3] == ["0.5", "0.75"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (float("inf"), "∞"),
        (12345, "12,345"),
        (0.12345, "0.1235"),
        (True, "True"),
        ("a<b", "a&lt;b"),
    ],
)
def test_values(value: object, text: str) -> None:
    assert notebook.shown(value) == text


def test_a_long_table_is_counted() -> None:
    html = notebook.table("t", ["i"], [[i] for i in range(100)])
    assert html.count("<tr>") == notebook.MOST_ROWS + 1
    assert "40 more rows." in html
