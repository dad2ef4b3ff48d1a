"""A trial that fails is a record of that, whatever it fails by; the others go on."""

import faulthandler
import math
import os
import signal
import sys

import pytest
import torch
from torch import nn

import subspan as ss
from subspan.training.outcome import Outcome
from subspan.trials.endings import Endings
from subspan.trials.problem_trainable import ProblemTrainable
from subspan.trials.runner import TrialsFailed

SPEC = ss.TrainSpec(steps=3, batch_size=None)
X = torch.linspace(-1, 1, 60).reshape(20, 3)
Y = (X[:, 0] > 0).long()


class Bad(ss.RandomAffine):
    """A random subspace that cannot be made at d = 3."""

    def __init__(self, harm):
        super().__init__()
        object.__setattr__(self, "harm", harm)

    def subspaces(self, problem, draws):
        if any(draw.dim == 3 for draw in draws):
            self.harm()
        return super().subspaces(problem, draws)


def raises():
    raise RuntimeError("no such luck")


def dies():
    os.kill(os.getpid(), signal.SIGKILL)


def aborts():
    os.abort()


def runs_out():
    raise MemoryError("7 GB")


def leaves():
    sys.exit("no config")


def small():
    return ss.Problem(lambda: nn.Linear(3, 2), (X, Y), name="small")


def outcomes(records):
    return {(r.dim, r.trial.repeat): str(r.outcome) for r in records}


@pytest.mark.fault("a trial raises, aborts, is killed", "a record with its reason")
@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (raises, "RuntimeError: no such luck"),
        (runs_out, "out of memory: 7 GB"),
        (leaves, "SystemExit: no config"),
        (dies, "SIGKILL"),
        (aborts, "SIGABRT"),
    ],
)
def test_a_trial_of_a_problem_that_fails_is_a_record_and_the_others_go_on(harm, reason, tmp_path):
    path = tmp_path / "runs.db"
    plain = ss.run(small(), "random", [2, 4], 2, SPEC, workers=1)
    records = ss.run(small(), Bad(harm), [2, 3, 4], 2, SPEC, store=path, workers=2)
    assert outcomes(records) == {
        (2, 0): "finished", (2, 1): "finished", (3, 0): "failed", (3, 1): "failed",
        (4, 0): "finished", (4, 1): "finished",
    }  # fmt: skip
    for record in records:
        if record.outcome is Outcome.FAILED:
            assert reason in record.reason
            assert record.meets(ss.LossBelow(9.0)) is False  # a miss
    assert [repr(r.curve) for r in records if r.dim != 3] == [repr(r.curve) for r in plain]
    if harm in (raises, leaves):
        assert f"in {harm.__name__}" in records[2].provenance["traceback"]
    with ss.Store(path) as store:
        assert len(store) == 6


@pytest.mark.parametrize("executor", ["inline", "forked", "spawned"])
def test_a_function_that_ends_its_process_by_sys_exit_is_a_failed_trial(executor):
    @ss.trainable(name="leaves", max_dim=9)
    def leaves(trial):
        trial.report(step=5, loss=0.5)
        if trial.dim > 1:
            sys.exit("no config" if trial.dim == 2 else None)

    records = ss.run(leaves, dims=[1, 2, 3], repeats=1, executor=executor, workers=1)
    assert [str(r.outcome) for r in records] == ["finished", "failed", "failed"]
    assert [r.reason for r in records] == ["", "SystemExit: no config", "SystemExit"]
    assert "sys.exit(" in records[1].provenance["traceback"]
    assert (records[1].steps, records[1].final_train_loss) == (5, 0.5)


def test_a_worker_that_leaves_has_its_own_exit_code_in_the_reason():
    @ss.trainable(name="leaves", max_dim=9)
    def leaves(trial):
        os._exit(7)

    (record,) = ss.run(leaves, dims=[1], repeats=1, executor="spawned", workers=2, trial_timeout=60)
    assert "exit code 7" in record.reason


def test_a_failure_in_an_ensemble_is_that_of_its_own_trial():
    trainable = ProblemTrainable(small(), Bad(raises))
    pairs = [(dim, repeat) for dim in (1, 2, 3, 4) for repeat in range(2)]
    found = outcomes(trainable.train(pairs, SPEC, 0))
    assert [pair for pair, outcome in found.items() if outcome == "failed"] == [(3, 0), (3, 1)]


@pytest.mark.fault("every trial fails", "the sweep stops at max_failures with the traceback")
def test_a_limit_stops_a_hopeless_sweep_and_it_can_be_mended(tmp_path):
    path, broken = tmp_path / "runs.db", [True]

    def harm():
        if broken[0]:
            raise KeyError("typo")

    with pytest.raises(TrialsFailed, match=r"max_failures is 1(.|\n)*KeyError: 'typo'"):
        ss.run(small(), Bad(harm), [3], 4, SPEC, store=path, workers=1, max_failures=1)
    broken[0] = False
    again = ss.run(small(), Bad(harm), [3], 4, SPEC, store=path, workers=1)
    assert {r.outcome for r in again} == {Outcome.FINISHED}


def test_a_refusal_is_still_an_error():
    with pytest.raises(ss.InputError, match="'exact' on an analytic problem only"):
        ss.run(small(), "random", [2], 2, ss.TrainSpec("exact"), workers=1)


