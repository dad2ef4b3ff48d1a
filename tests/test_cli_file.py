"""Commands about a user's own file, and `resume`."""

import json
import subprocess
import sys

import pytest

from subspan.cli.app import main
from subspan.trials.stores.sql import Store

FILE = """
import helper_of_this_file
import torch
import subspan as ss

@ss.trainable(name="mine", max_dim=1000)
def mine(trial):
    trial.report(step=1, **{"val:accuracy": 0.25})
    return {"val:accuracy": helper_of_this_file.level(trial.dim)}

x = torch.linspace(-1, 1, 60).reshape(20, 3)
own = ss.Problem(lambda: torch.nn.Linear(3, 2), (x, (x[:, 0] > 0).long()), name="own",
                 default_spec=ss.TrainSpec(steps=20, batch_size=None))
number = 3
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    (tmp_path / "helper_of_this_file.py").write_text("def level(dim): return float(dim >= 60)\n")
    path = tmp_path / "experiment.py"
    path.write_text(FILE)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("experiment", "helper_of_this_file"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return path


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code or 0


def test_threshold_of_a_function_in_a_file(file, capsys):
    goal = ("--goal", "val:accuracy>=0.9", "--workers", 2, "--json")
    assert run("threshold", f"{file}:mine", *goal) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["low"] <= 60 <= found["high"]
    assert found["experiment"]["problem"]["name"] == "mine"


def test_a_problem_in_a_file(file, capsys):
    assert run("surface", f"{file}:own", "--dims", "2,4", "--goals", "loss<=0.5", "--json") == 0
    assert json.loads(capsys.readouterr().out)["experiment"]["problem"]["name"] == "own"


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("nobody", [], "expected one of mine, own"),
        ("number", [], "got number = 3"),
        ("mine", ["--method", "snip"], "none for a function"),
        ("mine", ["--steps", "3"], "--lr alone"),
        ("own", ["--subset", "3"], "--subset"),
    ],
)
def test_what_does_not_fit_is_one_line(file, name, more, message, capsys):
    assert run("threshold", f"{file}:{name}", "--goal", "loss<=1", *more) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_missing_file_is_one_line(tmp_path, capsys):
    assert run("threshold", f"{tmp_path}/no.py:mine", "--goal", "loss<=1") == 2
    assert "expected a file at" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "told"), [("1 / 0\n", "ZeroDivisionError"), ("def :\n", "SyntaxError")]
)
def test_errors_of_the_file_are_shown_as_python_shows_them(tmp_path, text, told, capsys):
    (tmp_path / "broken.py").write_text("x = 1\n" + text)
    assert run("threshold", f"{tmp_path}/broken.py:mine", "--goal", "loss<=1") == 1
    error = capsys.readouterr().err
    python = subprocess.run(
        [sys.executable, tmp_path / "broken.py"], capture_output=True, text=True, check=False
    )
    assert error == python.stderr  # to the letter
    assert told in error
    assert 'broken.py", line 2' in error


def test_an_error_of_a_file_that_another_imports_begins_at_the_first(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "imported_one.py").write_text("def f():\n    return 1 / 0\nf()\n")
    (tmp_path / "importing.py").write_text("import imported_one\n")
    assert run("surface", f"{tmp_path}/importing.py:mine", "--dims", "1", "--goals", "loss<=1") == 1
    python = subprocess.run(
        [sys.executable, tmp_path / "importing.py"], capture_output=True, text=True, check=False
    )
    assert capsys.readouterr().err == python.stderr


def test_a_file_that_leaves_is_one_line(tmp_path, capsys):
    (tmp_path / "script.py").write_text("import sys\nsys.exit(0)\n")
    assert run("threshold", f"{tmp_path}/script.py:mine", "--goal", "loss<=1") == 2
    error = capsys.readouterr().err
    assert "got SystemExit(0) in it. Put what is to run as a script alone" in error
    assert error.count("\n") == 1


def test_errors_while_training_come_with_their_traceback(tmp_path, capsys):
    (tmp_path / "late.py").write_text(
        "import subspan as ss\n\n@ss.trainable(name='late', max_dim=9)\n"
        "def late(trial):\n    return undefined_name\n"
    )
    assert run("threshold", f"{tmp_path}/late.py:late", "--goal", "loss<=1", "--workers", 1) == 2
    shown = capsys.readouterr().err.split("Traceback (most recent call last):\n")[1]
    assert shown.startswith(f'  File "{tmp_path}/late.py", line 5, in late\n')
    assert shown.endswith("NameError: name 'undefined_name' is not defined\n")


LOSES = """
import torch
import subspan as ss

calls = []

class Breaks(torch.nn.Linear):
    def forward(self, x):
        if calls:
            raise RuntimeError("out of luck")
        return super().forward(x)

x = torch.linspace(-1, 1, 60).reshape(20, 3)
own = ss.Problem(lambda: Breaks(3, 2), (x, (x[:, 0] > 0).long()), name="own",
                 identity={"name": "own"}, default_spec=ss.TrainSpec(steps=20, batch_size=None))
