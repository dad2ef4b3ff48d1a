"""`subspan compare`: the table, the JSON, the figure, and what is refused."""

import json

import pytest

LINE = (
    "compare digits-mlp --subset 300 --methods burn-in:20,random-mask,last-layer --dims 8,400 "
    "--repeats 3 --steps 20 --workers 1"
)


def test_one_json_document_with_rows_verdicts_and_gaps(cli, tmp_path) -> None:
    extra = f'--goals "loss<=2" --store {tmp_path / "r.db"} --figure {tmp_path / "c"} --json'
    code, out, err = cli(f"{LINE} {extra}")
    assert code == 0, err
    table = json.loads(out)
    assert {row["method"] for row in table["rows"]} == {
        "random",
        "burn-in:20",
        "random-mask",
        "last-layer",
    }
    assert [(gap["method"], gap["dim"]) for gap in table["skipped"]] == [("last-layer", 400)]
    assert table["verdicts"]["random"] == "the null"
    assert {t["method"] for t in table["thresholds"]} == {"random", "burn-in:20", "random-mask"}
    assert len(table["figures"]) == 3
    assert (tmp_path / "c.png").exists()


def test_a_table_and_a_line_in_words_for_people(cli) -> None:
    code, out, _ = cli(LINE + " --map partition --matched")
    assert code == 0
    lines = out.splitlines()
    assert "search steps" in lines[1]
    assert any(line.startswith("random-mask: ") for line in lines)
    rows = [line.split() for line in lines if line.startswith("burn-in:20 ")]
    assert [row[-1] for row in rows] == ["40", "40"]  # 20 of spec and 20 of the longest search
    assert all(word in lines[1].split() for word in ("diverged", "from", "to", "pairs"))
    gap = next(line for line in lines if line.startswith("last-layer: "))
    assert "no trials (at most 330 for this method) at d = 400" in gap


def test_arguments_by_name_and_a_method_that_can_make_no_dim(cli) -> None:
    methods = "lottery-subspace:snapshots=4,every=1,lottery-ticket:rounds=2,epochs=1"
    code, out, err = cli(f"{LINE} --methods {methods} --json")
    assert code == 0, err
    table = json.loads(out)
    lottery, ticket = "lottery-subspace:snapshots=4,every=1", "lottery-ticket:rounds=2,epochs=1"
    assert list(table["verdicts"]) == ["random", lottery, ticket]
    assert table["verdicts"][lottery] == "no trials (at most 4 for this method) at d = 8, 400"
    assert [(gap["method"], gap["dim"]) for gap in table["skipped"]] == [
        (lottery, 8),
        (lottery, 400),
    ]
    assert {row["method"] for row in table["rows"]} == {"random", ticket}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("--methods lotery-ticket", "Did you mean 'lottery-ticket'"),
        ("--dims 8,9999", "dim: expected a training dimension in 0 … 2410"),
        ("--metric accuracy", "metric: unknown name"),
        ("--methods saved:nowhere", "no file at nowhere"),
        ("--methods random,random", "each method once"),
        ("--methods ''", "methods: expected at least one method"),
        ("--methods lottery-ticket:round=2", "Did you mean 'rounds'"),
        ("--matched --optimizer exact", "matched: expected training that takes all its steps"),
    ],
)
def test_bad_input_is_one_line_and_code_2(cli, change, text) -> None:
    code, out, err = cli(f"{LINE} {change}")
    assert (code, out) == (2, "")
    assert text in err
    assert "Traceback" not in err


def test_a_method_at_one_dim_is_told_to_have_no_threshold(cli) -> None:
    code, out, err = cli(f'{LINE} --goals "loss<=2"')
    assert code == 0, err
    assert "last-layer, loss<=2: d* not estimated" in out
    assert "random-mask, loss<=2: d* not estimated" not in out


def test_each_method_has_its_own_best_learning_rate_with_lr_auto(cli, tmp_path) -> None:
    line = (
        "compare digits-mlp --subset 100 --methods burn-in:5 --dims 8 --repeats 2 --steps 10 "
        f"--workers 1 --lr auto --store {tmp_path / 'r.db'}"
    )
    code, out, err = cli(f"{line} --json")
    assert code == 0, err
    table = json.loads(out)
    chosen = table["learning_rates"]
    assert {name: len(rows) for name, rows in chosen.items()} == {"random": 1, "burn-in:5": 1}
    (random,), (burnt,) = chosen["random"], chosen["burn-in:5"]
    assert random["pilots"] == burnt["pilots"] == 10
    assert random["trainings"] == 10
    assert burnt["trainings"] == 15  # five of ten steps are its search
    code, out, _ = cli(f"{line} --figure {tmp_path / 'c'}")
    assert code == 0
    assert "20 pilot trials (25.0 full trainings)" in out
    code, out, _ = cli(f"trials {tmp_path / 'r.db'} --json")
    kinds = [t["spec"]["lr_choice"]["low"] is None for t in json.loads(out)]
    assert (kinds.count(True), kinds.count(False)) == (20, 4)


def test_surface_says_what_was_chosen_and_refuses_a_range(cli, tmp_path) -> None:
    line = 'surface digits-mlp --subset 100 --dims 8 --repeats 2 --steps 10 --goals "loss<=1" '
    code, out, err = cli(f"{line} --workers 1 --lr auto --figure {tmp_path / 's'}")
    assert code == 0, err
    assert "best for loss<=1 at each d" in out
    assert "as good from" in out
    for command in (line, "compare digits-mlp --subset 100 --methods burn-in:5 --dims 8"):
        code, _, err = cli(f"{command} --lr 0.1:1")
        assert code != 0
        assert "--lr: expected a number, or auto" in err
