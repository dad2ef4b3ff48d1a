import dataclasses

import pytest

import subspan as ss
from subspan.errors import InputError
from subspan.goals import LossBelow
from subspan.spec import TrainSpec
from subspan.success.diagnosis import Diagnosis, diagnose
from subspan.success.estimate import estimate_from_counts
from subspan.success.posterior import Count, Range

GOAL = LossBelow(0.1)
ADAM, STRONG = TrainSpec(epochs=50), TrainSpec("levenberg_marquardt")


def measured(step, *, top=200):
    """An estimate from a clean step at `step`; every dim fails where it lies above `top`."""
    counts = [Count(d, 20 * (d >= step), 20) for d in range(10, top + 1, 10)]
    return estimate_from_counts(counts, GOAL, Range(10, top, 0.1), ambient_dim=top)


def test_a_stronger_optimizer_below_the_usual_one_blames_the_optimizer():
    found = Diagnosis(measured(150), measured(60), ADAM, STRONG)
    assert found.cause == "optimiser"
    assert found.verdict.startswith(
        f"Badly optimised: loss<=0.1 takes d = {found.stronger.value} "
        f"[{found.stronger.low}, {found.stronger.high}] with levenberg_marquardt (60 steps) "
        f"and d = {found.usual.value} "
    )
    assert "The gap is the optimiser's" in str(found)
    assert found.to_json()["stronger"]["value"] == found.stronger.value


def test_a_goal_that_the_usual_training_never_meets():
    lost = measured(999)
    assert lost.status == "above range"
    found = Diagnosis(lost, measured(60), ADAM, STRONG)
    assert found.cause == "optimiser"
    assert "d > 200 with adam (50 epochs)" in found.verdict
    assert Diagnosis(lost, measured(999), ADAM, STRONG).cause == "not shown"


def test_a_status_that_is_not_ok_stands_beside_its_number():
    open_ended = estimate_from_counts(
        [Count(10, 0, 2), Count(60, 2, 2)], GOAL, Range(1, 200, 0.1), ambient_dim=200
    )
    assert open_ended.status == "not converged"
    found = Diagnosis(open_ended, measured(60), ADAM, STRONG)
    assert "] (not converged) with adam (50 epochs)" in found.verdict
    assert found.verdict.count("(not converged)") == 1


def test_overlapping_and_reversed_intervals_blame_nobody():
    same = Diagnosis(measured(100), measured(100), ADAM, STRONG)
    assert same.cause == "not shown"
    assert same.verdict.startswith("No sign of bad optimisation")
    worse = Diagnosis(measured(60), measured(150), ADAM, STRONG)
    assert worse.cause == "stronger is worse"
    assert worse.verdict.startswith("No answer")


def test_on_a_quadratic_a_short_training_is_found_out(tmp_path):
    """Ground truth: exact least squares says where the goal is in reach."""
    problem = ss.problems.load("quadratic", eigenvalues=[1.0] * 30, displacement=[0.3] * 30)
    short = TrainSpec(steps=6, lr=0.02)
    store = tmp_path / "runs.db"
    found = diagnose(problem, "random", "loss<=0.4", spec=short, workers=1, store=store)
    assert found.cause == "optimiser"
    alone = ss.threshold(problem, "random", "loss<=0.4", workers=1, store=store)
    assert alone == found.stronger
    assert found.usual == ss.threshold(problem, "random", "loss<=0.4", spec=short, store=store)


def test_exact_least_squares_decides():
    exact = TrainSpec("exact")
    same = Diagnosis(measured(100), measured(100), ADAM, exact)
    assert same.cause == "subspaces"
    assert same.verdict.startswith("Infeasible below: loss<=0.1 takes d = ")
    assert "miss it there" not in same.verdict
    assert Diagnosis(measured(150), measured(60), ADAM, exact).cause == "optimiser"


def test_what_is_already_exact_is_measured_once(monkeypatch):
    asked = []

    def record(problem, method, goal, *, spec, **_):
        asked.append(spec)
        return measured(100)

    monkeypatch.setattr("subspan.success.diagnosis.threshold", record)
    found = diagnose(ss.problems.load("quadratic"), "random", "loss<=1", workers=1)
    assert [spec.optimizer for spec in asked] == ["exact"]
    assert (found.cause, found.usual) == ("subspaces", found.stronger)
    assert found.verdict.startswith("Already exact: ")


def test_two_equal_trainings_are_refused():
    problem = ss.problems.load("quadratic")
    with pytest.raises(InputError, match=r"got adam \(5 epochs\)"):
        diagnose(problem, "random", "loss<=1", spec=TrainSpec(), stronger=TrainSpec())


def test_networks_get_a_second_order_optimizer_in_the_same_dtype(monkeypatch):
    asked = []

    def record(problem, method, goal, *, spec, **_):
        asked.append(spec)
        return dataclasses.replace(measured(100))

    monkeypatch.setattr("subspan.success.diagnosis.threshold", record)
    problem = ss.problems.load("digits-mlp", subset=20)
    diagnose(problem, "random", "loss<=1", spec=TrainSpec(dtype="float64"), workers=1)
    assert [s.optimizer for s in asked] == ["adam", "lbfgs"]
    assert asked[1].dtype == "float64"
    diagnose(problem, "random", "loss<=1", spec=TrainSpec("lbfgs"), workers=1)
    assert [s.optimizer for s in asked[2:]] == ["lbfgs", "levenberg_marquardt"]