calls.append(1)
"""


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["surface", "--dims", "2", "--goals", "loss<=1", "--workers", 1], 0),
        (["threshold", "--goal", "loss<=0.001", "--workers", 1], 2),
        (["predict", "--goal", "loss<=0.001"], 1),
    ],
)
def test_errors_of_a_problem_begin_at_the_users_own_line(tmp_path, command, code, capsys):
    file, store = tmp_path / "loses.py", tmp_path / "s.db"
    file.write_text(LOSES)
    kept = ["--store", store] if code == 0 else []
    assert run(command[0], f"{file}:own", *command[1:], *kept) == code
    error = capsys.readouterr().err
    if kept:
        with Store(store) as opened:
            error = next(opened.records()).provenance["traceback"]
    shown = error.split("Traceback (most recent call last):\n")[-1]
    assert shown.startswith(f'  File "{file}", line 10, in forward\n')
    assert shown.endswith("RuntimeError: out of luck\n")


def test_resume_goes_on_with_what_was_cut_off(file, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["threshold", "experiment.py:mine", "--goal", "val:accuracy>=0.9", "--store", "s.db"]
    code = (
        "import os, sys, subspan.trials.stores.sql as sql\n"
        "add_all, done = sql.Store.add_all, []\n"
        "def dying(self, records):\n"
        "    add_all(self, records)\n"
        "    done.extend(records)\n"
        "    if len(done) >= 3: os._exit(9)\n"
        "sql.Store.add_all = dying\n"
        "import subspan.trials.runner as runner\n"
        "runner._TOGETHER = 0.0\n"  # quick trials are else stored together
        "from subspan.cli.app import main\n"
        "main(sys.argv[1:])\n"
    )
    died = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, check=False)
    assert died.returncode == 9, died.stderr.decode()
    with Store(tmp_path / "s.db") as store:
        assert 3 <= len(store) < 8  # several may be stored at once
    assert run("resume", "s.db") == 0
    said = capsys.readouterr()
    assert "going on with subspan threshold experiment.py:mine" in said.err
    assert "d*" in said.out
    with Store(tmp_path / "s.db") as store:
        assert len(store) > 8
    assert run("resume", "s.db") == 0
    assert "Nothing to go on with" in capsys.readouterr().out


FUNCTIONS = """
import subspan as ss
RUNS = []

def level(dim, share):
    return {"val:f1": dim / 100 * share}

@ss.trainable(name="null", max_dim=100)
def null(trial):
    RUNS.append(trial.dim)
    return level(trial.dim, 0.5)

@ss.trainable(name="mine", max_dim=100)
def mine(trial):
    return level(trial.dim, 0.9)

with open("ran.txt", "a") as file:
    file.write("once\\n")
"""


@pytest.fixture
def functions(tmp_path, monkeypatch):
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "functions", raising=False)
    return "functions.py:null", "functions.py:mine"


@pytest.mark.parametrize("workers", [1, 2])
def test_functions_in_a_file_are_compared_the_first_is_the_null(functions, workers, capsys):
    more = ("--dims", "0,50", "--repeats", 7, "--workers", workers, "--figure", "c", "--json")
    assert run("compare", *functions, *more) == 0
    table = json.loads(capsys.readouterr().out)
    assert (table["null"], table["metric"]) == ("null", "val:f1")
    found = {(r["method"], r["dim"]): (r["value"], r["verdict"]) for r in table["rows"]}
    assert found == {
        ("null", 0): (0.0, "null"),
        ("null", 50): (pytest.approx(0.25), "null"),
        ("mine", 0): (0.0, "not distinguishable"),
        ("mine", 50): (pytest.approx(0.45), "better"),
    }
    assert len(table["figures"]) == 3
    with open("ran.txt") as file:
        assert file.read() == "once\n"  # both names stand in one run of the file


def test_a_table_for_people_of_functions(functions, capsys):
    assert run("compare", *functions, "--dims", "50", "--workers", 1) == 0
    out = capsys.readouterr().out
    assert out.startswith("null, D = 100, best val f1")
    assert "mine: better than the null at d = 50" in out


@pytest.mark.parametrize(
    ("names", "more", "message"),
    [
        (["functions.py:null"], [], "two functions or more, of which the first is the null"),
        (["functions.py:null", "digits-mlp"], [], "one problem with --methods, or functions alone"),
        (["digits-mlp", "quadratic"], [], "one problem with --methods, or functions alone"),
        (["functions.py:null"] * 2, [], "each name once, got 'null' twice"),
        (["functions.py:null", "functions.py:mine"], ["--methods", "snip"], "none for functions"),
        (["functions.py:null", "functions.py:mine"], ["--matched"], "none for functions"),
        (["functions.py:null", "functions.py:mine"], ["--map", "sparse"], "--map: expected none"),
        (["functions.py:null", "functions.py:mine"], ["--steps", "3"], "--lr alone"),
        (["digits-mlp"], [], "methods: expected at least one method, got none"),
    ],
)
def test_compare_says_what_does_not_fit_in_one_line(functions, names, more, message, capsys):
    assert run("compare", *names, "--dims", "50", "--workers", 1, *more) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
