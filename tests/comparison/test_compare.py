import dataclasses
import json
import logging
import math
import re

import pytest
from scipy import stats

import subspan as ss
from subspan.comparison import compare as module_function
from subspan.comparison.compare import table_of
from subspan.errors import InputError
from subspan.report import compare_figure_data

SPEC = ss.TrainSpec(lr=0.05, steps=40, batch_size=128)


@pytest.fixture(scope="module")
def problem():
    return ss.problems.load("digits-mlp", subset=400)


@pytest.fixture(scope="module")
def table(problem):
    methods = ["random", "burn-in:30", ss.LotterySubspace(20, 2), "random-mask", "last-layer"]
    return ss.compare(
        problem, methods, dims=[8, 40, 400], repeats=9, spec=SPEC, workers=1, goals=["loss<=1"]
    )  # nine cells: 9 repeats


def test_a_row_for_every_cell_and_a_reason_for_every_gap(table) -> None:
    assert module_function is ss.compare
    cells = {(r.method, r.dim) for r in table.rows}
    assert table.methods == (
        "random",
        "burn-in:30",
        "lottery-subspace",
        "random-mask",
        "last-layer",
    )
    assert len(cells) == len(table.rows) == 3 + 3 + 1 + 3 + 2
    assert {(m, d) for m, d, _ in table.skipped} == {
        ("lottery-subspace", 40),
        ("lottery-subspace", 400),
        ("last-layer", 400),
    }
    assert "no trials (at most 20 for this method) at d = 40, 400" in table.verdict(
        "lottery-subspace"
    )
    assert "at most 20 for this method" in {why for _, _, why in table.skipped}


def test_numbers_are_those_of_the_records(table) -> None:
    for row in table.rows:
        own = [r for r in table.records[row.method] if r.dim == row.dim]
        null = [r for r in table.records["random"] if r.dim == row.dim]
        best = [r.best_test_accuracy for r in own]
        assert row.values == tuple(best)
        assert row.value == pytest.approx(sum(best) / 9)
        assert row.low <= row.value <= row.high
        assert row.loss == pytest.approx(sum(r.best_train_loss for r in own) / 9)
        assert row.compression == pytest.approx(2410 / row.dim)
        assert (row.repeats, row.diverged) == (9, 0)
        if row.method == "random":
            assert row.verdict == "null"
            assert math.isnan(row.difference)
        else:
            assert [r.trial.repeat for r in own] == [r.trial.repeat for r in null]
            gaps = [a - b.best_test_accuracy for a, b in zip(best, null, strict=True)]
            assert row.difference == pytest.approx(sum(gaps) / 9)
            assert row.p <= row.p_adjusted <= 1


def test_search_cost_stands_beside_each_row(table) -> None:
    costs = {
        r.method: (r.search_steps, r.search_bits, r.total_steps) for r in table.of("burn-in:30")
    }
    assert costs == {"burn-in:30": (30, 32 * 2410, 70)}
    (row,) = table.of("lottery-subspace")
    assert (row.search_steps, row.search_bits, row.total_steps) == (40, 32 * 8 * 2410, 80)
    assert table.of("random")[0].total_steps == 40


def test_verdicts_in_words(table) -> None:
    assert table.verdict("random") == "the null"
    assert table.of("burn-in:30")[0].verdict == "better"
    assert table.verdict("burn-in:30").startswith("better than the null at d = 8")
    for row in table.rows:
        if row.method != "random":
            told = "better" if row.difference > 0 else "worse"
            assert row.p >= 2**-8
            assert row.verdict == (told if row.p_adjusted <= 0.05 else "not distinguishable")
    assert len(table.summary()) == 4


def test_d_star_of_each_method(table) -> None:
    estimates = {method: e for (method, goal), e in table.thresholds.items()}
    assert set(estimates) == {"random", "burn-in:30", "random-mask", "last-layer"}
    assert estimates["random"].experiment.method["name"] == "random"


def test_frame_and_json(table) -> None:
    frame = table.to_frame()
    assert len(frame) == len(table.rows)
    assert set(frame["verdict"]) <= {"better", "worse", "not distinguishable", "null"}
    data = json.loads(json.dumps(table.to_json()))
    assert data["null"] == "random"
    assert len(data["skipped"]) == 3


