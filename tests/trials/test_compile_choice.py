"""`TrainSpec(compile=True)`: decided once, kept in the record, and gone on with."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

import subspan as ss
from subspan.problems import compiled
from subspan.problems.module import Problem
from subspan.spec import TrainSpec
from subspan.trials.prepared import Prepared
from subspan.trials.runner import TrialRunner

SPEC = ss.TrainSpec(steps=3, lr=0.1, batch_size=64, compile=True)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Compile by a backend that takes no time; what was asked for."""
    calls: list[tuple[Any, ...]] = []
    compiling = functools.partial(Problem.compiled, backend="eager")

    def noted(problem: Problem, *arguments: Any) -> Any:
        calls.append(arguments)
        return compiling(problem, *arguments)

    monkeypatch.setattr(Problem, "compiled", noted)
    return calls


def pays(monkeypatch: pytest.MonkeyPatch, does: bool) -> None:
    told = {"plain": 1e9, "compiled": 1.0 if does else 2e9}
    monkeypatch.setattr(compiled, "milliseconds", lambda ways, device: {w: told[w] for w in ways})


@pytest.mark.parametrize("taken", [True, False])
@pytest.mark.parametrize("executor", ["inline", "processes"])
def test_a_record_says_what_was_measured_and_taken(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch, taken: bool, executor: str
) -> None:
    pays(monkeypatch, taken)
    problem = ss.problems.load("digits-mlp")
    records = ss.run(
        problem, "random", dims=[0, 4, 8], repeats=2, spec=SPEC, executor=executor, workers=2
    )
    told = [r.provenance.get("compile") for r in records]
    assert told[:2] == [None, None]  # nothing is trained at d = 0
    assert all(t == told[2] for t in told[2:])
    assert told[2]["taken"] is taken
    assert told[2].keys() >= {"why", "steps", "plain_ms", "compiled_ms", "seconds"}
    assert all("compile" not in r.trial.problem for r in records)


