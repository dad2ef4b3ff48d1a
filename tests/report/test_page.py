"""The page: its numbers are the library's, its names are escaped, its size is bounded."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import math
import re
import shutil
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import page_store

import subspan as ss
from subspan.errors import InputError, StoreError
from subspan.goals import parse_goal
from subspan.report import page as pages
from subspan.report import page_data as data_of_pages
from subspan.report import page_trials
from subspan.report.against_null import comparisons
from subspan.report.levels import levels_of
from subspan.report.page import render, write_page
from subspan.report.page_data import PageData, page_data
from subspan.report.stored import experiments
from subspan.report.words import d_star, goal_in_words
from subspan.trials.function import LoopSpec
from subspan.trials.stores.sql import Store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page_store.make(tmp_path_factory.mktemp("page") / "runs.db")


@pytest.fixture(autouse=True, scope="module")
def _few_fits() -> Iterator[None]:
    """Few levels, so that a page takes a second or two."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data_of_pages, "FITS", 40)
        patch.setattr(data_of_pages, "LEVELS", (2, 3))
        yield


@pytest.fixture(scope="module")
def written(store: Path) -> tuple[PageData, str]:
    pytest.importorskip("plotly", reason="the page is drawn by plotly: pip install subspan[report]")
    out = store.parent / "report.html"
    return write_page(store, out), out.read_text(encoding="utf-8")


def find(data: dict[str, Any], problem: str) -> dict[str, Any]:
    return next(p for p in data["problems"] if p["name"] == problem)


def test_numbers_are_those_of_the_library(store: Path, written: tuple[PageData, str]) -> None:
    stored = {s.id: s for s in experiments(store)}
    digits = find(written[0].data, "digits")
    metric = next(m for m in digits["metrics"] if m["name"] == "train:loss")
    checked = 0
    for one in digits["experiments"]:
        own = stored[one["id"]]
        counted = one["counted"]["train:loss"]
        surface = own.surface(metric["goals"])
        for goal, level in zip(metric["goals"], counted["levels"], strict=True):
            cells = surface.at(goal)
            assert [c.dim for c in cells] == counted["dims"]
            assert [c.successes for c in cells] == level["wins"]
            assert [c.trials for c in cells] == level["totals"]
            assert level["low"] == pytest.approx([c.low for c in cells], rel=1e-3)
            estimate = own.estimate(goal)
            shown = (level["d"]["value"], level["d"]["low"], level["d"]["high"])
            assert shown == (estimate.value, estimate.low, estimate.high)
            assert level["d"]["status"] == estimate.status
            checked += 1
    assert checked >= 15


def test_verdicts_at_two_learning_rates_say_which_they_are_of() -> None:
    random, burn = ({"name": n, "map": "hadamard"} for n in ("random", "burn-in"))
    rates = (0.05, 0.2)
    one, two = ([r for lr in rates[:n] for r in both(random, burn, lr)] for n in (1, 2))
    (line,) = verdicts(one)
    assert line.startswith("digits: burn-in")
    lines = verdicts(two)
    assert len(set(lines)) == 2
    assert all(any(f"lr {lr:g}" in line.split(": ")[0] for line in lines) for lr in rates)


def both(random: dict[str, object], burn: dict[str, object], lr: float) -> list[ss.TrialRecord]:
    slow = page_store.of_method(random, 1.0, lr=lr)
    return slow + page_store.of_method({**burn, "steps": 16}, 0.5, lr=lr)


def verdicts(records: list[ss.TrialRecord]) -> list[str]:
    lines = page_data(experiments(records)).headline
    return [line for line in lines if "null" in line or "not tested" in line]


def test_the_headline_says_what_was_asked_for(written: tuple[PageData, str]) -> None:
    page, _ = written
    stored = next(
        s
        for s in experiments(page_store.records())
        if s.experiment.method["name"] == "random" and s.lr == 0.05
        if s.experiment.problem["name"] == "digits"
    )
    estimate = stored.estimate("loss<=0.1")
    first = next(line for line in page.headline if line.startswith("digits"))
    assert f"training loss ≤ 0.1 in {d_star(estimate)} of 2,410 degrees of freedom" in first
    assert "40 trials (random, lr 0.05, the best of 3 tried)" in first
    assert any(page_store.EVIL in line and "val reward ≥ 20" not in line for line in page.headline)
    assert any(line.startswith("lonely: 1 trials, too few dims") for line in page.headline)
    (table,) = (c.table for c in comparisons(experiments(page_store.records())))
    assert table.null == "random"
    assert [line for line in page.headline if "burn-in" in line] == [
        f"digits: {line}." for line in table.summary()
    ]