def test_a_method_equal_to_the_null_is_rarely_told_apart(problem) -> None:
    table = ss.compare(
        problem,
        [ss.RandomAffine("hadamard"), ss.RandomAffine("partition")],
        dims=[16, 32, 64],
        spec=SPEC,
        workers=1,
    )
    assert table.null == "random (map=hadamard)"
    assert {r.pairs for r in table.of("random (map=partition)")} == {7}  # what three cells need
    assert {r.verdict for r in table.of("random (map=partition)")} == {"not distinguishable"}


def test_matched_gives_every_method_the_same_total_steps(problem) -> None:
    methods = [ss.BurnIn(10), ss.BurnIn(30), "lottery-ticket:2"]
    table = ss.compare(problem, methods, dims=[50], repeats=2, spec=SPEC, workers=1, matched=True)
    assert table.methods[0] == "random"  # put in front
    assert {r.total_steps for r in table.rows} == {70.0}
    assert [r.search_steps for r in table.rows] == [0, 10, 30, 12]


def test_one_repeat_is_not_tested_and_other_metrics_are_read(problem) -> None:
    table = ss.compare(
        problem, ["random-mask"], dims=[100], repeats=1, spec=SPEC, workers=1, metric="train:loss"
    )
    row = table.of("random-mask")[0]
    assert row.verdict == "not tested"
    assert row.value == pytest.approx(table.records["random-mask"][0].best_train_loss)
    null = table.of("random")[0]
    better = ss.compare(
        problem, ["burn-in:30"], dims=[8], spec=SPEC, workers=1, metric="train:loss"
    ).of("burn-in:30")[0]
    assert better.verdict == "better"  # a lower loss is better
    assert better.difference < 0
    assert null.verdict == "null"


def test_an_analytic_problem_is_compared_by_its_loss() -> None:
    problem = ss.problems.load("quadratic")
    table = ss.compare(problem, ["random:gaussian", "random"], dims=[20], repeats=2, workers=1)
    assert table.metric == "train:loss"
    assert table.null == "random:gaussian"


def test_a_dim_that_a_method_refuses_is_a_gap_and_not_the_end(problem) -> None:
    keep_biases = ss.RandomMask(biases=False)  # 42 biases, which count towards d
    table = ss.compare(problem, [keep_biases], dims=[8, 60, 400], repeats=2, spec=SPEC, workers=2)
    assert [row.dim for row in table.of("random-mask")] == [60, 400]
    ((method, dim, why),) = table.skipped
    assert (method, dim) == ("random-mask", 8)
    assert "more than 42" in why


class Refusing(ss.RandomMask):
    """Refuses when its subspaces are asked for, at any dim but 40; its search is long."""

    def config(self):
        return {"name": "refusing", "steps": 500}

    def search_steps(self, problem):
        return 500

    def subspaces(self, problem, draws):
        if any(draw.dim != 40 for draw in draws):
            raise InputError("refusing: expected 40.")
        return super().subspaces(problem, draws)


class Unfit(Refusing):
    """Refuses the problem at once."""

    def config(self):
        return {"name": "unfit"}

    def max_dim(self, problem):
        raise InputError("unfit: expected another network.")


def test_what_a_method_refuses_is_told_and_the_others_are_compared(problem) -> None:
    methods = [Unfit(), Refusing(), "lottery-subspace:snapshots=4,every=500", "random-mask"]
    table = ss.compare(problem, methods, [8, 16], 3, SPEC, workers=1, matched=True)
    lottery = "lottery-subspace:snapshots=4,every=500"
    assert table.methods == ("random", "unfit", "refusing", lottery, "random-mask")
    for name in ("unfit", "refusing", lottery):
        assert table.of(name) == ()
    assert table.summary()[:3] == [
        "unfit: no trials (unfit: expected another network) at d = 8, 16",
        "refusing: no trials (refusing: expected 40) at d = 8, 16",
        f"{lottery}: no trials (at most 4 for this method) at d = 8, 16",
    ]
    assert list(table.to_json()["verdicts"]) == list(table.methods)
    # 500 of the search that might have run; not 2000 of one that could not.
    assert {row.total_steps for row in table.rows} == {540.0}
    assert len(compare_figure_data(table).series) == 2
    with pytest.raises(InputError, match="method: expected one of random, unfit"):
        table.of("synflow")


