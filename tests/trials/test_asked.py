"""Calls from Python are noted in the store, come back from it, and `subspan resume` goes on."""

import importlib
import json
import os
import sys
import types

import pytest
import torch

import subspan as ss
from subspan.canonical import canonical_json
from subspan.cli.app import main
from subspan.cli.target import load_from_file
from subspan.subspaces.registry import METHODS, method_from_config
from subspan.testing.store_conformance import example_record
from subspan.trials import asked

SWEEP = """
import os
import torch
import subspan as ss

trained = []

@ss.trainable(name="mine", max_dim=100, version=os.environ.get("MINE_VERSION", "1"))
def mine(trial):
    if len(trained) == int(os.environ.get("CUT", -1)):
        raise KeyboardInterrupt
    trained.append((trial.dim, trial.repeat))
    return {"loss": 1 / (1 + trial.dim + trial.repeat % 3)}

@ss.trainable(name="other", max_dim=100)
def other(trial):
    return mine.function(trial)

x = torch.linspace(-1, 1, 60).reshape(20, 3)
own = ss.Problem(lambda: torch.nn.Linear(3, 2), (x, (x[:, 0] > 0).long()), name="own",
                 default_spec=ss.TrainSpec(steps=5, batch_size=None))

class Mine(ss.RandomAffine):
    def config(self):
        return {**super().config(), "name": "mine"}

def local():
    return ss.trainable(name="local", max_dim=100)(lambda trial: mine.function(trial))
"""


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """The user's module, imported from a folder that is on the path of this process alone."""
    (tmp_path / "users_sweep.py").write_text(SWEEP)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "users_sweep", raising=False)
    monkeypatch.chdir(tmp_path)
    yield importlib.import_module("users_sweep")
    sys.modules.pop("users_sweep", None)


@pytest.fixture
def resume(capsys):
    """Run `subspan resume`: its exit code, and what it printed."""

    def call(store="runs.db"):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["resume", str(store)])
        told = capsys.readouterr()
        return ended.value.code or 0, told.out, told.err

    return call


def cut(monkeypatch, after, call):
    monkeypatch.setenv("CUT", str(after))
    with pytest.raises(KeyboardInterrupt):
        call()
    monkeypatch.delenv("CUT")


def keys(store="runs.db"):
    with ss.Store(store, readonly=True) as opened:
        return [(r.trial.problem["name"], r.dim, r.trial.repeat) for r in opened.records()]


def notes(store="runs.db"):
    with ss.Store(store) as opened:
        return asked.unfinished(opened)


def there_and_back(**arguments):
    text = canonical_json(asked.described("run", arguments))
    return asked.restored(json.loads(text), load_from_file)


# --- resume -------------------------------------------------------------------------------------


def test_a_run_of_a_function_goes_on_where_it_was_cut(sweep, resume, monkeypatch):
    cut(
        monkeypatch,
        4,
        lambda: ss.run(sweep.mine, dims=[2, 5], repeats=3, store="runs.db", executor="inline"),
    )
    assert len(keys()) == 4
    sweep.trained.clear()
    assert resume() == (0, "6 trials\n", "subspan: going on with subspan.run of mine\n")
    assert keys() == [("mine", dim, repeat) for dim in (2, 5) for repeat in range(3)]
    assert len(sweep.trained) == 2, "what was done is not done again"
    assert resume()[1].startswith("Nothing to go on with")


def test_a_threshold_goes_on_and_gives_what_it_would_have_given(sweep, resume, monkeypatch):
    whole = {"goal": ss.LossBelow(0.05), "ratio": 2.0, "delta": 0.2, "seed": 7}
    monkeypatch.setenv("CUT", "-1")
    expected = ss.threshold(sweep.mine, executor="inline", **whole)
    sweep.trained.clear()
    cut(
        monkeypatch,
        9,
        lambda: ss.threshold(sweep.mine, store="runs.db", executor="inline", **whole),
    )
    code, out, _ = resume()
    assert (code, out) == (0, f"{expected}\n")
    assert len(keys()) == len(expected.records)


def test_a_comparison_of_functions_goes_on(sweep, resume, monkeypatch):
    arguments = {"dims": [4], "repeats": 6, "executor": "inline"}
    cut(
        monkeypatch,
        8,
        lambda: ss.compare([sweep.mine, sweep.other], store="runs.db", **arguments),
    )
    code, out, _ = resume()
    assert code == 0
    assert "other" in out
    assert len(keys()) == 12