@pytest.mark.parametrize(
    ("goal", "words"),
    [
        ("accuracy>=0.9", "90 % training accuracy"),
        ("test:accuracy>=0.985", "98.5 % test accuracy"),
        ("val:perplexity<=20", "validation perplexity ≤ 20"),
        ("reward>=-3", "training reward ≥ -3"),
    ],
)
def test_goals_in_words(goal: str, words: str) -> None:
    assert goal_in_words(parse_goal(goal)) == words


class Tags(HTMLParser):
    """The elements of a page and their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_what_users_name_is_escaped(written: tuple[PageData, str]) -> None:
    page, text = written
    assert page_store.EVIL in json.dumps(page.data, ensure_ascii=False).replace('\\"', '"')
    assert page_store.EVIL not in text
    tags = Tags(text).found
    assert [name for name, _ in tags].count("script") == 4
    assert not [tag for tag in tags if tag[0] == "img" or "onerror" in tag[1]]


def test_nothing_is_fetched_and_nothing_private_is_told(written: tuple[PageData, str]) -> None:
    _, text = written
    for tag, attributes in Tags(text).found:
        for name in ("src", "href"):
            link = attributes.get(name) or ""
            assert link.startswith(("data:", "#")) or not link, (tag, link)
    assert "password1" not in text
    assert "secret/place" not in text
    assert "subspan threshold digits --goal 'loss\\u003c=0.1'" in text


def test_the_same_store_gives_the_same_page(store: Path, written: tuple[PageData, str]) -> None:
    again = store.parent / "again.html"
    write_page(store, again)
    assert again.read_text(encoding="utf-8") == written[1]


def test_the_commands_on_the_page_make_its_figures(
    store: Path, written: tuple[PageData, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Python that the page's script prints for each figure runs, with the ids of this store."""
    script = (Path(pages.__file__).parent / "assets" / "figures.js").read_text(encoding="utf-8")
    named = set(re.findall(r"ss\.report\.(\w+)", script))
    assert not re.search(
        r"ss\.report", (Path(pages.__file__).parent / "assets" / "theory.js").read_text()
    )
    assert len(named) >= 12
    monkeypatch.chdir(tmp_path)
    shutil.copy(store, "runs.db")
    digits = next(e for e in find(written[0].data, "digits")["experiments"] if e["null"])
    code = {
        "phase": f'stored = ss.report.experiment("runs.db", "{digits["id"]}")\n'
        'surface = stored.surface(["loss<=0.5", "loss<=0.1"])\n'
        "figure = ss.report.draw_phase_diagram(ss.report.phase_diagram_data(surface))",
        "curve": 'estimate = stored.estimate("loss<=0.1")\n'
        "ss.report.draw_success_curve(ss.report.success_curve_data(estimate))",
        "goals": 'stored = ss.report.experiments("runs.db")\n'
        'data = ss.report.thresholds_data(stored, ["loss<=0.5", "loss<=0.1"])\n'
        "ss.report.draw_thresholds(data)\nss.report.draw_burn_in(data)",
        "response": f'own = [s for s in stored if s.family == "{digits["family"]}"]\n'
        'ss.report.draw_lr_grid(ss.report.lr_grid_data(own, "loss<=0.1"))',
        "null": "table = ss.report.comparisons(stored)[0].table\n"
        "ss.report.draw_compare_figure(ss.report.compare_figure_data(table))",
        "learning": "records = [r for r in stored[0].records if r.curve][:2]\n"
        "data = ss.report.learning_curves_data(records, records[0].metrics)\n"
        "figure = ss.report.draw_learning_curves(data)\n"
        'ss.report.save_figure(figure, "out/learning-curve")',
    }
    told = [*written[0].data["predictions"], *written[0].data["spectra"]]
    assert len(told) == 5
    code |= {str(i): one["again"] for i, one in enumerate(told)}
    namespace: dict[str, object] = {"ss": ss}
    with contextlib.redirect_stdout(io.StringIO()):
        for text in code.values():
            exec(text, namespace)
    assert named <= {name for text in code.values() for name in re.findall(r"report\.(\w+)", text)}