def test_a_null_that_refuses_ends_the_call_before_other_methods_train(problem) -> None:
    events = []
    with pytest.raises(InputError, match="exact"):
        ss.compare(
            problem,
            ["random-mask", "random"],
            [8],
            3,
            ss.TrainSpec(optimizer="exact", steps=1),
            workers=1,
            progress=lambda *event: events.append(event),
        )
    assert events == []


def test_two_repeats_are_not_tested_and_say_so(problem) -> None:
    table = ss.compare(problem, ["burn-in:30"], [8], 2, SPEC, workers=1)
    (row,) = table.of("burn-in:30")
    assert (row.verdict, row.pairs) == ("not tested", 2)
    assert math.isfinite(row.difference)
    assert math.isnan(row.p)
    words = "not tested (repeats in common with the null: 2; 3 are needed) at d = 8"
    assert table.verdict("burn-in:30") == words


def failing(records, repeats):
    """Take all evaluations from the trials of these repeats."""
    return [dataclasses.replace(r, curve=()) if r.trial.repeat in repeats else r for r in records]


@pytest.mark.parametrize("metric", ["test:accuracy", "train:loss"])
def test_a_trial_without_a_finite_value_counts_as_the_worst(problem, metric) -> None:
    table = ss.compare(problem, ["burn-in:30"], [8], 8, SPEC, workers=1, metric=metric)
    assert table.of("burn-in:30")[0].verdict == "better"  # in all of eight repeats
    records = table.records | {"burn-in:30": failing(table.records["burn-in:30"], {2, 5, 6})}
    row = table_of(problem, records, "random", metric=metric).of("burn-in:30")[0]
    whole = table.of("burn-in:30")[0]
    kept = [v for i, v in enumerate(whole.values) if i not in (2, 5, 6)]
    assert (row.failed, row.pairs, whole.failed) == (3, 8, 0)
    assert row.value_finished == pytest.approx(sum(kept) / 5)
    assert row.verdict == "not distinguishable"
    if metric == "train:loss":
        assert (row.value, row.difference, row.loss) == (math.inf, math.inf, math.inf)
    else:
        assert row.value == pytest.approx(sum(kept) / 8)
        assert row.values[2] == 0
    lost = {"burn-in:30": failing(table.records["burn-in:30"], set(range(8)))}
    row = table_of(problem, table.records | lost, "random", metric=metric).of("burn-in:30")[0]
    assert row.verdict == "worse"
    both = {label: failing(own, set(range(8))) for label, own in table.records.items()}
    assert table_of(problem, both, "random", metric=metric).of("burn-in:30")[0].verdict != "worse"


def test_too_few_repeats_are_told_before_anything_is_trained(problem, caplog) -> None:
    events = []

    def progress(*event):
        events.append((event, len(caplog.messages)))

    with caplog.at_level(logging.WARNING, logger="subspan"):
        table = ss.compare(problem, ["burn-in:30"], [8, 40], 4, SPEC, workers=1, progress=progress)
    (said,) = caplog.messages
    assert said == (
        "compare: repeats=4 cannot give a verdict on 2 cells; 7 are needed, or fewer cells."
    )
    assert {count for _, count in events} == {1}  # there before the first trial was done
    assert table.verdict("burn-in:30") == (
        "not tested (4 paired repeats; 7 are needed for verdicts on 2 cells) at d = 8, 40"
    )
    assert table.footer.startswith("No verdicts: no cell has enough paired repeats. ")
    assert "p is of sign flips in one cell, not corrected" in table.footer
    assert "as likely to be ahead of it by an amount as behind" in table.footer
    assert "Intervals: Student's" in table.footer
    assert "one that leaves out 0 is no verdict" in table.footer
    row = table.of("burn-in:30")[0]
    assert row.p == 1 / 8
    assert row.difference_low < row.difference < row.difference_high