def test_a_registered_problem_comes_back_with_its_options(resume, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    problem = ss.problems.load("digits-mlp", subset=60, standardize=True)

    def stop(done, planned, message):
        raise KeyboardInterrupt

    plan = {"dims": [3], "repeats": 2, "spec": ss.TrainSpec(steps=2), "executor": "inline"}
    with pytest.raises(KeyboardInterrupt):
        ss.run(problem, "random:gaussian", store="runs.db", progress=stop, **plan)
    assert resume()[:2] == (0, "2 trials\n")
    with ss.Store("runs.db", readonly=True) as store:
        found = {r.key for r in store.records()}
    assert found == {r.key for r in ss.run(problem, "random:gaussian", **plan)}


def test_a_problem_comes_back_on_its_device_which_must_be_there():
    spec = ss.TrainSpec(steps=2)
    problem = ss.problems.load("digits-mlp", subset=60)
    note = asked.described("run", {"problem": problem, "dims": [3], "spec": spec})
    noted = note["arguments"]["problem"]
    assert noted["on"] == ["cpu", "float32"]
    assert asked.restored(note, None)["problem"].device == torch.device("cpu")
    noted["on"][0] = "meta"  # as a GPU that another machine had
    with pytest.raises(ss.InputError, match=r"device: expected one that is there: .* got 'meta'"):
        asked.restored(note, None)


def test_what_cannot_come_back_is_told_by_name_and_the_rest_goes_on(sweep, resume, monkeypatch):
    for function in (sweep.local(), sweep.mine):
        cut(
            monkeypatch,
            len(sweep.trained) + 1,
            lambda f=function: ss.run(f, dims=[2], repeats=3, store="runs.db", executor="inline"),
        )
    code, out, err = resume()
    assert (code, out) == (2, "3 trials\n")
    assert "cannot go on with subspan.run of local" in err
    assert "the function 'local' is not a global of a module" in err
    assert "make the same call again with store=" in err
    ss.run(sweep.local(), dims=[2], repeats=3, store="runs.db", executor="inline")
    assert resume()[1].startswith("Nothing to go on with")


def test_another_version_is_not_gone_on_with(sweep, resume, monkeypatch):
    cut(monkeypatch, 1, lambda: ss.run(sweep.mine, dims=[2], store="runs.db", executor="inline"))
    monkeypatch.setenv("MINE_VERSION", "2")
    monkeypatch.delitem(sys.modules, "users_sweep")
    code, _, err = resume()
    assert code == 2
    assert "'mine' as it was when trials were asked for" in err
    assert len(keys()) == 1


def test_a_module_that_fails_says_how(sweep, resume, monkeypatch, tmp_path):
    cut(monkeypatch, 1, lambda: ss.run(sweep.mine, dims=[2], store="runs.db", executor="inline"))
    (tmp_path / "users_sweep.py").write_text("import nowhere_at_all\n")
    importlib.invalidate_caches()
    monkeypatch.delitem(sys.modules, "users_sweep")
    code, _, err = resume()
    assert code == 2
    assert "No module named 'nowhere_at_all'" in err


def test_resume_makes_no_store(resume, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = resume("typo.db")
    assert code == 2
    assert "expected a file at typo.db" in err
    assert not (tmp_path / "typo.db").exists()


# --- what is noted, and when --------------------------------------------------------------------


def test_a_call_that_ended_or_was_refused_leaves_nothing_to_go_on_with(sweep):
    ss.run(sweep.mine, dims=[2], repeats=2, store="runs.db", executor="inline")
    with pytest.raises(ss.InputError):
        ss.run(sweep.own, "random", [2], spec=ss.TrainSpec("exact"), store="runs.db", workers=1)
    assert notes() == []


def test_calls_within_a_call_and_within_a_command_are_one(sweep, monkeypatch):
    cut(
        monkeypatch,
        3,
        lambda: ss.diagnose(
            sweep.mine,
            goal="loss<=0.05",
            stronger=sweep.other,
            store="runs.db",
            executor="inline",
        ),
    )
    (note,) = notes()
    assert note["call"] == "diagnose"
    with asked.quiet():
        cut(
            monkeypatch,
            len(sweep.trained),
            lambda: ss.run(sweep.mine, dims=[9], store="runs.db", executor="inline"),
        )
    assert len(notes()) == 1


def test_a_store_that_was_given_as_an_object_is_noted_too(sweep, monkeypatch):
    with ss.Store() as store:
        store.add(example_record())
        cut(monkeypatch, 1, lambda: ss.run(sweep.mine, dims=[2], store=store, executor="inline"))
        (note,) = asked.unfinished(store)
        assert note["arguments"]["dims"] == [2]
        ss.run(sweep.mine, dims=[2], store=store, executor="inline")
        assert asked.unfinished(store) == []


# --- there and back -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [None, True, 3, 0.1 + 0.2, "text", [1, [2.5, "x"]], float("inf"), ss.LossBelow(0.1),
     ss.MetricGoal("mine", 2.0, "val", higher=True), ss.TrainSpec("sgd", lr=0.3, stop_at="loss<=1"),
     ss.LoopSpec(0.01)],
    ids=str,
)  # fmt: skip
def test_plain_arguments_come_back_equal(value):
    assert there_and_back(x=value) == {"x": value}