def many(trials: int) -> list[Any]:
    base = page_store.of_method({"name": "random", "map": "hadamard"}, 1.0)
    return [
        dataclasses.replace(r, trial=dataclasses.replace(r.trial, repeat=k * 8 + r.trial.repeat))
        for k in range(trials // len(base))
        for r in base
    ]


def test_a_large_store_is_aggregated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_trials, "ROWS", 100)
    monkeypatch.setattr(page_trials, "CURVES", 7)
    trials = many(400)
    page = page_data(experiments(trials))
    assert page.data["trials"] == 400
    assert page.data["table"]["all"] == 400
    assert page.data["table"]["shown"] == len(page.data["table"]["d"]) == 100
    assert set(page.data["table"]["d"]) == set(page_store.DIMS)  # all dims are there
    assert len(page.data["curves"]) == 7
    counted = page.data["problems"][0]["experiments"][0]["counted"]["train:loss"]
    assert counted["levels"][0]["totals"] == [80] * 5  # every trial counts


def test_results_beyond_the_first_few_are_folded_and_none_is_lost() -> None:
    def made(n: int) -> str:
        lines = tuple(f"line {i} <b>" for i in range(n))
        return pages._headline(lines)

    assert "details" not in made(6)  # one alone is not folded
    folded = made(9)
    assert folded.count("<li>") == 9
    assert folded.index("line 4 &lt;b&gt;") < folded.index("<summary>4 more</summary>")
    assert folded.index("<summary>") < folded.index("line 5 &lt;b&gt;")


def test_what_the_eye_looks_for_is_bold_and_names_stay_names() -> None:
    line = "a in <i> of 9 trains to loss ≤ 1 in 12 [9, ∞] of 2,410 degrees of freedom: 71×."
    shown = pages._headline((line, "b trains to loss ≤ 1 in 7 or fewer of 8 degrees of freedom."))
    assert "a in &lt;i&gt; of 9 trains" in shown
    assert "in <strong>12 [9, ∞]</strong> of 2,410 degrees" in shown
    assert "in <strong>7 or fewer</strong> of 8 degrees" in shown


def test_the_first_lines_tell_of_every_problem_and_of_the_hardest_goal_that_is_settled() -> None:
    records = [
        dataclasses.replace(r, trial=dataclasses.replace(r.trial, problem={"name": name}))
        for name in ("one", "two")
        for r in page_store.of_method({"name": "random", "map": "hadamard"}, 1.0)
    ]
    goals = [parse_goal(f"loss<={level}") for level in (2.2, 1.5, 0.7, 1e-9)]
    told = page_data(experiments(records), asked={"one": goals, "two": goals}).headline
    assert [line.split()[0] for line in told[:2]] == ["one", "two"]
    first, second, third = (line for line in told if line.startswith("one"))
    assert "loss ≤ 0.7" in first
    assert "loss ≤ 1.5" in second
    assert "loss ≤ 2.2" in third


def test_levels_stay_apart_from_those_asked_for_and_on_the_axis() -> None:
    best = np.geomspace(0.01, 1.0, 200)
    free = levels_of("train:loss", best, 9)
    assert len(free) == 9
    asked = [1.03 * free[2], 1.25 * free[5], 0.0]
    levels = levels_of("train:loss", best, 9, asked=asked)
    assert levels == sorted({*free, *asked} - {free[2], 0.0})


def test_methods_are_named_as_the_command_line_reads_them() -> None:
    texts = (
        *("random", "random:gaussian", "random:sparse,nnz=4", "burn-in:64,map=gaussian"),
        *("lottery-subspace:unit,snapshots=32", "lottery-ticket:5,rewind=64,biases=false"),
        *("snip:layer", "last-layer"),
    )
    for text in texts:
        config = ss.parse_method(text).config()
        trial = dataclasses.replace(page_store.records()[0].trial, method=config)
        (stored,) = experiments([dataclasses.replace(page_store.records()[0], trial=trial)])
        assert ss.parse_method(stored.method).config() == config, text
        assert stored.method == text


def test_an_empty_store_makes_a_page(tmp_path: Path) -> None:
    with ss.Store(tmp_path / "none.db"):
        pass
    page = page_data(experiments(tmp_path / "none.db"))
    assert page.headline == ("There are no trials in this store yet.",)
    assert "{{" not in render(page, title="none", library="")