def test_the_footer_says_what_is_assumed(table) -> None:
    assert "sign-flip tests of 9 or more pairs, Holm over 9 cells: at most 5 %" in table.footer
    assert "as likely to be ahead of it by an amount as behind" in table.footer
    assert "if the number of repeats was fixed beforehand" in table.footer
    assert table.to_json()["footer"] == table.footer


def test_one_cell_is_one_cell_and_every_dim_is_a_d(table) -> None:
    one = dataclasses.replace(table, rows=table.of("random") + table.of("burn-in:30")[:1])
    assert "Holm over 1 cell:" in one.footer
    rows = [dataclasses.replace(r, verdict=v) for r, v in zip(
        table.of("burn-in:30"), ("worse", "better", "not distinguishable"), strict=True
    )]  # fmt: skip
    said = dataclasses.replace(table, rows=(*table.of("random"), *rows)).verdict("burn-in:30")
    assert said == (
        "better than the null at d = 40; worse than the null at d = 8; "
        "not distinguishable at d = 400"
    )


def test_a_saved_subspace_is_tested_only_where_it_is_transferred(problem, tmp_path) -> None:
    (found,) = ss.LotterySubspace(12, 2).subspaces(problem, [ss.subspaces.Draw(12, 0, 0)])
    path = tmp_path / "found.safetensors"
    ss.save_subspace(found, path, problem)
    fixed, moved = f"saved:{path}", f"saved:{path},transfer=true"
    table = ss.compare(problem, [fixed, moved], [8], None, SPEC, workers=1)
    assert table.of(fixed)[0].note == "every repeat starts from the same weights"
    assert table.of(fixed)[0].verdict == "not tested"
    assert (table.of(moved)[0].note, table.of(moved)[0].pairs) == ("", 6)
    assert table.of(moved)[0].verdict != "not tested"


def test_intervals_of_accuracies_are_accuracies_and_know_their_step(problem) -> None:
    spec = ss.TrainSpec(steps=60, lr=0.05)
    table = ss.compare(problem, ["biases"], [2, 40], 3, spec, workers=1)
    for row in table.rows:
        assert 0 <= row.low < row.value < row.high <= 1
    gap = table.of("biases")[1]
    half = (gap.difference_high - gap.difference_low) / 2
    assert half >= stats.t.ppf(0.975, 2) / 360 / math.sqrt(3) - 1e-12


def test_the_same_call_continues(problem, tmp_path) -> None:
    store = tmp_path / "runs.db"
    first = ss.compare(problem, ["random-mask"], [8, 40], 2, SPEC, 0, store, workers=1)
    events = []
    again = ss.compare(
        problem,
        ["random-mask"],
        [8, 40],
        2,
        SPEC,
        0,
        store,
        workers=1,
        progress=lambda *event: events.append(event),
    )
    assert again.rows[1:] == first.rows[1:] or repr(again.rows) == repr(first.rows)
    assert [event[2] for event in events] == ["found in the store"] * 2


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"methods": ["random", "burn-in:0"]}, "each method once"),
        ({"dims": []}, "at least one training dimension"),
        ({"dims": [-1]}, "dim: expected"),
        ({"dims": [2411]}, "dim: expected"),
        ({"dims": [0, 8], "matched": True}, "dims: expected dims above 0 where totals are matched"),
        ({"repeats": 0}, "repeats"),
        ({"metric": "accuracy"}, "metric: unknown"),
        ({"confidence": 95}, "confidence"),
        ({"methods": ["lotery-ticket"]}, "Did you mean 'lottery-ticket'"),
        ({"goals": ["loss<1"]}, "goal"),
        ({"goals": "loss<=1"}, "goals: expected a list of goals, got 'loss<=1'"),
        ({"goals": ss.LossBelow(1)}, "Write ['loss<=1']"),
        ({"metric": 5}, "metric: unknown"),
        ({"spec": {"steps": 5}}, "spec: expected a TrainSpec"),
        ({"problem": "digits-mlp"}, "problem: expected a problem"),
        ({"dims": 8}, "dims: expected a list of integers"),
        ({"dims": "8,16"}, "dims: expected a list of integers"),
        ({"methods": "random,burn-in:2"}, "methods: expected a list of methods"),
        ({"methods": []}, "methods: expected at least one method"),
        ({"methods": [None]}, "method: expected a method or its text, got None"),
        ({"methods": [ss.RandomMask]}, "Make one: RandomMask(…)"),
        ({"matched": "no"}, "matched: expected True or False"),
        ({"matched": True, "spec": SPEC.replace(stop_at="loss<=1")}, "matched: expected training"),
        ({"matched": True, "spec": ss.TrainSpec(optimizer="exact")}, "got optimizer='exact'"),
    ],
)
def test_bad_input(problem, arguments, match) -> None:
    given = {"methods": ["random"], "dims": [8], "repeats": 2, "spec": SPEC, "workers": 1}
    with pytest.raises(InputError, match=re.escape(match)):
        ss.compare(**{"problem": problem, **given, **arguments})