def test_arrays_ranges_and_paths_become_plain(tmp_path):
    dims = torch.arange(1, 4)
    assert there_and_back(a=dims, b=range(3), c=tmp_path) == {
        "a": [1, 2, 3],
        "b": [0, 1, 2],
        "c": str(tmp_path),
    }
    assert "too long" in asked.described("run", {"a": torch.zeros(200_000)})["lost"]["a"]


METHODS_MADE = [
    "random",
    "random:sparse,nnz=3",
    "burn-in:5,lr=0.2",
    "burn-in:0",
    "lottery-subspace:unit,snapshots=9,rewind=2",
    "lottery-ticket:2,rewind=3,epochs=0.5,biases=false",
    "magnitude:layer",
    "snip:batches=2",
    "synflow:iterations=7",
    "random-mask:layer",
    "last-layer:gaussian,layer=3",
    "biases",
    "low-rank-fixed-factor",
]


@pytest.mark.parametrize("text", METHODS_MADE)
def test_every_registered_method_comes_back(text):
    method = ss.parse_method(text)
    again = method_from_config(json.loads(canonical_json(method.to_config())))
    assert type(again) is type(method)
    assert again.config() == method.config()
    assert there_and_back(m=method)["m"].config() == method.config()


def test_no_registered_method_is_left_out_above():
    assert {t.partition(":")[0] for t in METHODS_MADE} == METHODS.keys() - {"saved"}


def test_a_saved_subspace_comes_back_unless_its_file_changed(tmp_path, monkeypatch):
    problem = ss.problems.load("digits-mlp", subset=60)
    path = tmp_path / "mask.safetensors"
    for repeat in (0, 1):
        (mask,) = ss.RandomMask().subspaces(problem, [ss.subspaces.Draw(5, 0, repeat)])
        ss.save_subspace(mask, path, problem)
        if repeat == 0:
            config = ss.SavedSubspace(path, transfer=True).to_config()
            assert method_from_config(config).transfer is True
    with pytest.raises(ss.InputError, match="the file that this method was made from"):
        method_from_config(config)


def test_a_method_of_ones_own_comes_back_from_its_module(sweep):
    method = sweep.Mine("gaussian")
    again = there_and_back(m=method)["m"]
    assert type(again) is sweep.Mine
    assert again.config() == method.config()


@pytest.mark.parametrize(("name", "options"), [
    ("quadratic", {"eigenvalues": [0.1, 1.0, 3.0], "displacement": torch.tensor([1.0, 0.3, 2.0])}),
    ("digits-mlp", {"subset": 40}),
])  # fmt: skip
def test_a_registered_problem_comes_back(name, options):
    problem = ss.problems.load(name, **options).to(dtype=torch.float64)
    again = there_and_back(problem=problem)["problem"]
    assert again.identity == problem.identity
    assert again.dtype == torch.float64


def test_a_problem_in_a_module_comes_back_and_a_local_one_is_told(sweep):
    assert there_and_back(problem=sweep.own)["problem"] is sweep.own
    local = ss.Problem(lambda: torch.nn.Linear(3, 2), (sweep.x, (sweep.x[:, 0] > 0).long()))
    told = asked.described("run", {"problem": local})["lost"]
    assert told == {"problem": "the problem 'problem' is not a global of a module, where it could "
                    "be found again"}  # fmt: skip


def test_main_of_a_script_comes_back_from_its_file_and_of_a_notebook_does_not(
    sweep, monkeypatch, tmp_path
):
    main_module = types.ModuleType("__main__")
    main_module.mine = sweep.mine
    monkeypatch.setitem(sys.modules, "__main__", main_module)
    monkeypatch.delitem(sys.modules, "users_sweep")
    told = asked.described("run", {"problem": sweep.mine})["lost"]["problem"]
    assert told == "the function 'mine' is defined in a notebook or at a prompt, in no file"
    main_module.__file__ = str(tmp_path / "users_sweep.py")
    again = there_and_back(problem=sweep.mine)["problem"]
    assert again.identity == sweep.mine.identity
    assert os.path.samefile(again.function.__code__.co_filename, main_module.__file__)
