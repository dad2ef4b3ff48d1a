"""A trial that never ends is found, ended, tried once more, and recorded; the others go on."""

import os
import signal
import sys
import time

import pytest

import subspan as ss
from subspan.errors import InputError
from subspan.training.outcome import Outcome
from subspan.trials.deadline import Deadline

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")
LONG = 600


def sleeps():
    time.sleep(LONG)


def is_stopped():
    os.kill(os.getpid(), signal.SIGSTOP)


def deaf():
    """Hold on to SIGTERM and the like, as code in C may."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    time.sleep(LONG)


def hanging(harm, log):
    @ss.trainable(name="hanging", max_dim=10)
    def function(trial):
        with log.open("a") as file:
            file.write(f"{trial.dim}\n")
        if trial.dim == 3:
            harm()
        return {"loss": 1.0 / (1 + trial.dim)}

    return function


@pytest.mark.fault("a trial hangs or is stopped", "ended, tried once more, recorded")
@pytest.mark.parametrize("harm", [sleeps, is_stopped, deaf])
def test_a_hung_worker_is_found_and_its_trial_recorded(harm, tmp_path):
    log = tmp_path / "log"
    records = ss.run(
        hanging(harm, log), dims=[2, 3, 4, 5], repeats=1, workers=2, trial_timeout=1.0,
        store=tmp_path / "runs.db",
    )  # fmt: skip
    assert [str(r.outcome) for r in records] == ["finished", "failed", "finished", "finished"]
    assert "hung" in records[1].reason
    assert sorted(log.read_text().split()) == ["2", "3", "3", "4", "5"]  # tried once more


def test_what_hung_once_is_trained(tmp_path):
    log = tmp_path / "log"

    def once():
        if log.read_text().split().count("3") == 1:
            time.sleep(LONG)

    records = ss.run(
        hanging(once, log), dims=[2, 3], repeats=1, workers=1, trial_timeout=1.0
    )  # one worker, but of its own: this process could not end itself
    assert {r.outcome for r in records} == {Outcome.FINISHED}


def test_time_in_which_this_process_was_at_something_else_is_not_a_trials(tmp_path, monkeypatch):
    """As where the disk is slow: a trial that has just begun, or has ended, took none of that."""
    add_all, slept = ss.Store.add_all, []

    def slow(self, records):
        slept.append(time.sleep(1.5))
        return add_all(self, records)

    monkeypatch.setattr(ss.Store, "add_all", slow)
    log, dims = tmp_path / "log", list(range(1, 11))

    @ss.trainable(name="uneven", max_dim=100)
    def uneven(trial):
        with log.open("a") as file:
            file.write(f"{trial.dim}\n")
        time.sleep(0.3 * (trial.dim % 2))
        return {"loss": 0.5}

    settings = {"repeats": 1, "workers": 2, "trial_timeout": 1.0, "store": tmp_path / "runs.db"}
    records = ss.run(uneven, dims=dims, **settings)
    assert {r.outcome for r in records} == {Outcome.FINISHED}
    assert sorted(map(int, log.read_text().split())) == dims
    assert len(slept) > 1


def test_by_default_it_is_learnt_how_long_trials_take(tmp_path, monkeypatch):
    monkeypatch.setattr("subspan.trials.deadline._FLOOR", 1.0)
    records = ss.run(
        hanging(sleeps, tmp_path / "log"), dims=[2, 3, 4], repeats=1, workers=2,
    )  # fmt: skip
    assert [str(r.outcome) for r in records] == ["finished", "failed", "finished"]


def test_the_limit_is_a_generous_multiple():
    deadline = Deadline()
    assert deadline.limit([(8, 0)]) is None  # nothing is known
    deadline.took([(8, 0)], 10.0)
    assert deadline.limit([(8, 0)]) == 260.0
    assert deadline.limit([(1, 0)]) == 260.0  # not less: it may be harder
    assert deadline.limit([(17, 0)]) == 460.0
    deadline.took([(8, 0)], 1.0)
    assert deadline.limit([(8, 0)]) == 260.0
    deadline.took([(80, 0)], 50.0)
    assert deadline.limit([(8, 0)]) == 1060.0
    assert Deadline(3.0).limit([(8, 0), (8, 1)]) == 6.0  # trained together


def test_what_cannot_be_ended_has_no_deadline():
    function = ss.trainable(name="any", max_dim=3)(lambda trial: None)
    with pytest.raises(InputError, match=r"trial_timeout(.|\n)*executor='processes'"):
        ss.run(function, dims=[1], repeats=1, executor="inline", trial_timeout=1.0)
    with pytest.raises(InputError, match="trial_timeout"):
        ss.run(function, dims=[1], repeats=1, trial_timeout=0)


def test_a_deadline_is_an_option_of_the_commands(cli, tmp_path):
    (tmp_path / "mine.py").write_text(
        "import time\nimport subspan as ss\n@ss.trainable(name='hangs', max_dim=9)\n"
        "def hangs(trial):\n    time.sleep(600 * (trial.dim == 2))\n    return {'loss': 1.0}\n"
    )
    line = f"surface {tmp_path / 'mine.py'}:hangs --dims 1,2 --repeats 1 --goals 'loss<=2'"
    code, out, err = cli(f"{line} --workers 2 --trial-timeout 1 --store {tmp_path / 'runs.db'}")
    assert code == 0, err
    code, out, _ = cli(f"trials {tmp_path / 'runs.db'} --failed")
    assert (code, len(out.splitlines())) == (0, 2)
    assert "hung" in out