def test_what_cannot_be_is_refused(store: Path, tmp_path: Path) -> None:
    pytest.importorskip("plotly", reason="the page is drawn by plotly: pip install subspan[report]")
    with pytest.raises(InputError, match=r"out: expected a file that ends in \.html"):
        write_page(store, tmp_path / "page.pdf")
    with pytest.raises(StoreError, match="expected a file at"):
        write_page(tmp_path / "nothing.db", tmp_path / "page.html")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="out: cannot write"):
        write_page(store, tmp_path / "file" / "page.html")


def test_a_missing_plotly_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(InputError, match=r"pip install 'subspan\[report\]'"):
        pages.plotly()


def test_the_command(store: Path, tmp_path: Path, cli: Any) -> None:
    pytest.importorskip("plotly", reason="the page is drawn by plotly: pip install subspan[report]")
    out = tmp_path / "new" / "r.html"
    code, told, _ = cli(f"report {store} --out {out} --goals 'accuracy>=0.9' --json")
    assert code == 0
    document = json.loads(told)
    assert document["bytes"] == out.stat().st_size
    assert any("90 % training accuracy" in line for line in document["headline"])
    code, _, complaint = cli(f"report {tmp_path / 'none.db'} --out {out}")
    assert code == 2
    assert "expected a file at" in complaint


def test_what_was_found_at_the_best_learning_rate_is_told_as_it_was(tmp_path: Path) -> None:
    @ss.trainable(name="loop", max_dim=1000, lr=(1e-3, 10.0))
    def loop(trial: Any) -> dict[str, float]:
        off = 1.5 * math.log(max(trial.dim, 1) / 60) - 0.6 * abs(math.log(trial.lr / 0.3))
        odds = 9 * math.exp(min(off + 0.05 * (trial.seed % 7 - 3), 20))
        return {"val:accuracy": odds / (1 + odds)}

    store = tmp_path / "runs.db"
    estimate = ss.threshold(loop, goal="val:accuracy>=0.9", workers=1, store=store)
    assert estimate.at_best_lr
    assert estimate.status == "ok"
    page = write_page(store, tmp_path / "report.html")
    (line,) = page.headline
    assert f"{d_star(estimate)} of 1,000 degrees of freedom at the best learning rate" in line
    assert f"{estimate.trials} trials, {estimate.trainings:.1f} trainings" in line
    (problem,) = page.data["problems"]
    assert {one["found"] for one in problem["experiments"]} == {line}
    chosen = {"d": estimate.value, "lr": estimate.lr, "words": d_star(estimate)}
    assert all(one["best"] == chosen for one in problem["experiments"])
    assert sum(one["trials"] for one in problem["experiments"]) == estimate.trials

    ss.run(
        loop, dims=[50, 100, 200, 400], repeats=4, spec=LoopSpec(lr=0.01), store=store, workers=1
    )
    both = write_page(store, tmp_path / "both.html").headline
    assert both[0] == line
    assert all(other.endswith("(trainable, lr 0.01).") for other in both[1:])
    assert len(both) > 1


def test_what_was_not_measured_by_a_joint_design_is_not_noted(tmp_path: Path) -> None:
    @ss.trainable(name="loop", max_dim=100)
    def loop(trial: Any) -> dict[str, float]:
        return {"loss": 1.0 / (1 + trial.dim)}

    store = tmp_path / "runs.db"
    estimate = ss.threshold(loop, goal="loss<=0.1", workers=1, store=store)
    assert estimate.design == "binary"
    page = write_page(store, tmp_path / "report.html")
    assert {one["found"] for one in page.data["problems"][0]["experiments"]} == {None}
    assert "best learning rate" not in page.headline[0]


def test_a_note_that_nobody_here_wrote_is_one_clear_error(tmp_path: Path) -> None:
    with Store(tmp_path / "runs.db") as store:
        store.claim("estimate:1", "estimate:", 0.0, {"goal": "loss<=0.1"})
    with pytest.raises(StoreError, match="one that is damaged"):
        write_page(tmp_path / "runs.db", tmp_path / "report.html")


def test_a_goal_harder_than_one_out_of_reach_is_not_told_too() -> None:
    trials = [r for r in page_store.records() if r.trial.problem["name"] == "digits"]
    easy = [r for r in trials if r.trial.method["name"] == "random" and r.trial.spec["lr"] == 0.05]
    asked = [parse_goal(f"loss<={level}") for level in (1, 1e-3, 1e-4)]
    lines = page_data(experiments(easy), asked={"": asked}).headline
    assert [line.split(" in ")[0] for line in lines] == [
        "digits trains to training loss ≤ 1",
        "digits does not train to training loss ≤ 0.001",
    ]
