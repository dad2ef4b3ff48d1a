"""`subspan compare`: the table, the JSON, the figure, and what is refused."""

import json
import shlex

import pytest

from subspan.cli import main

LINE = (
    "compare digits-mlp --subset 300 --methods burn-in:20,random-mask,last-layer --dims 8,400 "
    "--repeats 3 --steps 20 --workers 1"
)


@pytest.fixture
def cli(capsys):
    def call(text: str):
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main(shlex.split(text))
        out, err = capsys.readouterr()
        return left.value.code or 0, out, err

    return call


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


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("--methods lotery-ticket", "Did you mean 'lottery-ticket'"),
        ("--dims 8,9999", "dim: expected a training dimension in 1 … 2410"),
        ("--metric accuracy", "metric: unknown name"),
        ("--methods saved:nowhere", "no file at nowhere"),
        ("--methods random,random", "each method once"),
    ],
)
def test_bad_input_is_one_line_and_code_2(cli, change, text) -> None:
    code, out, err = cli(f"{LINE} {change}")
    assert (code, out) == (2, "")
    assert text in err
    assert "Traceback" not in err