def test_dims_may_come_from_a_generator(problem) -> None:
    table = ss.compare(problem, ["random"], (d for d in (8, 16)), 1, SPEC, workers=1)
    assert [row.dim for row in table.rows] == [8, 16]


# ---- d = 0: nothing trained


def test_nothing_trained_is_a_row_of_its_own(problem, tmp_path) -> None:
    """At d = 0 a method is its offset: the initial weights, or those that a search found."""
    methods = ["random", "burn-in:30", ss.RandomAffine("partition")]
    table = ss.compare(
        problem, methods, dims=[0, 40], repeats=9, spec=SPEC, workers=1, goals=["loss<=1"],
        store=tmp_path / "runs.db",
    )  # fmt: skip
    rows = {(r.method, r.dim): r for r in table.rows}
    assert {dim for _, dim in rows} == {0, 40}
    null, burnt, other = (rows[name, 0] for name in table.methods)
    starts = [r.trial.repeat for r in table.records["random"] if r.dim == 0]
    expected = [
        problem.evaluate(problem.init(ss.streams.derive(0, "init", k)), "test").accuracy
        for k in starts
    ]
    assert null.values == pytest.approx(expected)
    assert (null.train_steps, null.total_steps, null.compression) == (0, 0, math.inf)
    assert (burnt.train_steps, burnt.total_steps, burnt.verdict) == (0, 30, "better")
    assert (other.difference, other.verdict) == (0.0, "not distinguishable")
    assert set(table.thresholds) == set()  # d* takes two dims above 0
    json.loads(json.dumps(table.to_json()["rows"][0]["values"]))
    data = compare_figure_data(table)
    assert all(s.dims.tolist() == [40] for s in data.series)
    assert data.repeats == (9, 9)


def test_nothing_but_nothing_trained_is_compared_and_not_drawn(problem) -> None:
    table = ss.compare(problem, ["burn-in:30"], dims=[0], repeats=6, spec=SPEC, workers=1)
    assert [r.dim for r in table.rows] == [0, 0]
    assert table.of("burn-in:30")[0].verdict == "better"
    with pytest.raises(InputError, match="table: expected at least one dim above 0, got none"):
        compare_figure_data(table)


def test_functions_are_compared_at_d_0_too() -> None:
    @ss.trainable(name="null", max_dim=100, version="1")
    def null(trial):
        return {"val:accuracy": 0.1 + 0.004 * trial.dim + 0.001 * trial.repeat}

    @ss.trainable(name="mine", max_dim=80, version="1")
    def mine(trial):
        return {"val:accuracy": 0.3 + 0.002 * trial.repeat}

    table = ss.compare([null, mine], dims=[0, 50, 80], repeats=7, goals=["val:accuracy>=0.3"])
    values = {(r.method, r.dim): r.value for r in table.rows}
    assert values == pytest.approx(
        {("null", 0): 0.103, ("null", 50): 0.303, ("null", 80): 0.423}
        | {("mine", dim): 0.306 for dim in (0, 50, 80)}
    )
    verdicts = {r.dim: r.verdict for r in table.of("mine")}
    assert (verdicts[0], verdicts[80]) == ("better", "worse")
    assert table.thresholds["mine", "val:accuracy>=0.3"].value == 0