def test_a_threshold_of_which_a_whole_round_fails_says_so():
    @ss.trainable(name="typo", max_dim=100)
    def typo(trial):
        raise NameError("lsos")

    with pytest.raises(TrialsFailed, match=r"8 of 8 failed(.|\n)*NameError: lsos"):
        ss.threshold(typo, goal="loss<=1", workers=1)


class Clamped(nn.Module):
    """Its loss is finite wherever its weights are, and 0/0 never comes."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))

    def forward(self, x):
        logit = (1e10 * x @ torch.nan_to_num(self.weight, 0.0, 1.0, -1.0)).clamp(-1, 1)
        return torch.stack([logit, -logit], -1)


def test_theta_infinite_at_a_finite_loss_is_diverged():
    problem = ss.Problem(Clamped, (X, Y), name="clamped")
    spec = ss.TrainSpec("sgd", lr=1e30, steps=4, batch_size=None, eval_every=4)
    (record,) = ss.run(problem, "random", [3], 1, spec, workers=1)
    assert not math.isfinite(record.theta_norm)
    assert record.outcome is Outcome.DIVERGED


def test_all_that_diverged_are_told_with_the_remedy():
    records = ss.run(
        ss.problems.load("digits-mlp", subset=60),
        "random", [4, 8], 4, ss.TrainSpec("sgd", lr=1e30, steps=4, batch_size=None), workers=1,
    )  # fmt: skip
    surface = ss.success_surface(records, "loss<=0.1")
    assert surface.endings.diverged == 8
    assert surface.to_json()["endings"]["remark"].startswith("8 of 8 diverged. Lower the learning")
    assert [(c.successes, c.trials) for c in surface.cells] == [(0, 4), (0, 4)]
    one = ss.run(small(), "random", [2], 1, SPEC, workers=1)
    assert Endings.of(one).remark == ""
    # Where the learning rate is searched, some are too large: no reason to lower it.
    some = Endings.of([*records, *one], lr_searched=True).remark
    assert some.startswith("8 of 9 diverged. Such a trial")
    assert "LOW:HIGH" in Endings.of(records, lr_searched=True).remark


def test_a_metric_that_is_never_a_number_is_not_laid_to_the_learning_rate():
    problem = ss.Problem(
        lambda: nn.Linear(3, 2), (X, Y), name="odd", metrics={"mine": lambda out, y: math.nan}
    )
    records = ss.run(problem, "random", [3, 4], 1, SPEC, workers=1)
    remark = Endings.of(records).remark
    assert remark.startswith("2 of 2 ended without a finite metric, one with 'train:mine is nan at")
    assert "learning rate" not in remark
    too_far = ss.TrainSpec("sgd", lr=1e30, steps=4, batch_size=None, eval_every=4)
    clamped = ss.Problem(Clamped, (X, Y), name="clamped")
    both = [*records, *ss.run(clamped, "random", [3], 1, too_far, workers=1)]
    assert Endings.of(both).remark.startswith("3 of 3 diverged. Lower the learning rate")


# --- the commands ---------------------------------------------------------------------------------

EXPERIMENT = """
import pathlib
import subspan as ss

@ss.trainable(name="fragile", max_dim=100)
def fragile(trial):
    if trial.dim == 8 and not pathlib.Path("mended").exists():
        raise OSError("the licence server\\n\\x1b[31m is away")
    return {"loss": 1.0 / (1 + trial.dim)}
"""


def test_failures_are_listed_and_run_again(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(EXPERIMENT)
    asked = 'surface mine.py:fragile --dims 4,8 --goals "loss<=0.5" --repeats 2 --workers 1'
    code, out, _ = cli(f"{asked} --store runs.db")
    assert code == 0
    assert "2 of 4 failed" in out
    assert "subspan retry" in out
    code, out, _ = cli("trials runs.db --failed")
    assert [line.split()[3] for line in out.splitlines()[1:]] == ["8", "8"]
    assert "licence server" in out
    assert len(out.splitlines()) == 3
    assert "\x1b" not in out
    (tmp_path / "mended").touch()
    code, out, err = cli("retry runs.db")
    assert code == 0
    assert "2 of 2 that had failed went well" in err
    assert cli("retry runs.db")[1] == "No trial of this store failed.\n"
    assert cli("trials runs.db --failed")[1].count("\n") == 1


def test_failures_of_which_nobody_knows_who_asked_are_told_so(cli, tmp_path):
    @ss.trainable(name="never", max_dim=3)
    def never(trial):
        raise ValueError("no")

    with ss.Store(tmp_path / "runs.db") as store:
        ss.run(never, dims=[1], repeats=1, store=store, workers=1)
        store.release([claim.key for claim in store.claims("call:")], "call:")
    code, _, err = cli(f"retry {tmp_path}/runs.db")
    assert code == 2
    assert "The same call runs them again" in err


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked")
def test_a_handler_that_a_library_left_here_does_not_keep_a_worker_from_dying():
    """As where one is asked to print a trace: handlers may call each other and never end."""

    @ss.trainable(name="faults", max_dim=9)
    def faults(trial):
        signal.raise_signal(signal.SIGSEGV)
        return {"loss": 1.0}

    enabled = faulthandler.is_enabled()
    faulthandler.disable()
    before = signal.signal(signal.SIGSEGV, signal.SIG_IGN)
    try:
        records = ss.run(faults, dims=[1], repeats=3, executor="forked", workers=2)
    finally:
        signal.signal(signal.SIGSEGV, before)
        if enabled:
            faulthandler.enable()
    assert [str(record.outcome) for record in records] == ["failed"] * 3
    assert all("SIGSEGV" in record.reason for record in records)