def test_it_is_measured_once_for_all_methods_and_dims(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pays(monkeypatch, True)
    problem = ss.problems.load("digits-mlp")
    methods = ["random", "burn-in:2"]
    ss.compare(problem, methods, dims=[4, 8], repeats=2, spec=SPEC, executor="inline")
    assert len(asked) == 1
    ((batch_size, trials, steps, settled),) = asked
    assert (batch_size, settled) == (64, None)
    assert steps * trials >= 2 * 2 * 2 * 3  # of both methods


def test_compiled_trials_learn_the_same(asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    problem = ss.problems.load("digits-mlp")
    spec = SPEC.replace(dtype="float64", steps=20)
    pays(monkeypatch, True)
    (quick,) = ss.run(problem, "random", dims=[16], repeats=1, spec=spec)
    (plain,) = ss.run(problem, "random", dims=[16], repeats=1, spec=spec.replace(compile=False))
    assert quick.key != plain.key
    assert quick.final_train_loss == pytest.approx(plain.final_train_loss, rel=1e-9)
    assert quick.provenance["subspace"] == plain.provenance["subspace"]


@pytest.mark.parametrize("taken", [True, False])
def test_trials_that_go_on_take_what_those_before_took(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, taken: bool
) -> None:
    store, problem = tmp_path / "runs.db", ss.problems.load("digits-mlp")
    run = functools.partial(ss.run, problem, "random", repeats=1, spec=SPEC, store=store, workers=1)
    pays(monkeypatch, taken)
    run(dims=[4])
    pays(monkeypatch, not taken)
    records = run(dims=[4, 8])
    assert [r.provenance["compile"]["taken"] for r in records] == [taken, taken]
    assert asked[-1][-1] is taken
    (alone,) = ss.run(problem, "random", dims=[8], repeats=1, spec=SPEC)
    assert alone.provenance["compile"]["taken"] is not taken  # in another store all is open


def test_another_process_does_as_this_one_decided(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pays(monkeypatch, True)
    here = Prepared(ss.problems.load("digits-mlp"))
    assert here.training(SPEC, 1)[1].taken  # type: ignore[union-attr]
    pays(monkeypatch, False)
    there = cloudpickle.loads(cloudpickle.dumps(here))
    assert there.training(SPEC, 1)[1].taken
    assert asked[-1][-1] is True


def test_what_a_measurement_has_ahead_counts(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pays(monkeypatch, True)
    problem = ss.problems.load("digits-mlp")
    with TrialRunner(problem, executor="inline") as runner:
        runner.expect(10)
        runner.run(ss.parse_method("random"), [(4, 0)], spec=SPEC, seed=0)
    assert asked[-1][2] == 10 * 3
    with TrialRunner(problem, workers=2) as runner:
        runner.expect(10)
        runner.run(ss.parse_method("random"), [(4, 0), (4, 1), (8, 0)], spec=SPEC, seed=0)
    assert asked[-1][1:3] == (2, 10 // 2 * 3 // 2 + 1)


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a CPU compile as a GPU does: the batched gradient of an ensemble."""
    monkeypatch.setattr(Problem, "_compiles_together", True)


@pytest.mark.usefixtures("together")
def test_a_larger_ensemble_is_measured_anew_and_a_smaller_one_is_not(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pays(monkeypatch, True)
    prepared = Prepared(ss.problems.load("digits-mlp"))
    found = [prepared.training(SPEC, trials)[1].ensemble for trials in (4, 2, 4, 6, 5)]  # type: ignore[union-attr]
    assert found == [4, 4, 4, 6, 6]
    assert [call[1] for call in asked] == [4, 6]
    pays(monkeypatch, False)
    there = cloudpickle.loads(cloudpickle.dumps(prepared))
    assert there.training(SPEC, 3)[1].taken  # of the six that were decided about here
    assert not there.training(SPEC, 7)[1].taken
    assert [call[-1] for call in asked] == [None, None, True, None]


@pytest.mark.usefixtures("together")
def test_ensembles_that_go_on_take_what_the_largest_before_took(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store, problem = tmp_path / "runs.db", ss.problems.load("digits-mlp")
    run = functools.partial(
        ss.run, problem, "random", spec=SPEC, store=store, workers=1, executor="inline"
    )
    pays(monkeypatch, False)
    run(dims=[4], repeats=1)
    pays(monkeypatch, True)
    records = run(dims=[4], repeats=4)
    told = [r.provenance["compile"] for r in records]
    assert [(t["taken"], t["ensemble"]) for t in told] == [(False, 1), *[(True, 3)] * 3]
    pays(monkeypatch, False)
    (*_, last) = run(dims=[4], repeats=5)
    assert last.provenance["compile"]["taken"]  # one trial, as the three before it
    assert [call[-1] for call in asked] == [None, None, True]


@pytest.mark.usefixtures("together")
def test_an_ensemble_in_one_program_learns_what_plain_ones_do(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pays(monkeypatch, True)
    problem = ss.problems.load("digits-mlp")
    spec = SPEC.replace(dtype="float64", steps=20)
    run = functools.partial(ss.run, problem, "random", dims=[4, 16], repeats=2, executor="inline")
    for quick, plain in zip(run(spec=spec), run(spec=spec.replace(compile=False)), strict=True):
        assert quick.provenance["compile"]["ensemble"] == 4
        assert quick.final_train_loss == pytest.approx(plain.final_train_loss, rel=1e-9)


def test_a_problem_without_a_module_trains_as_ever() -> None:
    problem = ss.problems.load("quadratic")
    spec = problem.default_spec.replace(optimizer="sgd", steps=5, batch_size=None, lr=0.1)
    (record,) = ss.run(problem, "random", dims=[4], repeats=1, spec=spec.replace(compile=True))
    assert record.provenance["compile"]["taken"] is False
    assert "no module" in record.provenance["compile"]["why"]


def test_a_spec_without_it_is_stored_as_before() -> None:
    assert "compile" not in TrainSpec().to_json()
    assert TrainSpec(compile=True).to_json()["compile"] is True
    assert TrainSpec.from_json(TrainSpec(compile=True).to_json()) == TrainSpec(compile=True)


def test_it_is_refused_where_it_has_no_sense() -> None:
    with pytest.raises(ss.InputError, match="compile: expected True or False"):
        TrainSpec(compile="auto")  # type: ignore[arg-type]
    with pytest.raises(ss.InputError, match="compile: expected False with 'lbfgs'"):
        TrainSpec("lbfgs", compile=True)


@pytest.mark.slow
def test_forked_workers_have_the_program_that_was_compiled_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pays(monkeypatch, True)
    problem = ss.problems.load("digits-mlp")
    spec = SPEC.replace(dtype="float64", steps=20)
    run = functools.partial(ss.run, problem, "random", dims=[8, 16], repeats=2, workers=2)
    quick, plain = run(spec=spec), run(spec=spec.replace(compile=False))
    told = [record.provenance["compile"] for record in quick]
    assert told[0]["taken"], told[0]["why"]
    assert all(each == told[0] for each in told)
    for one, other in zip(quick, plain, strict=True):
        assert one.final_train_loss == pytest.approx(other.final_train_loss, rel=1e-9)
