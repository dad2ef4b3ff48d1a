"""`subspan spectroscopy`: the table, the JSON, the figure, and what is refused."""

import json

import pytest

import subspan as ss

LINE = (
    "spectroscopy digits-mlp --subset 200 --method lottery-subspace:snapshots=12,every=2 "
    "--repeats 2 --seed 3"
)


def test_one_json_document_with_the_singular_values_of_each_run(cli, tmp_path) -> None:
    code, out, err = cli(f"{LINE} --json --figure {tmp_path / 's'}")
    assert code == 0, err
    data = json.loads(out)
    problem = ss.problems.load("digits-mlp", subset=200)
    draws = [ss.subspaces.Draw(1, 3, repeat) for repeat in (0, 1)]
    paths = ss.LotterySubspace(12, 2).trajectories(problem, draws)
    assert data["singular_values"] == [path.singular_values.tolist() for path in paths]
    assert data["search_steps"] == 24
    assert data["energy"][0][-1] == pytest.approx(1.0)
    assert len(data["figures"]) == 3
    assert (tmp_path / "s.png").exists()


def test_the_top_singular_values_for_people(cli) -> None:
    code, out, _ = cli(f"{LINE} --top 3")
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "digits-mlp, D = 2,410, 24 steps"
    assert [line.split()[:2] for line in lines[2:8]] == [[run, i] for run in "01" for i in "123"]
    assert "90 %" in lines[8]


def test_a_run_that_is_noted_is_not_trained_again(cli, tmp_path, monkeypatch) -> None:
    line = f"{LINE} --json --store {tmp_path / 'runs.db'}"
    code, out, err = cli(line)
    assert code == 0, err
    monkeypatch.setattr(ss.LotterySubspace, "trajectories", None)
    assert cli(line)[:2] == (0, out)
    (spectra,) = ss.report.spectra(tmp_path / "runs.db")
    assert [list(run) for run in spectra.singular_values] == json.loads(out)["singular_values"]
    code, out, err = cli(f"export {tmp_path / 'runs.db'} {tmp_path / 'runs.csv'}")
    assert code == 0, err
    assert out.startswith("0 trials in ")
    assert "2 noted results stay in the store" in out


def test_an_export_of_trials_alone_speaks_of_no_notes(cli, tmp_path) -> None:
    line = 'surface digits-mlp --subset 50 --dims 8 --repeats 1 --goals "loss<=2" --steps 2'
    code, _, err = cli(f"{line} --workers 1 --store {tmp_path / 'runs.db'}")
    assert code == 0, err
    code, out, _ = cli(f"export {tmp_path / 'runs.db'} {tmp_path / 'runs.csv'}")
    assert (code, out) == (0, f"1 trials in {tmp_path / 'runs.csv'}\n")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("--method burn-in:4", "--method: expected a lottery subspace, got 'burn-in:4'"),
        ("--method lottery-subspace:snapshot=4", "Did you mean 'snapshots'"),
        ("--repeats 0", "--repeats: expected an integer in 1 … 10000"),
        ("--top 0", "--top: expected an integer, 1 or more"),
    ],
)
def test_bad_input_is_one_line_and_code_2(cli, change, text) -> None:
    code, out, err = cli(f"{LINE} {change}")
    assert (code, out) == (2, "")
    assert text in err
    assert "Traceback" not in err
